"""The edges between voxels and their partners, enumerated and sorted.

The weight of an attractive edge is its affinity ``a``, that of a mutex edge ``max - a``. The
*rank* counts from the strongest: ``max - weight``. Edges are ordered by rank, then channel, then
source voxel (row-major), by a counting sort with one bin per rank and channel. Since a bin knows
its channel, an edge is stored as its source voxel alone.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray


class Lattice(NamedTuple):
    """Which voxels have which partners.

    Attributes
    ----------
    offsets : (C, 3) int64
        Partner of each channel, (dz, dy, dx).
    attractive : (C,) bool
        Whether the channel merges, else it keeps apart.
    strides : (C, 3) int64
        A voxel has an edge only where ``(voxel + origin) % stride == 0`` on all three axes.
    origin : (3,) int64
        Position of the array in the volume.
    """

    offsets: NDArray[np.int64]
    attractive: NDArray[np.bool_]
    strides: NDArray[np.int64]
    origin: NDArray[np.int64]


class SortedEdges(NamedTuple):
    """Edges, strongest first.

    Attributes
    ----------
    sources : (edges,) uint32
        Flat index of the source voxel.
    bounds : (ranks * C + 1,) int64
        Bin ``rank * C + channel`` is ``sources[bounds[bin]:bounds[bin + 1]]``.
    """

    sources: NDArray[np.uint32]
    bounds: NDArray[np.int64]


@njit(nogil=True, cache=True)
def sorted_edges(
    affinities: NDArray[Any], lattice: Lattice, mask: NDArray[np.bool_], ranks: int
) -> SortedEdges:
    """Enumerate the edges of a block and sort them.

    Parameters
    ----------
    affinities : (C, Z, Y, X) uint8 or uint16
        1 = same, scaled to ``ranks - 1``.
    lattice : Lattice
        The meaning of the channels.
    mask : (Z * Y * X,) or (0,) bool
        Edges that touch a False voxel do not exist; an empty mask excludes none.
    ranks : int
        Number of levels, 256 or 65536.
    """
    channels = affinities.shape[0]
    counts = np.zeros((channels, ranks), dtype=np.int64)
    for channel in range(channels):
        _count(affinities[channel], lattice, channel, mask, counts[channel])

    bounds = np.zeros(ranks * channels + 1, dtype=np.int64)
    total = 0
    for rank in range(ranks):
        for channel in range(channels):
            total += counts[channel, rank]
            bounds[rank * channels + channel + 1] = total

    sources = np.empty(total, dtype=np.uint32)
    for channel in range(channels):
        begins = bounds[channel:-1:channels].copy()
        _place(affinities[channel], lattice, channel, mask, begins, sources)
    return SortedEdges(sources, bounds)


@njit(nogil=True, cache=True)
def _count(
    affinity: NDArray[Any],
    lattice: Lattice,
    channel: int,
    mask: NDArray[np.bool_],
    counts: NDArray[np.int64],
) -> None:
    flip = counts.size - 1 if lattice.attractive[channel] else 0
    (z0, z1, dz), (y0, y1, dy), (x0, x1, dx) = _source_ranges(affinity.shape, lattice, channel)
    shift = partner_shift(affinity.shape, lattice.offsets[channel])
    for z in range(z0, z1, dz):
        for y in range(y0, y1, dy):
            row = (z * affinity.shape[1] + y) * affinity.shape[2]
            for x in range(x0, x1, dx):
                if mask.size == 0 or (mask[row + x] and mask[row + x + shift]):
                    counts[affinity[z, y, x] ^ flip] += 1


@njit(nogil=True, cache=True)
def _place(
    affinity: NDArray[Any],
    lattice: Lattice,
    channel: int,
    mask: NDArray[np.bool_],
    begins: NDArray[np.int64],
    sources: NDArray[np.uint32],
) -> None:
    flip = begins.size - 1 if lattice.attractive[channel] else 0
    (z0, z1, dz), (y0, y1, dy), (x0, x1, dx) = _source_ranges(affinity.shape, lattice, channel)
    shift = partner_shift(affinity.shape, lattice.offsets[channel])
    for z in range(z0, z1, dz):
        for y in range(y0, y1, dy):
            row = (z * affinity.shape[1] + y) * affinity.shape[2]
            for x in range(x0, x1, dx):
                if mask.size == 0 or (mask[row + x] and mask[row + x + shift]):
                    rank = affinity[z, y, x] ^ flip
                    sources[begins[rank]] = row + x
                    begins[rank] += 1


@njit(nogil=True, cache=True)
def partner_shift(shape: tuple[int, int, int], offset: NDArray[np.int64]) -> Any:
    """Return by how much the flat index of the partner differs from that of the voxel."""
    return (offset[0] * shape[1] + offset[1]) * shape[2] + offset[2]


@njit(nogil=True, cache=True)
def _source_ranges(shape: tuple[int, int, int], lattice: Lattice, channel: int) -> Any:
    return (
        _source_range(shape, lattice, channel, 0),
        _source_range(shape, lattice, channel, 1),
        _source_range(shape, lattice, channel, 2),
    )


@njit(nogil=True, cache=True)
def _source_range(shape: tuple[int, int, int], lattice: Lattice, channel: int, axis: int) -> Any:
    """Return begin, end and step of the voxels whose partner lies inside, along one axis."""
    offset, step = lattice.offsets[channel, axis], lattice.strides[channel, axis]
    begin = max(0, -offset)
    begin += -(begin + lattice.origin[axis]) % step
    return begin, shape[axis] - max(0, offset), step
