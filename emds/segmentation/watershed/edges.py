"""The edges between voxels and their partners, enumerated and sorted.

The weight of an attractive edge is its affinity ``a``, that of a mutex edge ``max - a``. The
*rank* counts from the strongest: ``max - weight``. Edges are ordered by rank, then channel, then
source voxel (row-major), by a counting sort with one bin per rank and channel. Since a bin knows
its channel, an edge is stored as its source voxel alone.

A block of a volume is a box in a slightly larger array: the edges within the box, and those that
leave it, are enumerated apart. Row-major order within a box is that of the volume.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emds.geometry import Triple
from emds.kernels import njit
from emds.segmentation.affinities import AffinitySpec


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


class Box(NamedTuple):
    """A box in an array: its first voxel, and the first one past it on every axis."""

    begin: Triple
    end: Triple


class SortedEdges(NamedTuple):
    """Edges, strongest first.

    Attributes
    ----------
    sources : (edges,) uint32
        Flat index of the source voxel in the box.
    bounds : (ranks * C + 1,) int64
        Bin ``rank * C + channel`` is ``sources[bounds[bin]:bounds[bin + 1]]``.
    """

    sources: NDArray[np.uint32]
    bounds: NDArray[np.int64]


def lattice_of(spec: AffinitySpec, strides: Triple, origin: Triple) -> Lattice:
    """Return the lattice of a spec whose mutex channels are thinned out by `strides`."""
    return Lattice(
        offsets=np.array(spec.offsets, dtype=np.int64),
        attractive=np.array(spec.attractive),
        strides=np.array([(1, 1, 1) if a else strides for a in spec.attractive], dtype=np.int64),
        origin=np.array(origin, dtype=np.int64),
    )


@njit()
def sorted_edges(
    affinities: NDArray[Any], lattice: Lattice, mask: NDArray[np.bool_], ranks: int, box: Box
) -> SortedEdges:
    """Enumerate the edges with both ends in a box and sort them.

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
    box : Box
        The box in the array.
    """
    channels = affinities.shape[0]
    counts = np.zeros((channels, ranks), dtype=np.int64)
    for channel in range(channels):
        _count(affinities[channel], lattice, channel, mask, box, counts[channel])

    bounds = _bounds(counts)
    sources = np.empty(bounds[-1], dtype=np.uint32)
    for channel in range(channels):
        begins = bounds[channel:-1:channels].copy()
        _place(affinities[channel], lattice, channel, mask, box, begins, sources)
    return SortedEdges(sources, bounds)


@njit()
def leaving_edges(
    affinities: NDArray[Any], lattice: Lattice, mask: NDArray[np.bool_], ranks: int, box: Box
) -> SortedEdges:
    """Enumerate the edges with one end in a box and the other outside, and sort them.

    Parameters are those of `sorted_edges`. `SortedEdges.sources` holds the end in the box,
    whether it is the source or the partner; within a bin the order means nothing.
    """
    channels = affinities.shape[0]
    counts = np.zeros((channels, ranks), dtype=np.int64)
    ends = np.empty(0, dtype=np.uint32)
    for channel in range(channels):
        _visit_leaving(affinities[channel], lattice, channel, mask, box, counts[channel], ends)

    bounds = _bounds(counts)
    ends = np.empty(bounds[-1], dtype=np.uint32)
    for channel in range(channels):
        begins = bounds[channel:-1:channels].copy()
        _visit_leaving(affinities[channel], lattice, channel, mask, box, begins, ends)
    return SortedEdges(ends, bounds)


@njit()
def _bounds(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    channels, ranks = counts.shape
    bounds = np.zeros(ranks * channels + 1, dtype=np.int64)
    total = 0
    for rank in range(ranks):
        for channel in range(channels):
            total += counts[channel, rank]
            bounds[rank * channels + channel + 1] = total
    return bounds


@njit()
def _count(
    affinity: NDArray[Any],
    lattice: Lattice,
    channel: int,
    mask: NDArray[np.bool_],
    box: Box,
    counts: NDArray[np.int64],
) -> None:
    flip = counts.size - 1 if lattice.attractive[channel] else 0
    (z0, z1, dz), (y0, y1, dy), (x0, x1, dx) = _source_ranges(lattice, channel, box)
    shift = partner_shift(affinity.shape, lattice.offsets[channel])
    for z in range(z0, z1, dz):
        for y in range(y0, y1, dy):
            row = (z * affinity.shape[1] + y) * affinity.shape[2]
            for x in range(x0, x1, dx):
                if mask.size == 0 or (mask[row + x] and mask[row + x + shift]):
                    counts[affinity[z, y, x] ^ flip] += 1


@njit()
def _place(
    affinity: NDArray[Any],
    lattice: Lattice,
    channel: int,
    mask: NDArray[np.bool_],
    box: Box,
    begins: NDArray[np.int64],
    sources: NDArray[np.uint32],
) -> None:
    flip = begins.size - 1 if lattice.attractive[channel] else 0
    (z0, z1, dz), (y0, y1, dy), (x0, x1, dx) = _source_ranges(lattice, channel, box)
    shift = partner_shift(affinity.shape, lattice.offsets[channel])
    for z in range(z0, z1, dz):
        for y in range(y0, y1, dy):
            row = (z * affinity.shape[1] + y) * affinity.shape[2]
            row_in_box = _flat_index(box, z, y, 0)
            for x in range(x0, x1, dx):
                if mask.size == 0 or (mask[row + x] and mask[row + x + shift]):
                    rank = affinity[z, y, x] ^ flip
                    sources[begins[rank]] = row_in_box + x
                    begins[rank] += 1


@njit()
def _visit_leaving(
    affinity: NDArray[Any],
    lattice: Lattice,
    channel: int,
    mask: NDArray[np.bool_],
    box: Box,
    slots: NDArray[np.int64],
    ends: NDArray[np.uint32],
) -> None:
    """Count the edges that leave the box in `slots`, or place them in `ends` unless it is empty."""
    flip = slots.size - 1 if lattice.attractive[channel] else 0
    dz, dy, dx = lattice.offsets[channel]
    whole = Box((0, 0, 0), affinity.shape)
    (z0, z1, z_step), (y0, y1, y_step), (x0, x1, x_step) = _source_ranges(lattice, channel, whole)
    shift = partner_shift(affinity.shape, lattice.offsets[channel])
    left, right = box.begin[2], box.end[2]
    for z in range(z0, z1, z_step):
        for y in range(y0, y1, y_step):
            source_in = _row_inside(box, z, y)
            partner_in = _row_inside(box, z + dz, y + dy)
            # Where the source lies inside, and where the partner does: empty if the row does not.
            sources = (left, right if source_in else left)
            partners = (left - dx, right - dx if partner_in else left - dx)
            row = (z * affinity.shape[1] + y) * affinity.shape[2]
            for outward in (True, False):
                if outward:
                    (begin, end), inner = _difference(sources, partners), _flat_index(box, z, y, 0)
                else:
                    begin, end = _difference(partners, sources)
                    inner = _flat_index(box, z + dz, y + dy, dx)
                begin = max(begin, x0)
                begin += -(begin + lattice.origin[2]) % x_step
                for x in range(begin, min(end, x1), x_step):
                    if mask.size == 0 or (mask[row + x] and mask[row + x + shift]):
                        rank = affinity[z, y, x] ^ flip
                        if ends.size > 0:
                            ends[slots[rank]] = inner + x
                        slots[rank] += 1


@njit(inline="always")
def _difference(one: Any, other: Any) -> Any:
    """Return the part of one interval outside another that is as long, or empty."""
    if other[0] >= other[1]:
        return one
    if other[0] > one[0]:
        return one[0], min(one[1], other[0])
    return max(one[0], other[1]), one[1]


@njit(inline="always")
def _row_inside(box: Box, z: Any, y: Any) -> Any:
    return box.begin[0] <= z < box.end[0] and box.begin[1] <= y < box.end[1]


@njit(inline="always")
def _flat_index(box: Box, z: Any, y: Any, x: Any) -> Any:
    """Return the flat index in the box of a voxel of the array."""
    height, width = box.end[1] - box.begin[1], box.end[2] - box.begin[2]
    return ((z - box.begin[0]) * height + y - box.begin[1]) * width + x - box.begin[2]


@njit()
def partner_shift(shape: tuple[int, int, int], offset: NDArray[np.int64]) -> Any:
    """Return by how much the flat index of the partner differs from that of the voxel."""
    return (offset[0] * shape[1] + offset[1]) * shape[2] + offset[2]


@njit()
def _source_ranges(lattice: Lattice, channel: int, box: Box) -> Any:
    return (
        _source_range(lattice, channel, box, 0),
        _source_range(lattice, channel, box, 1),
        _source_range(lattice, channel, box, 2),
    )


@njit()
def _source_range(lattice: Lattice, channel: int, box: Box, axis: int) -> Any:
    """Return begin, end and step of the voxels with their partner in the box, along one axis."""
    offset, step = lattice.offsets[channel, axis], lattice.strides[channel, axis]
    begin = box.begin[axis] + max(0, -offset)
    begin += -(begin + lattice.origin[axis]) % step
    return begin, box.end[axis] - max(0, offset), step
