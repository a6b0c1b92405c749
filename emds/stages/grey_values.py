"""What grey values an image has, by a sample of it, and whether they fit what is said of them."""

from __future__ import annotations

import logging
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emds.errors import DataError
from emds.geometry import Roi
from emds.io.volume import Volume

logger = logging.getLogger("emds")

EIGHT_BIT = (0.0, 255.0)
PERCENTILES = (0.5, 99.5)
"""What ``--intensity auto`` takes as 0 and 255; voxels beyond are outliers, or clipped anyway."""

_SEED = 0
_BOX = (6, 66, 66)  # voxels
_MOST_BYTES = 2**28  # of the chunks that are read; more would take seconds
_BOXES = 32
_MOST_OUTSIDE = 0.1  # of the voxels
_LEAST_FILLED = 0.25  # of the range


def sample_boxes(source: Volume, region: Roi, most: int = _BOXES) -> list[Roi]:
    """Return a few small boxes of a region, as many as are read in no time; always the same.

    Parameters
    ----------
    source : Volume
        Its chunks decide how many.
    region : Roi
        Region to take them from.
    most : int
        How many at most; fewer, and perhaps none, where chunks are huge.
    """
    z, y, x = (min(side, n) for side, n in zip(_BOX, region.shape, strict=True))
    shape = (z, y, x)
    rng = np.random.default_rng(_SEED)
    boxes: list[Roi] = []
    left = _MOST_BYTES
    for _ in range(most):
        corner = [
            int(rng.integers(begin, end - n + 1))
            for begin, end, n in zip(region.offset, region.end, shape, strict=True)
        ]
        box = Roi((corner[0], corner[1], corner[2]), shape)
        left -= _bytes_read(source, box)
        if left < 0:
            break
        boxes.append(box)
    return sorted(set(boxes), key=lambda box: box.offset)


def auto_range(source: Volume, region: Roi) -> tuple[float, float]:
    """Return the grey values of a region that correspond to 0 and 255 of an 8-bit image.

    They are the percentiles 0.5 and 99.5 of a sample, which is always the same one.

    Raises
    ------
    DataError
        If they are equal.

    Examples
    --------
    >>> from emds.io.volume import MemoryVolume
    >>> ramp = MemoryVolume(np.arange(4096, dtype=np.uint16).reshape(1, 64, 64))
    >>> auto_range(ramp, ramp.roi)
    (20.475, 4074.525)
    """
    boxes = sample_boxes(source, region) or sample_boxes(source, region, 1)
    if not boxes:  # a chunk is huge; one box is read all the same
        z, y, x = (min(side, n) for side, n in zip(_BOX, region.shape, strict=True))
        boxes = [Roi(region.offset, (z, y, x))]
    low, high = _percentiles(np.concatenate([source.read(box).ravel() for box in boxes]))
    if not low < high:
        raise DataError(
            f"--intensity auto finds the grey value {low:g} nearly everywhere in a sample of "
            f"{source.location}. Give --intensity LOW HIGH."
        )
    return low, high


def warn_of_misfit(
    source: Volume, region: Roi, asked: tuple[float, float] | None, option: bool = True
) -> None:
    """Warn of grey values that lie outside a range, or fill little of it.

    Parameters
    ----------
    source : Volume
        Grey values.
    region : Roi
        The part that is looked at, of which a sample is read.
    asked : (low, high) or None
        Grey values that are taken as 0 and 255 of an 8-bit image; None where it is one.
    option : bool
        Whether ``--intensity`` can be changed.
    """
    boxes = sample_boxes(source, region)
    if not boxes:
        return
    values = np.concatenate([source.read(box).ravel() for box in boxes])
    low, high = asked or EIGHT_BIT
    outside = float(np.mean((values < low) | (values > high)))
    first, last = _percentiles(values)
    filled = max(0.0, min(last, high) - max(first, low)) / (high - low)
    if outside <= _MOST_OUTSIDE and filled >= _LEAST_FILLED:
        return
    taken = f"--intensity {low:g} {high:g}" if asked else "0 to 255, the range of an 8-bit image"
    found = f"fill {filled:.0%} of" if outside <= _MOST_OUTSIDE else f"lie {outside:.0%} outside"
    remedy = (
        f"Brightness and contrast are far from what was trained on: give --intensity {first:g} "
        f"{last:g}, or auto"
        if option
        else "The noise models count in grey levels from 0 to 255: stretch the image first"
    )
    logger.warning(
        "the grey values of %s, %g to %g but for outliers, %s %s. %s",
        source.location,
        first,
        last,
        found.replace("%", " %"),
        taken,
        remedy,
    )


def _percentiles(values: NDArray[Any]) -> tuple[float, float]:
    low, high = np.percentile(values.astype(np.float64), PERCENTILES)
    return float(low), float(high)


def _bytes_read(source: Volume, box: Roi) -> int:
    """Return the size of the chunks that a box meets, uncompressed."""
    chunks = [
        (end - 1) // chunk - begin // chunk + 1
        for begin, end, chunk in zip(box.offset, box.end, source.chunk_shape, strict=True)
    ]
    return prod(chunks) * prod(source.chunk_shape) * source.dtype.itemsize
