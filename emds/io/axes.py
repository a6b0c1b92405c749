"""What the axes of an array mean, from whatever names a file states for them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_NAMES = {
    "z": "z depth plane planes slice slices section sections",
    "y": "y height row rows",
    "x": "x width column columns col cols",
    "c": "c ch channel channels band bands",
    "t": "t time times frame frames timepoint timepoints",
    "s": "s sample samples rgb rgba",
}
_LETTERS = {name: letter for letter, names in _NAMES.items() for name in names.split()}
_KINDS = {"space": "zyx", "channel": "cs", "time": "t"}
# What libraries write where nobody named an axis.
_NO_NAME = re.compile(r"\??|(phony_dim_|dim_?|axis_?|dimension_?|d)\d+")
# For axes of length 1 whose name means nothing here.
_FILLERS = "0123456789"


class MisstatedAxesError(ValueError):
    """What a file says of an array's axes cannot be; the message is a clause."""


@dataclass(frozen=True)
class AxisNames:
    """One statement about the axes of an array.

    Attributes
    ----------
    said_by : str
        Where it stands, e.g. ``its attribute 'axis_names'``.
    names : sequence
        One name per axis, or None; whatever the file holds.
    kinds : sequence, optional
        ``space``, ``channel``, ``time`` or None, per axis.
    """

    said_by: str
    names: Sequence[Any]
    kinds: Sequence[Any] = ()


@dataclass(frozen=True)
class Axes:
    """A letter per axis (see `emds.io.source.ArraySource.axes`), and what to tell the user."""

    letters: str
    remarks: tuple[str, ...] = ()


def default_axes(ndim: int) -> str:
    """Return the axes of an array whose file does not name them.

    Examples
    --------
    >>> [default_axes(n) for n in (0, 1, 2, 3, 4, 5)]
    ['', 'x', 'yx', 'zyx', 'czyx', 'tczyx']
    """
    return "?" * (ndim - 5) + "tczyx"[max(0, 5 - ndim) :]


def find_axes(statements: Sequence[AxisNames], shape: Sequence[int]) -> Axes:
    """Combine all that a file says of an array's axes.

    Statements complete each other. An axis without a name gets the letter that the usual order
    (t, c, z, y, x) leaves for it.

    Parameters
    ----------
    statements : sequence of AxisNames
        None where the file names no axes.
    shape : sequence of int
        Shape of the array.

    Raises
    ------
    MisstatedAxesError
        If a statement names another number of axes than there are, or one axis twice; if two
        contradict each other; or if an axis longer than 1 has a name that emds does not know
        while others have known ones.

    Examples
    --------
    >>> find_axes([AxisNames("its attribute 'dims'", ["time", "y", "x"])], (1, 40, 50)).letters
    'tyx'
    >>> find_axes([AxisNames("axis_names", ["c0^", "d0", "d1", "d2"])], (3, 7, 40, 50)).letters
    'czyx'
    """
    ndim = len(shape)
    named: list[str | None] = [None] * ndim
    said_by: list[str] = [""] * ndim
    spatial, strange = set(), {}
    for statement in statements:
        if len(statement.names) != ndim:
            raise MisstatedAxesError(
                f"{statement.said_by} names {len(statement.names)} axes "
                f"{_listed(statement.names)}, the array has {ndim}"
            )
        kinds = [*statement.kinds, *[None] * (ndim - len(statement.kinds))]
        for place, (name, kind) in enumerate(zip(statement.names, kinds, strict=False)):
            letter = _letter(name, kind, statement.said_by)
            if letter is None and not _is_unnamed(name):
                strange[place] = (name, statement.said_by)
            if letter is None:
                spatial |= {place} if kind == "space" else set()
            elif named[place] not in (None, letter):
                raise MisstatedAxesError(
                    f"{said_by[place]} and {statement.said_by} contradict each other: axis "
                    f"{place} is {named[place]!r} by one, {letter!r} by the other"
                )
            else:
                named[place], said_by[place] = letter, statement.said_by
    for place, letter in enumerate(named):
        if letter is not None and letter in named[:place]:
            raise MisstatedAxesError(f"{said_by[place]} names the axis {letter!r} twice")
    unknown = {place: strange[place] for place in strange if named[place] is None}
    return _completed(named, unknown, spatial, shape)


def _completed(
    named: Sequence[str | None],
    unknown: Mapping[int, tuple[Any, str]],
    spatial: set[int],
    shape: Sequence[int],
) -> Axes:
    """Give a letter to the axes that have none: those unnamed, and those of `unknown` names."""
    letters = list(named)
    remarks: list[str] = []
    taken_as_usual = not any(named)
    for place, (name, said_by) in unknown.items():
        if taken_as_usual or place in spatial:
            continue
        if shape[place] > 1:
            raise MisstatedAxesError(
                f"{said_by} calls axis {place} {name!r}, which is no axis of a volume (z, y, x, "
                f"channel), and it is longer than 1: shape {tuple(shape)}"
            )
        letters[place] = _FILLERS[place % len(_FILLERS)]
    empty = [place for place, letter in enumerate(letters) if letter is None]
    order = "zyx" if set(empty) <= spatial else "tczyx"
    free = [letter for letter in order if letter not in letters]
    chosen = ["?"] * (len(empty) - len(free)) + free[max(0, len(free) - len(empty)) :]
    for place, letter in zip(empty, chosen, strict=True):
        letters[place] = letter
    if unknown and set(unknown) & set(empty):
        names, said_by = [name for name, _ in unknown.values()], next(iter(unknown.values()))[1]
        remarks.append(
            f"{said_by} names axes {_listed(names)}, which emds does not know; it takes the axes "
            f"as ({', '.join(map(str, letters))})"
        )
    return Axes("".join(map(str, letters)), tuple(remarks))


def _letter(name: Any, kind: Any, said_by: str) -> str | None:
    """Return the letter of an axis by its name and kind, or None where they do not tell."""
    letter = _LETTERS.get(_plain(name))
    meant = _KINDS.get(str(kind)) if kind is not None else None
    if letter is None and "^" in str(name):  # funlib's sign of an axis that is not in space
        meant = meant or _KINDS["channel"]
    if letter is None or meant is None or letter in meant:
        return meant[0] if letter is None and meant in ("t", "cs") else letter
    raise MisstatedAxesError(f"{said_by} calls the axis {name!r} one of the kind {kind!r}")


def _plain(name: Any) -> str:
    return str(name or "").strip().rstrip("^").lower()


def _is_unnamed(name: Any) -> bool:
    return _NO_NAME.fullmatch(_plain(name)) is not None


def _listed(names: Sequence[Any]) -> str:
    return f"({', '.join(repr(name) for name in names)})"


def plain_value(value: Any) -> Any:
    """Turn an attribute into str, float, int, bool, None, list and dict, whoever read it.

    Examples
    --------
    >>> plain_value(np.array([b"nm", b"nm"], dtype=object)), plain_value(np.bytes_(b"nm"))
    (['nm', 'nm'], 'nm')
    """
    if isinstance(value, np.ndarray):
        value = value.tolist()
    elif isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        return value.decode("utf-8", errors="replace")
    if isinstance(value, list | tuple):
        return [plain_value(part) for part in value]
    if isinstance(value, Mapping):
        return {str(key): plain_value(part) for key, part in value.items()}
    return value if isinstance(value, str | int | float | bool) else None
