"""Stitching by overlap: an approximation for graphs too large to be solved exactly.

Blocks are segmented for themselves, with a halo. Where the halo of one lies on another, the two
have an opinion on the same voxels; segments that cover much the same voxels there are likely one.
How alike they are becomes the cost of cutting the two apart, and a multicut decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from emds.geometry import Block
from emds.segmentation.scheme import BlockwiseScheme


class Overlaps(NamedTuple):
    """Which fragments of two blocks cover the same voxels.

    Attributes
    ----------
    lower, upper : (pairs,) int64
        The two, the smaller id first; a pair may be there twice, once from either block.
    shared : (pairs,) int64
        Voxels that both cover.
    covered : (pairs,) int64
        Voxels that the one and the other cover, added up, where the blocks overlap.
    """

    lower: NDArray[np.int64]
    upper: NDArray[np.int64]
    shared: NDArray[np.int64]
    covered: NDArray[np.int64]


def overlaps_of_block(
    clusters: NDArray[np.uint32],
    fragments: NDArray[np.uint32],
    scheme: BlockwiseScheme,
    block: Block,
    starts: NDArray[np.int64],
) -> Overlaps:
    """Compare what a block found in its halo with what the blocks there wrote.

    Parameters
    ----------
    clusters : (Z, Y, X) uint32
        Local ids on ``scheme.node_roi(block)``; 0 is background.
    fragments : (Z, Y, X) uint32
        What all blocks wrote there, in local ids.
    scheme : BlockwiseScheme
        The scheme, with a halo.
    block : Block
        One of its blocks.
    starts : (blocks + 1,) int64
        From `number_starts`.
    """
    box = scheme.node_roi(block)
    found = []
    for other in scheme.meeting(box):
        if other.index == block.index:
            continue
        here = other.write_roi.intersect(box).relative_to(box.offset).slices()
        ours, theirs = clusters[here].ravel(), fragments[here].ravel()
        ours_covered, theirs_covered = np.bincount(ours), np.bincount(theirs)
        both = (ours > 0) & (theirs > 0)
        pairs, shared = np.unique(np.stack([ours[both], theirs[both]]), axis=1, return_counts=True)
        one = pairs[0] + starts[block.index]
        another = pairs[1] + starts[other.index]
        covered = ours_covered[pairs[0]] + theirs_covered[pairs[1]]
        found.append(Overlaps(np.minimum(one, another), np.maximum(one, another), shared, covered))
    return join_overlaps(found)


def join_overlaps(parts: Sequence[Overlaps]) -> Overlaps:
    """Return the pairs of several blocks, those that are there twice added up.

    Examples
    --------
    >>> part = Overlaps(*np.array([[1, 1, 1], [2, 3, 2], [4, 1, 6], [8, 9, 16]]))
    >>> [column.tolist() for column in join_overlaps([part])]
    [[1, 1], [2, 3], [10, 1], [24, 9]]
    """
    none = np.zeros(0, dtype=np.int64)
    lower, upper, shared, covered = (
        np.concatenate([none, *columns])
        for columns in (zip(*parts, strict=True) if parts else [()] * 4)
    )
    pairs, place = np.unique(np.stack([lower, upper]), axis=1, return_inverse=True)
    place = place.reshape(-1)
    sums = (np.zeros(pairs.shape[1], dtype=np.int64), np.zeros(pairs.shape[1], dtype=np.int64))
    np.add.at(sums[0], place, shared)
    np.add.at(sums[1], place, covered)
    return Overlaps(pairs[0], pairs[1], *sums)


def stitch(overlaps: Overlaps, fragments: int) -> NDArray[np.int64]:
    """Decide which fragments are one, by a multicut.

    Parameters
    ----------
    overlaps : Overlaps
        Of all blocks.
    fragments : int
        How many there are.

    Returns
    -------
    (fragments + 1,) int64
        The smallest fragment of the cluster of each; 0 for 0.

    References
    ----------
    Pape et al., Solving Large Multicut Problems for Connectomics via Domain Decomposition, 2017.

    Examples
    --------
    Fragments 1 and 2 cover nearly the same voxels, 3 shares few with 2:

    >>> found = Overlaps(*np.array([[1, 2], [2, 3], [90, 5], [190, 150]]))
    >>> stitch(found, 3).tolist()
    [0, 1, 1, 3]
    """
    smallest = np.arange(fragments + 1)
    if overlaps.lower.size == 0:
        return smallest
    import bioimage_cpp
    from elf.segmentation.multicut import compute_edge_costs, multicut_decomposition

    nodes, ends = np.unique(np.stack([overlaps.lower, overlaps.upper]), return_inverse=True)
    edges = ends.reshape(2, -1).T.astype(np.uint64)
    graph = bioimage_cpp.graph.UndirectedGraph.from_edges(nodes.size, edges)
    likeness = 2 * overlaps.shared / overlaps.covered
    clusters = multicut_decomposition(graph, compute_edge_costs(1 - likeness))
    _, first, number = np.unique(clusters, return_index=True, return_inverse=True)
    smallest[nodes] = nodes[first[number.reshape(-1)]]
    return smallest
