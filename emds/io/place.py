"""Where an array lies in space: scales, offsets and units per axis turned into (z, y, x) nm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from emds.io.units import counts_voxels, in_nanometres
from emds.io.volume import Nanometres


class MisstatedPlaceError(ValueError):
    """A size or position that cannot be; the message is a clause."""


@dataclass(frozen=True)
class Spacing:
    """One statement about where an array lies; every sequence has an entry per array axis.

    Attributes
    ----------
    said_by : str
        Where it stands, e.g. ``its attribute 'resolution'``.
    scale : sequence of float or None
        Size of a voxel; None where it is not stated.
    shift : sequence of float or None
        Position of the first voxel.
    scale_units, shift_units : sequence of str or None
        Of each; None where it is not stated.
    problem : str or None
        Why the statement is not understood, as a clause: then nothing else of it counts.
    """

    said_by: str
    scale: Sequence[float | None]
    shift: Sequence[float | None]
    scale_units: Sequence[str | None]
    shift_units: Sequence[str | None]
    problem: str | None = None


def not_understood(said_by: str, problem: str, ndim: int) -> Spacing:
    """Return a statement that gives no number, only the reason."""
    nothing: list[None] = [None] * ndim
    return Spacing(said_by, nothing, nothing, nothing, nothing, problem)


@dataclass(frozen=True)
class Place:
    """Voxel size and offset (z, y, x), and what to tell the user.

    Nanometres; the offset counts voxels where the voxel size is None.
    """

    voxel_size: Nanometres | None = None
    offset: Nanometres = (0.0, 0.0, 0.0)
    remarks: tuple[str, ...] = ()


def find_place(letters: str, spacings: Sequence[Spacing]) -> Place:
    """Turn what a file states into voxel size and offset.

    The first spacing that states any scale counts for the voxel size, the first that states a
    shift for the offset. Another that gives another size is told.

    Parameters
    ----------
    letters : str
        One per axis, see `emds.io.axes`. A missing z is as thick as y is high.
    spacings : sequence of Spacing
        By precedence.

    Raises
    ------
    MisstatedPlaceError
        If a number is not finite, or a size not positive.

    Examples
    --------
    >>> half = [None] * 3
    >>> find_place("xyz", [Spacing("it", [4, 5, 0.04], half, ["nm", "nm", "microns"], half)])
    Place(voxel_size=(40.0, 5.0, 4.0), offset=(0.0, 0.0, 0.0), remarks=())
    """
    for spacing in spacings:
        _check(letters, spacing)
    sized = [s for s in spacings if any(v is not None for v in _spatial(letters, s.scale))]
    moved = [s for s in spacings if any(_spatial(letters, s.shift))]
    reasons = [spacing.problem for spacing in spacings if spacing.problem]
    remarks: list[str] = []
    voxel_size, offset = None, (0.0, 0.0, 0.0)
    if sized:
        voxel_size, reason = _voxel_size(letters, sized[0])
        reasons += [reason] if reason else []
    for other in sized[1:]:
        size, _ = _voxel_size(letters, other)
        if voxel_size and size and not _alike(voxel_size, size):
            remarks.append(
                f"{sized[0].said_by} gives a voxel size of {_shown(voxel_size)}, {other.said_by} "
                f"one of {_shown(size)}; emds takes the first"
            )
    if moved:
        scale = sized[0] if sized else None
        offset, doubt = _offset(letters, moved[0], voxel_size, scale)
        remarks += doubt
        for other in moved[1:]:
            another, _ = _offset(letters, other, voxel_size, scale)
            if not _alike(offset, another):
                remarks.append(
                    f"{moved[0].said_by} and {other.said_by} give different positions, {offset} "
                    f"and {another} (z, y, x); emds takes the first"
                )
    ends = "" if voxel_size else "; its voxel size is taken as unknown"
    return Place(voxel_size, offset, (*(f"{reason}{ends}" for reason in reasons), *remarks))


def _check(letters: str, spacing: Spacing) -> None:
    for values in (spacing.scale, spacing.shift):
        for value in _spatial(letters, values):
            if value is not None and not math.isfinite(value):
                raise MisstatedPlaceError(f"{spacing.said_by} holds {value}, not a finite number")
    for axis, value in zip(letters, spacing.scale, strict=True):
        if axis in "zyx" and value is not None and value <= 0:
            raise MisstatedPlaceError(
                f"the voxel size must be positive, {spacing.said_by} gives {value:g} along {axis}"
            )


def _spatial(letters: str, values: Sequence[float | None]) -> list[float | None]:
    return [value for axis, value in zip(letters, values, strict=True) if axis in "zyx"]


def _voxel_size(letters: str, spacing: Spacing) -> tuple[Nanometres | None, str | None]:
    """Return the voxel size, or None and the reason; no reason where nothing is stated."""
    sizes: dict[str, float] = {}
    for axis, value, unit in zip(letters, spacing.scale, spacing.scale_units, strict=True):
        if axis not in "zyx":
            continue
        length = None if value is None else in_nanometres(value, unit)
        if length is None or not 0 < length < math.inf:
            return None, _why_unknown(axis, value, unit, spacing)
        sizes[axis] = length
    y, x = sizes.get("y"), sizes.get("x")
    # A single section has no thickness of its own: nominally as much as it is high.
    z = sizes.get("z", y)
    return (None if z is None or y is None or x is None else (z, y, x)), None


def _why_unknown(axis: str, value: float | None, unit: str | None, spacing: Spacing) -> str | None:
    if value is None:
        return f"{spacing.said_by} states no voxel size along {axis}"
    if unit is not None:
        if counts_voxels(unit):
            return None
        return (
            f"{spacing.said_by} gives the voxel size along {axis} in {unit!r:.60}, no known length"
        )
    if all(number in (None, 1.0) for number in spacing.scale):
        return None  # voxels are counted, and nothing else is claimed
    return f"{spacing.said_by} gives the voxel size along {axis} ({value:g}) without a unit"


def _offset(
    letters: str, moved: Spacing, voxel_size: Nanometres | None, sized: Spacing | None
) -> tuple[Nanometres, list[str]]:
    sizes = dict(zip("zyx", voxel_size or (None, None, None), strict=True))
    found = {"z": 0.0, "y": 0.0, "x": 0.0}
    doubt: list[str] = []
    for place, axis in enumerate(letters):
        value, unit = moved.shift[place], moved.shift_units[place]
        if axis not in found or not value:
            continue
        length = in_nanometres(value, unit)
        if length is not None and math.isfinite(length) and sizes[axis] is not None:
            found[axis] = length
            continue
        # Without a voxel size only the ratio of both means something: a position in voxels.
        voxels = _in_voxels(value, unit, sized, place)
        if voxels is None:
            doubt.append(
                f"{moved.said_by} gives the position along {axis} ({value:g}"
                f"{'' if unit is None else f' {unit:.60}'}), which cannot be told in "
                f"{'voxels' if voxel_size is None else 'nm'}; it is taken as 0"
            )
            continue
        found[axis] = voxels * (sizes[axis] or 1.0)
    return (found["z"], found["y"], found["x"]), doubt


def _in_voxels(value: float, unit: str | None, sized: Spacing | None, place: int) -> float | None:
    size = None if sized is None else sized.scale[place]
    if size is not None and sized is not None:
        size_unit = sized.scale_units[place]
        length, step = in_nanometres(value, unit), in_nanometres(size, size_unit)
        if length is not None and step:
            return length / step
        if unit == size_unit:
            return value / size
    return value if unit is not None and counts_voxels(unit) else None


def _alike(a: Nanometres, b: Nanometres) -> bool:
    return all(math.isclose(*pair, rel_tol=1e-4, abs_tol=1e-6) for pair in zip(a, b, strict=True))


def _shown(size: Nanometres) -> str:
    return f"{' x '.join(f'{length:g}' for length in size)} nm"
