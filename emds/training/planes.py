"""Samples on planes of any direction, for volumes whose voxels are cubes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from emds.geometry import Roi, Triple

_TRIES = 100


def draw_plane(
    rng: np.random.Generator, side: int, zoom: tuple[float, float], region: Roi
) -> tuple[Roi, NDArray[np.float64]]:
    """Lay a square on a random plane, with a random pixel size, somewhere in a region.

    Directions are uniform among those whose square fits into the region; in a region so thin
    that hardly any does, the square lies in a section, at its true size.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where the draw comes from.
    side : int
        Pixels on a side.
    zoom : (float, float)
        Range of the magnification; 2 shows half the tissue at twice the size.
    region : Roi
        Where to lie, voxels.

    Returns
    -------
    box : Roi
        The voxels around the square.
    points : (3, side, side) float64
        Position (z, y, x) of every pixel, in voxels from the corner of the box.

    Examples
    --------
    >>> region = Roi((10, 0, 0), (40, 50, 50))
    >>> box, points = draw_plane(np.random.default_rng(0), 16, (1.0, 1.0), region)
    >>> all(low <= begin and end <= high for low, begin, end, high
    ...     in zip(region.offset, box.offset, box.end, region.end))
    True
    >>> float(np.linalg.norm(points[:, 0, 1] - points[:, 0, 0]).round(6))
    1.0
    """
    for _ in range(_TRIES):
        axes = Rotation.random(random_state=rng).as_matrix()[:2] / np.exp(
            rng.uniform(*np.log(zoom))
        )
        reach, room = _reach(axes, side, region)
        if (room >= 0).all():
            break
    else:
        axes = np.eye(3)[1:]
        reach, room = _reach(axes, side, region)
    corner = np.array(region.offset) + rng.uniform(size=3) * room
    low = np.floor(corner).astype(int)
    high = np.minimum(np.ceil(corner + 2 * reach).astype(int) + 1, region.end)
    steps = np.arange(side) - (side - 1) / 2
    along_y, along_x = axes[0][:, None, None], axes[1][:, None, None]
    points = (corner + reach - low)[:, None, None] + along_y * steps[:, None] + along_x * steps
    return Roi(_triple(low), _triple(high - low)), points


def sample_image(values: NDArray[np.uint8], points: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Read an image (z, y, x) at `points` (3, y, x) by trilinear interpolation, rounded."""
    read: NDArray[np.float32] = map_coordinates(
        values, points, output=np.float32, order=1, mode="nearest"
    )
    return np.rint(read).astype(np.uint8)


def sample_labels(values: NDArray[Any], points: NDArray[np.float64]) -> NDArray[Any]:
    """Read labels (z, y, x) at `points` (3, y, x), from the nearest voxel."""
    last = np.array(values.shape)[:, None, None] - 1
    z, y, x = np.clip(np.rint(points).astype(np.int64), 0, last)
    nearest: NDArray[Any] = values[z, y, x]
    return nearest


def _reach(
    axes: NDArray[np.float64], side: int, region: Roi
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return half the square's extent along z, y, x, and how far its box can move."""
    reach = np.abs(axes).sum(axis=0) * (side - 1) / 2
    return reach, np.array(region.shape) - 1 - 2 * reach


def _triple(values: NDArray[np.int64]) -> Triple:
    z, y, x = (int(value) for value in values)
    return z, y, x
