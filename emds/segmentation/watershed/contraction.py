"""Contraction: of all the merges of the mutex watershed, those that a box can be sure of.

A box of a volume sees the edges between its own voxels in full, and of those that leave it, the
weight. `contract` follows the edges in the order of the whole volume and keeps, for every
cluster, whether it is *open*:

1. An edge that leaves the box opens the cluster it reaches: from now on, outside may change it.
2. A mutex edge keeps its two clusters apart.
3. An attractive edge between clusters that must stay apart does nothing. Otherwise

   - both closed: they merge;
   - one open, and the closed one need not stay apart from any open cluster: they merge, open;
   - else nobody knows yet: they stay two, and both are open from now on.

Why every merge is one of the global run, and why closed clusters are final
---------------------------------------------------------------------------
At every moment of the global run that follows the same order, (i) an open cluster is part of one
global cluster, and (ii) a closed one *is* a global cluster, and all its constraints are known: no
edge of it has left the box, and no edge of it was left undecided. Each step keeps this true:

- Two closed clusters without a constraint: by (ii) the global run sees the same, and merges.
- A closed A and an open B, part of the global G: by (ii) A is not part of G, and the clusters from
  which A must stay apart are known. These are all closed, so global clusters themselves, none
  of them G. The global run merges A and G.
- Everything else only opens clusters, of which less is claimed.

At the end of the run, (ii) says that a closed cluster is a segment of the result as it stands.
Whatever overlaps it in another box is part of it, and no edge of it decides anything any more.
"""

from __future__ import annotations

from math import prod
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emds.errors import DataError, UsageError
from emds.geometry import Roi, Triple
from emds.kernels import njit
from emds.segmentation.affinities import AffinitySpec
from emds.segmentation.watershed.edges import (
    Box,
    SortedEdges,
    lattice_of,
    leaving_edges,
    sorted_edges,
)
from emds.segmentation.watershed.kernel import watershed_of_block
from emds.segmentation.watershed.union_find import dense_labels


class Clusters(NamedTuple):
    """What a box can be sure of.

    Attributes
    ----------
    labels : (Z, Y, X) uint32
        Clusters 1..n in order of first voxel; 0 where masked.
    is_open : (n,) bool
        False where cluster ``i + 1`` is a segment of the whole volume as it stands.
    """

    labels: NDArray[np.uint32]
    is_open: NDArray[np.bool_]


def contract(
    affinities: NDArray[np.uint8] | NDArray[np.uint16],
    spec: AffinitySpec,
    *,
    strides: Triple,
    origin: Triple,
    box: Roi,
    mask: NDArray[np.bool_] | None = None,
) -> Clusters:
    """Make the merges inside a box that the mutex watershed of the whole volume makes, too.

    Parameters
    ----------
    affinities : (C, Z, Y, X) uint8 or uint16
        The affinities of the box and of all that an offset reaches from it, as far as the volume
        goes. Nothing can check that this is so.
    spec : AffinitySpec
        What the C channels mean. If it is planar, the sections are contracted one by one.
    strides : (z, y, x)
        As in `mutex_watershed`.
    origin : (z, y, x)
        Position of `affinities` in the volume, in voxels.
    box : Roi
        The box to contract, in the volume.
    mask : (Z, Y, X) bool, optional
        True where to segment, of the shape of `affinities`.

    Raises
    ------
    DataError
        If the box has too many edges.
    UsageError
        If the strides are not three numbers from 1 up.

    Examples
    --------
    Three voxels in a row, of which the box is the first two. The first edge inside is stronger
    than the one that leaves, so that it is certain:

    >>> spec = AffinitySpec(((0, 0, 1),), (True,))
    >>> row = np.array([[[[90, 80, 0]]]], dtype=np.uint8)
    >>> box = Roi((0, 0, 0), (1, 1, 2))
    >>> labels, is_open = contract(row, spec, strides=(1, 1, 1), origin=(0, 0, 0), box=box)
    >>> labels.tolist(), is_open.tolist()
    ([[[1, 1]]], [True])
    """
    check_block(box.shape, spec, strides)
    if box.size >= 2**32:
        raise DataError(
            f"a block of {box.shape} voxels has more than 32 bits can number. Take smaller blocks."
        )
    labels = np.empty(box.shape, dtype=np.uint32)
    is_open = contract_into(labels, affinities, spec, strides, origin, box, mask)
    return Clusters(labels, is_open)


