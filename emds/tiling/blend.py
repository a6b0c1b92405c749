"""Weighted mean of overlapping tiles: smooth, strictly positive, summed in grid order."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from emds.geometry import Roi, Triple


@lru_cache(maxsize=8)
def tile_weights(tile: Triple, overlap: Triple) -> NDArray[np.float32]:
    """Return how much each voxel of a tile counts.

    On every axis the weight climbs as a raised cosine over the overlap, is 1 in the middle, and
    falls again; where two tiles share exactly `overlap` voxels their weights add up to 1. It is
    never 0, so a voxel that only one tile covers, corners included, keeps that tile's value.

    Parameters
    ----------
    tile, overlap : (z, y, x)

    Returns
    -------
    (z, y, x) float32
        Read-only.

    Examples
    --------
    >>> tile_weights((1, 1, 6), (0, 0, 2)).round(2).tolist()
    [[[0.15000000596046448, 0.8500000238418579, 1.0, 1.0, 0.8500000238418579, 0.15000000596046448]]]
    """
    z, y, x = (_ramp(n, o) for n, o in zip(tile, overlap, strict=True))
    weights = (z[:, None, None] * y[:, None] * x).astype(np.float32)
    weights.setflags(write=False)
    return weights


class Blender:
    """Gathers the tiles of one block.

    Parameters
    ----------
    roi : Roi
        The block to fill, in volume coordinates.
    channels : int
        Values per voxel.
    overlap : (z, y, x)
        Overlap of the tile grid.
    """

    def __init__(self, roi: Roi, channels: int, overlap: Triple) -> None:
        self.roi = roi
        self.overlap = overlap
        self._sum = np.zeros((channels, *roi.shape), dtype=np.float32)
        self._weight = np.zeros(roi.shape, dtype=np.float32)

    def add(self, tile: Roi, values: NDArray[np.float32]) -> None:
        """Add the part of a tile that lies in the block; `values` is (channels, z, y, x)."""
        common = self.roi.intersect(tile)
        inner = common.relative_to(tile.offset).slices()
        outer = common.relative_to(self.roi.offset).slices()
        weights = tile_weights(tile.shape, self.overlap)[inner]
        self._sum[(slice(None), *outer)] += values[(slice(None), *inner)] * weights
        self._weight[outer] += weights

    def result(self) -> NDArray[np.float32]:
        """Return the weighted means, (channels, z, y, x); every voxel must have been covered."""
        return self._sum / self._weight


def _ramp(size: int, overlap: int) -> NDArray[np.float64]:
    from_edge = np.minimum(np.arange(size), np.arange(size)[::-1]) + 0.5
    if overlap == 0:
        return np.ones(size)
    return np.sin(np.pi / 2 * np.minimum(from_edge / overlap, 1)) ** 2
