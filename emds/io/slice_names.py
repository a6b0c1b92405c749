"""The order of sections that lie in files of their own, and what their names say against it."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby, pairwise
from pathlib import PurePath

from emds.io.runs import in_runs

_MINUS = "-−"
_SIGNS = _MINUS + "+"
_SHOWN = 3
_DECIMAL = re.compile(r"(\d+)\.\d+")


@dataclass(frozen=True)
class _Name:
    """A file name as texts and the numbers between them; there is a text more than numbers."""

    whole: str
    texts: tuple[str, ...]
    numbers: tuple[int, ...]

    @property
    def key(self) -> tuple[object, ...]:
        between = zip(self.texts, (*self.numbers, -math.inf), strict=True)
        return (*(part for pair in between for part in pair), self.whole)


def natural_order(names: Iterable[str]) -> list[str]:
    """Sort file names by the numbers in them: ``z2`` comes before ``z10``.

    A ``-`` before a number is a minus where the same name occurs without it, else it is a dash.

    Examples
    --------
    >>> natural_order(["z10.png", "z2.png", "z1.png"])
    ['z1.png', 'z2.png', 'z10.png']
    >>> natural_order(["z-1.tif", "z-2.tif", "z0.tif"]), natural_order(["z-2.tif", "z-1.tif"])
    (['z-2.tif', 'z-1.tif', 'z0.tif'], ['z-1.tif', 'z-2.tif'])
    """
    return [name.whole for name in _in_order(names)]


def remarks(names: Iterable[str]) -> list[str]:
    """Say what in the names speaks against one stack without gaps, a clause each.

    Examples
    --------
    >>> remarks(["s1.tif", "s2.tif", "s4.tif"])
    ['number 3 is missing between s2.tif and s4.tif']
    >>> remarks(["a1.tif", "a2.tif"])
    []
    """
    patterns: dict[tuple[str, ...], list[_Name]] = {}
    for name in _in_order(names):
        patterns.setdefault(name.texts, []).append(name)
    said = []
    if len(patterns) > 1:
        said.append(f"the names follow {len(patterns)} patterns: {_examples(patterns.values())}")
    for alike in patterns.values():
        said += _against(alike)
        said += _decimals(alike)
    return said


def _in_order(names: Iterable[str]) -> list[_Name]:
    return sorted(_with_signs([_parsed(name) for name in names]), key=lambda name: name.key)


def _parsed(name: str) -> _Name:
    stem = unicodedata.normalize("NFC", PurePath(name).stem).casefold()
    texts, numbers = [""], []
    for kind, letters in groupby(stem, _kind_of):
        if kind == "text":
            texts[-1] = "".join(letters)
        else:
            numbers.append(int("".join(str(unicodedata.digit(letter)) for letter in letters)))
            texts.append("")
    return _Name(name, tuple(texts), tuple(numbers))


def _kind_of(letter: str) -> str:
    """Tell digits from superscripts and their like, which are numbers of their own."""
    if letter.isdecimal():
        return "digit"
    return "text" if unicodedata.digit(letter, None) is None else "raised"


def _with_signs(names: Sequence[_Name]) -> list[_Name]:
    """Take a sign before a number into it, where the same text occurs with and without a minus."""
    negative: dict[tuple[tuple[str, ...], int], set[bool]] = {}
    bare = [(*(text.rstrip(_SIGNS) for text in name.texts[:-1]), name.texts[-1]) for name in names]
    for name, texts in zip(names, bare, strict=True):
        for place, text in enumerate(name.texts[:-1]):
            negative.setdefault((texts, place), set()).add(text.endswith(tuple(_MINUS)))
    signed = []
    for name, texts in zip(names, bare, strict=True):
        parts, numbers = list(name.texts), list(name.numbers)
        for place in range(len(numbers)):
            if len(negative[texts, place]) == 2:
                if parts[place].endswith(tuple(_MINUS)):
                    numbers[place] = -numbers[place]
                parts[place] = texts[place]
        signed.append(_Name(name.whole, tuple(parts), tuple(numbers)))
    return signed


def _against(names: Sequence[_Name]) -> list[str]:
    """Say what speaks against names of one pattern, in order, being one stack."""
    columns = list(zip(*(name.numbers for name in names), strict=True))
    varying = [column for column in columns if len(set(column)) > 1]
    for column in varying:
        if all(low < high for low, high in pairwise(column)):
            return _gaps(column, names)
    if not varying:
        same = f"{names[0].whole} and {names[-1].whole} have the same number"
        return [same] if len(names) > 1 else []
    first = columns.index(varying[0])
    series = [list(part) for _, part in groupby(names, lambda name: name.numbers[first])]
    said = [f"the names count {len(series)} series: {_examples(series)}"]
    for part in series[:_SHOWN]:
        said += _against(part)
    return said


def _gaps(column: Sequence[int], names: Sequence[_Name]) -> list[str]:
    steps = [high - low for low, high in pairwise(column)]
    step = math.gcd(*steps)
    count = (column[-1] - column[0]) // step + 1 - len(column)
    if count == 0:
        return []
    if count > len(column):
        return [f"the numbers do not follow one another (steps of {min(steps)} to {max(steps)})"]
    missing = [number for low, high in pairwise(column) for number in range(low + step, high, step)]
    place = next(place for place, size in enumerate(steps) if size > step)
    where = f"between {names[place].whole} and {names[place + 1].whole}"
    if count == 1:
        return [f"number {missing[0]} is missing {where}"]
    return [f"numbers {in_runs(missing)} are missing, the first {where}"]


def _decimals(names: Sequence[_Name]) -> list[str]:
    """Say where decimal fractions would come in another order; dots part whole numbers here."""
    found = [_DECIMAL.search(PurePath(name.whole).stem) for name in names]
    for (name, low), (after, high) in pairwise(zip(names, found, strict=True)):
        if low and high and float(low[0]) > float(high[0]) and low[1] == high[1]:
            return [f"{name.whole} comes before {after.whole}: a dot parts two whole numbers"]
    return []


def _examples(groups: Iterable[Sequence[_Name]]) -> str:
    listed = [
        f"{group[0].whole} to {group[-1].whole} ({len(group)})"
        if len(group) > 1
        else group[0].whole
        for group in groups
    ]
    more = f" and {len(listed) - _SHOWN} more" if len(listed) > _SHOWN else ""
    return ", ".join(listed[:_SHOWN]) + more
