"""What grey values an image has: their ends, how many voxels lie there, and their step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class GreyRange:
    """Grey values of an image.

    Attributes
    ----------
    low, high : float
        Least and greatest that occur. Noise that was clipped was clipped there; where nothing
        was, both are too far out to matter.
    at_low, at_high : int
        Voxels with these values.
    voxels : int
        Voxels looked at.
    step : float
        1 for integers, 0 for floats.
    """

    low: float
    high: float
    at_low: int
    at_high: int
    voxels: int
    step: float

    @property
    def clipped(self) -> float:
        """Share of the voxels at either end."""
        return (self.at_low + self.at_high) / self.voxels


def grey_range(values: NDArray[Any]) -> GreyRange:
    """Look at all values of an array.

    Examples
    --------
    >>> import numpy as np
    >>> found = grey_range(np.array([0, 0, 7, 255], np.uint8))
    >>> found.low, found.at_low, found.high, found.clipped
    (0.0, 2, 255.0, 0.75)
    """
    low, high = values.min(), values.max()
    return GreyRange(
        low=float(low),
        high=float(high),
        at_low=int((values == low).sum()),
        at_high=int((values == high).sum()),
        voxels=values.size,
        step=0.0 if values.dtype.kind == "f" else 1.0,
    )


def join_ranges(ranges: Sequence[GreyRange]) -> GreyRange:
    """Return the range of several arrays together.

    Examples
    --------
    >>> import numpy as np
    >>> dark, light = np.array([1, 1, 2], np.uint8), np.array([1, 3], np.uint8)
    >>> join_ranges([grey_range(dark), grey_range(light)]).at_low
    3
    """
    low, high = min(one.low for one in ranges), max(one.high for one in ranges)
    return GreyRange(
        low=low,
        high=high,
        at_low=sum(one.at_low for one in ranges if one.low == low),
        at_high=sum(one.at_high for one in ranges if one.high == high),
        voxels=sum(one.voxels for one in ranges),
        step=max(one.step for one in ranges),
    )
