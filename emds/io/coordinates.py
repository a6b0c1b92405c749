"""Voxel sizes from coordinates: an array of positions beside each axis, as netCDF has them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from emds.io.axes import plain_value
from emds.io.place import Spacing, not_understood
from emds.io.source import MALFORMED, LazyArray

# More positions than this are read at both ends only.
_MOST_READ = 2**16
# How much steps may differ, as a share of one: positions are often 32-bit floats.
_TOLERANCE = 1e-2


@dataclass(frozen=True)
class Coordinate:
    """The positions along one axis.

    Attributes
    ----------
    name : str
        Of the array that holds them.
    values : LazyArray
        1-D, not read yet.
    unit : Any
        Its attribute ``units``; None where it has none.
    """

    name: str
    values: LazyArray
    unit: Any


def coordinate_spacing(
    coordinates: Sequence[Coordinate | None], shape: Sequence[int]
) -> list[Spacing]:
    """Read what coordinates state of an array.

    Parameters
    ----------
    coordinates : sequence of Coordinate or None
        One per axis of the array.
    shape : sequence of int
        Shape of the array.

    Returns
    -------
    list of Spacing
        None where there are no coordinates, or they only count.
    """
    scale: list[float | None] = [None] * len(shape)
    shift, units = list(scale), [""] * len(shape)
    for place, coordinate in enumerate(coordinates):
        if coordinate is None or coordinate.values.shape != (shape[place],) or shape[place] < 2:
            continue
        said_by = f"its coordinate {coordinate.name!r}"
        if coordinate.values.dtype.kind not in "uif":
            continue
        try:
            steps = _steps(coordinate.values)
        except MALFORMED as error:
            return [not_understood(said_by, f"{said_by} cannot be read: {error}", len(shape))]
        first, step, is_even = steps
        units[place] = str(plain_value(coordinate.unit) or "")
        if not units[place] and (step in (0, 1) or not is_even):
            continue  # it only counts
        if not is_even or step <= 0:
            problem = f"{said_by} does not rise in equal steps"
            return [not_understood(said_by, problem, len(shape))]
        scale[place], shift[place] = step, first
    if not any(scale):
        return []
    of_axes = [unit or None for unit in units]
    return [Spacing("its set of coordinates", scale, shift, of_axes, of_axes)]


def _steps(values: LazyArray) -> tuple[float, float, bool]:
    """Return the first position, the mean step, and whether all steps are equal."""
    (size,) = values.shape
    whole = size <= _MOST_READ
    read = np.asarray(values[(slice(0, size if whole else _MOST_READ),)], float)
    last = read[-1] if whole else float(np.asarray(values[(slice(size - 1, size),)], float)[0])
    step = float(last - read[0]) / (size - 1)
    with np.errstate(all="ignore"):
        off = np.abs(np.diff(read) - step)
    is_even = bool(np.isfinite(read).all() and (off <= _TOLERANCE * abs(step)).all())
    # Rounded to what the type of the positions can tell.
    digits = 6 if values.dtype == np.float32 else 12
    return float(read[0]), float(f"{step:.{digits}g}"), is_even
