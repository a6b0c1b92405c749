"""Samples on parallel planes of any direction, for volumes whose voxels are cubes."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates
from scipy.spatial.transform import Rotation

from emds.geometry import Roi, Triple

_TRIES = 100


def draw_stack(
    rng: np.random.Generator, depth: int, side: int, zoom: tuple[float, float], region: Roi
) -> tuple[Roi, NDArray[np.float64]]:
    """Lay a stack of squares on random parallel planes, somewhere in a region.

    The planes are as far apart as the pixels. Directions are uniform among those whose stack fits
    into the region; in a region so thin that hardly any does, the squares lie in sections, at
    their true size.

    Parameters
    ----------
    rng : numpy.random.Generator
        Where the draw comes from.
    depth : int
        Squares in the stack.
    side : int
        Pixels on a side.
    zoom : (float, float)
        Range of the magnification; 2 shows half the tissue at twice the size.
    region : Roi
        Where to lie, voxels.

    Returns
    -------
    box : Roi
        The voxels around the stack.
    points : (3, depth, side, side) float64
        Position (z, y, x) of every pixel, in voxels from the corner of the box.

    Examples
    --------
    >>> region = Roi((10, 0, 0), (40, 50, 50))
    >>> box, points = draw_stack(np.random.default_rng(0), 3, 16, (1.0, 1.0), region)
    >>> all(low <= begin and end <= high for low, begin, end, high
    ...     in zip(region.offset, box.offset, box.end, region.end))
    True
    >>> float(np.linalg.norm(points[:, 1, 0, 0] - points[:, 0, 0, 0]).round(6))
    1.0
    """
    for _ in range(_TRIES):
        axes = Rotation.random(random_state=rng).as_matrix() / np.exp(rng.uniform(*np.log(zoom)))
        reach, room = _reach(axes, depth, side, region)
        if (room >= 0).all():
            break
    else:
        axes = np.eye(3)[[1, 2, 0]]
        reach, room = _reach(axes, depth, side, region)
    corner = np.array(region.offset) + rng.uniform(size=3) * room
    low = np.floor(corner).astype(int)
    high = np.minimum(np.ceil(corner + 2 * reach).astype(int) + 1, region.end)
    steps, layers = (np.arange(n) - (n - 1) / 2 for n in (side, depth))
    along_y, along_x, across = (axis[:, None, None, None] for axis in axes)
    square = along_y * steps[:, None] + along_x * steps
    points = (corner + reach - low)[:, None, None, None] + square + across * layers[:, None, None]
    return Roi(_triple(low), _triple(high - low)), points


def sample_image(values: NDArray[np.uint8], points: NDArray[np.float64]) -> NDArray[np.uint8]:
    """Read an image (z, y, x) at `points` (3, ...) by trilinear interpolation, rounded."""
    read: NDArray[np.float32] = map_coordinates(
        values, points, output=np.float32, order=1, mode="nearest"
    )
    return np.rint(read).astype(np.uint8)


def sample_labels(values: NDArray[Any], points: NDArray[np.float64]) -> NDArray[Any]:
    """Read labels (z, y, x) at `points` (3, ...), from the nearest voxel."""
    z, y, x = (
        np.clip(np.rint(place).astype(np.int64), 0, size - 1)
        for place, size in zip(points, values.shape, strict=True)
    )
    nearest: NDArray[Any] = values[z, y, x]
    return nearest


def _reach(
    axes: NDArray[np.float64], depth: int, side: int, region: Roi
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return half the stack's extent along z, y, x, and how far its box can move."""
    plane, normal = np.abs(axes[:2]).sum(axis=0), np.abs(axes[2])
    reach = (plane * (side - 1) + normal * (depth - 1)) / 2
    return reach, np.array(region.shape) - 1 - 2 * reach


def _triple(values: NDArray[np.int64]) -> Triple:
    z, y, x = (int(value) for value in values)
    return z, y, x
