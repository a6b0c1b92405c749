"""From one resolution to the next: what a voxel holds that stands for up to eight.

A window is what one voxel of the result covers. At the far end of an axis of odd length it covers
one layer in place of two; that layer then counts twice, which changes neither mean nor mode.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emds.geometry import Triple
from emds.kernels import njit


def mean_of_windows(image: NDArray[Any], factor: Triple) -> NDArray[Any]:
    """Return the mean of each window, in the image's own type.

    Parameters
    ----------
    image : (Z, Y, X)
        Integers of up to 32 bits, or floats.
    factor : (z, y, x)
        Extent of a window: 1 or 2.

    Returns
    -------
    (ceil(Z / z), ceil(Y / y), ceil(X / x))
        Means of integers are rounded, halves to the even neighbour: always up or always down
        would make each level a little brighter or darker than the last.

    Examples
    --------
    >>> mean_of_windows(np.array([[[1, 2, 3, 4, 9]]], dtype=np.uint8), (1, 1, 2)).tolist()
    [[[2, 4, 9]]]
    """
    odd = [(0, -size % step) for size, step in zip(image.shape, factor, strict=True)]
    padded = np.pad(image, odd, mode="edge")
    windows = padded.reshape(
        [
            part
            for size, step in zip(padded.shape, factor, strict=True)
            for part in (size // step, step)
        ]
    )
    means: NDArray[Any] = windows.mean(axis=(1, 3, 5), dtype=np.float64)
    if image.dtype.kind in "iu":
        means = np.rint(means)
    return means.astype(image.dtype)


def mode_of_windows(labels: NDArray[Any], factor: Triple) -> NDArray[Any]:
    """Return the most frequent id of each window; none that was not there.

    Background (0) wins only where it has more voxels than every id, so that thin processes do not
    vanish before they must. Of ids with equally many voxels the smallest wins, wherever it lies:
    the result depends on nothing but the ids in the window.

    Parameters
    ----------
    labels : (Z, Y, X)
        Integers of any type.
    factor : (z, y, x)
        Extent of a window: 1 or 2.

    Returns
    -------
    (ceil(Z / z), ceil(Y / y), ceil(X / x))
        Of the same type.

    Examples
    --------
    >>> mode_of_windows(np.array([[[7, 7, 0, 5, 9, 3], [0, 7, 5, 0, 0, 0]]]), (1, 2, 2)).tolist()
    [[[7, 5, 0]]]
    """
    depth, height, width = (
        -(-size // step) for size, step in zip(labels.shape, factor, strict=True)
    )
    modes = np.empty((depth, height, width), dtype=labels.dtype)
    _write_modes(np.ascontiguousarray(labels), *factor, modes)
    return modes


@njit()
def _write_modes(
    labels: NDArray[Any], step_z: int, step_y: int, step_x: int, modes: NDArray[Any]
) -> None:
    window = np.empty(step_z * step_y * step_x, labels.dtype)
    for z in range(modes.shape[0]):
        for y in range(modes.shape[1]):
            for x in range(modes.shape[2]):
                filled = 0
                for dz in range(step_z):
                    for dy in range(step_y):
                        for dx in range(step_x):
                            window[filled] = labels[
                                min(z * step_z + dz, labels.shape[0] - 1),
                                min(y * step_y + dy, labels.shape[1] - 1),
                                min(x * step_x + dx, labels.shape[2] - 1),
                            ]
                            filled += 1
                modes[z, y, x] = _mode(window)


@njit()
def _mode(window: NDArray[Any]) -> Any:
    best, most = window[0], 0
    uniform = True
    for label in window:
        uniform &= label == best
    if uniform:  # as almost everywhere
        return best
    for candidate in window:
        count = 0
        for other in window:
            count += candidate == other
        wins_tie = candidate != 0 and (best == 0 or candidate < best)
        if count > most or (count == most and wins_tie):
            best, most = candidate, count
    return best
