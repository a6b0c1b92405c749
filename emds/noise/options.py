"""Checks of the options of noise models: a value in, a value out or a ConfigError."""

from __future__ import annotations

import math
from collections.abc import Sequence
from numbers import Real
from typing import TypeGuard

import numpy as np

from emds.errors import ConfigError

Range = tuple[float, float]


def as_range(kind: str, name: str, value: object, low: float, high: float) -> Range:
    """Read a number or a (low, high) pair within limits.

    Examples
    --------
    >>> as_range("gaussian", "sigma", 70, 0.0, 1000.0), as_range("film", "x", [1, 2], 0.0, 9.0)
    ((70.0, 70.0), (1.0, 2.0))
    """
    pair = tuple(value) if isinstance(value, (tuple, list)) else (value, value)
    if len(pair) == 2 and all(_is_number(number) for number in pair):
        first, last = float(pair[0]), float(pair[1])
        if low <= first <= last <= high:
            return first, last
    raise ConfigError(
        f"{name} of {kind} noise must be a number or a pair low, high with "
        f"{low:g} <= low <= high <= {high:g}, not {value!r}."
    )


def as_pair(value: float | Range) -> Range:
    """Return the two ends of an option that `as_range` has read."""
    return value if isinstance(value, tuple) else (value, value)


def as_number(kind: str, name: str, value: object, above: float, most: float) -> float:
    """Read a number in (above, most]."""
    if _is_number(value) and above < value <= most:
        return float(value)
    raise ConfigError(
        f"{name} of {kind} noise must be a number above {above:g} and at most {most:g}, "
        f"not {value!r}."
    )


def as_odd(kind: str, name: str, value: object, most: int) -> int:
    """Read an odd whole number from 1 to `most`."""
    if isinstance(value, (int, np.integer)) and value % 2 == 1 and 1 <= value <= most:
        return int(value)
    raise ConfigError(
        f"{name} of {kind} noise must be an odd whole number from 1 to {most}, not {value!r}."
    )


def as_choice(kind: str, name: str, value: object, choices: Sequence[str]) -> None:
    """Accept one of a few words."""
    if value not in choices:
        raise ConfigError(
            f"{name} of {kind} noise must be one of {', '.join(choices)}, not {value!r}."
        )


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, Real) and not isinstance(value, bool) and math.isfinite(value)
