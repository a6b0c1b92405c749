"""Which fragments of all blocks are one segment: numbered, merged, and in the end named."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from emds.errors import DataError
from emds.segmentation.union_find import smallest_members, unite

NOWHERE = int(np.iinfo(np.int64).max)


class Forest(NamedTuple):
    """Which fragments are one, as far as is known.

    The id of a fragment is ``starts[block] + local id``.

    Attributes
    ----------
    starts : (blocks + 1,) int64
        Number of fragments in the blocks before.
    parents : (fragments + 1,) int64
        The smallest fragment of the same cluster; 0 for 0.
    nodes : (fragments + 1,) uint32
        The node of each fragment in the residual graph, numbered from 1 in order of smallest
        fragment; 0 where everything is decided.
    """

    starts: NDArray[np.int64]
    parents: NDArray[np.int64]
    nodes: NDArray[np.uint32]

    @property
    def node_count(self) -> int:
        """Number of nodes."""
        return int(self.nodes.max())


class Segments(NamedTuple):
    """The result.

    Attributes
    ----------
    lookup : (fragments + 1,) uint64
        The segment of each fragment: 1..n in order of first voxel.
    sizes : (n + 1,) int64
        Voxels of each segment; 0 for 0.
    """

    lookup: NDArray[np.uint64]
    sizes: NDArray[np.int64]


def number_starts(counts: Sequence[int]) -> NDArray[np.int64]:
    """Return the number of fragments before each block, and of all.

    Examples
    --------
    >>> number_starts([3, 0, 2]).tolist()
    [0, 3, 3, 5]
    """
    return np.concatenate([[0], np.cumsum(np.asarray(counts, dtype=np.int64))]).astype(np.int64)


def number_fragments(
    is_open: Sequence[NDArray[np.bool_]], pairs: Sequence[NDArray[np.int64]] = ()
) -> Forest:
    """Give numbers to the fragments of all blocks, and node numbers to those that are open.

    Parameters
    ----------
    is_open : sequence of (n,) bool
        `Contraction.is_open` of each block.
    pairs : sequence of (pairs, 2) int64
        `halo_pairs` of each block; none without a halo.

    Raises
    ------
    DataError
        If there are 2**32 nodes or more.
    """
    starts = number_starts([flags.size for flags in is_open])
    parents = np.arange(starts[-1] + 1)
    for some in pairs:
        unite(parents, some)
    parents = smallest_members(parents)
    closed = np.concatenate([[True], *(~flags for flags in is_open)])
    closed[parents[closed]] = True  # one certain voice settles the whole
    return Forest(starts, parents, _number_nodes(parents, ~closed[parents]))


def merge_nodes(
    forest: Forest, clusters: NDArray[np.uint32], is_open: NDArray[np.bool_] | None = None
) -> tuple[Forest, NDArray[np.uint32]]:
    """Merge nodes, and number those that are left.

    Parameters
    ----------
    forest : Forest
        The nodes so far.
    clusters : (nodes + 1,) uint32
        The smallest node of the cluster of each node; 0 for 0.
    is_open : (nodes + 1,) bool, optional
        Whether that cluster is open. By default, none is: the graph has been solved.

    Returns
    -------
    forest : Forest
        The nodes that are left.
    new : (nodes + 1,) uint32
        Their numbers, for `renumber_graph`.
    """
    first = first_fragments(forest)
    moved = forest.parents.copy()
    moved[first] = first[clusters]
    parents = moved[forest.parents]
    if is_open is None:
        is_open = np.zeros(clusters.size, dtype=np.bool_)
    new = _number_nodes(clusters.astype(np.int64), is_open)
    return Forest(forest.starts, parents, new[forest.nodes]), new


def final_ids(
    forest: Forest, first_voxels: NDArray[np.int64], sizes: NDArray[np.int64]
) -> Segments:
    """Give the segments the ids 1..n in order of first voxel.

    Parameters
    ----------
    forest : Forest
        Without nodes left.
    first_voxels, sizes : (fragments,) int64
        Those of `Contraction`, of all blocks in order.
    """
    first = np.full(forest.parents.size, NOWHERE)
    np.minimum.at(first, forest.parents[1:], first_voxels)
    voxels = np.zeros(forest.parents.size, dtype=np.int64)
    np.add.at(voxels, forest.parents[1:], sizes)
    roots = np.flatnonzero(first != NOWHERE)
    roots = roots[np.argsort(first[roots])]
    ids = np.zeros(forest.parents.size, dtype=np.uint64)
    ids[roots] = np.arange(1, roots.size + 1)
    return Segments(ids[forest.parents], np.concatenate([[0], voxels[roots]]))


def first_fragments(forest: Forest) -> NDArray[np.int64]:
    """Return the smallest fragment of each node; 0 for 0."""
    own = forest.parents == np.arange(forest.parents.size)
    return np.concatenate([[0], np.flatnonzero(own & (forest.nodes > 0))])


def _number_nodes(roots: NDArray[np.int64], is_open: NDArray[np.bool_]) -> NDArray[np.uint32]:
    """Give open clusters the numbers 1..n in order of their root, their smallest member."""
    is_node = is_open & (roots == np.arange(roots.size))
    numbers = np.cumsum(is_node)
    if numbers[-1] >= 2**32 - 1:
        raise DataError(
            f"{numbers[-1]} open fragments are more than 32 bits can number. Take larger blocks, "
            "or raise the mutex strides."
        )
    nodes: NDArray[np.uint32] = np.where(is_open, numbers[roots], 0).astype(np.uint32)
    return nodes