def contract_into(
    labels: NDArray[Any],
    affinities: NDArray[Any],
    spec: AffinitySpec,
    strides: Triple,
    origin: Triple,
    box: Roi,
    mask: NDArray[np.bool_] | None,
) -> NDArray[np.bool_]:
    """Write the labels of `contract` into an array; return which are open."""
    ranks = int(np.iinfo(affinities.dtype).max) + 1
    inner = box.relative_to(origin)
    depth = 1 if spec.planar else max(1, box.shape[0])
    flags = []
    last = 0
    for z in range(0, box.shape[0], depth):
        # A planar box is a box in each of its sections.
        read = slice(inner.offset[0] + z, inner.offset[0] + z + 1) if spec.planar else slice(None)
        begin = (0 if spec.planar else inner.offset[0], *inner.offset[1:])
        local = Box(begin, (begin[0] + depth, *inner.end[1:]))
        lattice = lattice_of(spec, strides, (origin[0] + (read.start or 0), *origin[1:]))
        values = np.ascontiguousarray(affinities[:, read])
        known = np.ascontiguousarray(mask[read] if mask is not None else [], dtype=np.bool_)
        edges = sorted_edges(values, lattice, known.ravel(), ranks, local)
        if local == Box((0, 0, 0), values.shape[1:]):
            leaving = SortedEdges(edges.sources[:0], edges.bounds[:0])
        else:
            leaving = leaving_edges(values, lattice, known.ravel(), ranks, local)
        parents, open_roots = watershed_of_block(edges, leaving, lattice, (depth, *box.shape[1:]))
        del edges, leaving
        segmented = known
        if known.size > 0:
            inside = tuple(slice(b, e) for b, e in zip(local.begin, local.end, strict=True))
            segmented = np.ascontiguousarray(known[inside])
        flat = labels[z : z + depth].reshape(-1)
        before, last = last, int(dense_labels(parents, segmented.ravel(), flat, last))
        flags.append(_open_labels(parents, open_roots, flat, before, last))
    return np.concatenate(flags) if flags else np.zeros(0, dtype=np.bool_)


@njit()
def _open_labels(
    parents: NDArray[np.uint32],
    is_open: NDArray[np.bool_],
    labels: NDArray[Any],
    before: int,
    last: int,
) -> NDArray[np.bool_]:
    flags = np.zeros(last - before, dtype=np.bool_)
    for voxel in range(parents.size):
        if is_open[voxel] and parents[voxel] == voxel and labels[voxel] != 0:
            flags[np.int64(labels[voxel]) - before - 1] = True
    return flags


def check_block(shape: Triple, spec: AffinitySpec, strides: Triple) -> None:
    """Refuse what the mutex watershed cannot do with a block of this shape, before any work.

    Raises
    ------
    UsageError
        If the strides are not three numbers from 1 up.
    DataError
        If the block has too many edges.
    """
    if len(strides) != 3 or min(strides) < 1:
        raise UsageError(f"strides must be three numbers from 1 up, not {strides}.")
    # Voxels, and the two list nodes a constraint takes, are numbered with 32 bits.
    block = (1, *shape[1:]) if spec.planar else shape
    sampled = prod(-(-n // s) for n, s in zip(block, strides, strict=True))
    constraints = (spec.channels - sum(spec.attractive)) * sampled
    if max(spec.channels * prod(block), 2 * constraints) >= 2**32:
        raise DataError(
            f"{spec.channels} channels of {block} voxels have too many edges for one block "
            "(channels x voxels must stay below 2**32). Segment smaller blocks, or raise the "
            "strides."
        )
