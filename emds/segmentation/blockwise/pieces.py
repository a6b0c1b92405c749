"""Parts of segments, found in a block or in a group of blocks; and in the end the segments.

What a block does to its voxels, a group of blocks does to what its blocks left open: it merges
what is certain, closes what is whole, and leaves the rest to a larger group. So nothing needs a
table of all fragments of a volume, but each block and each group has one of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from emds.errors import DataError

NOWHERE = int(np.iinfo(np.int64).max)


class Pieces(NamedTuple):
    """Parts of segments; that with the local id ``i + 1`` is entry ``i``.

    Attributes
    ----------
    is_open : (n,) bool
        False where the piece is a segment of the whole volume as it stands.
    first_voxels : (n,) int64
        First voxel of each: its place in the volume, row-major. `NOWHERE` if it has none.
    sizes : (n,) int64
        Voxels of each.
    """

    is_open: NDArray[np.bool_]
    first_voxels: NDArray[np.int64]
    sizes: NDArray[np.int64]

    @property
    def open_count(self) -> int:
        """Number of open pieces."""
        return int(np.count_nonzero(self.is_open))


class Segments(NamedTuple):
    """All segments, in order of first voxel.

    Attributes
    ----------
    first_voxels : (n,) int64
        Ascending; that of segment ``i + 1`` is entry ``i``.
    sizes : (n + 1,) int64
        Voxels of each segment; 0 for 0.
    """

    first_voxels: NDArray[np.int64]
    sizes: NDArray[np.int64]


def number_starts(counts: Sequence[int]) -> NDArray[np.int64]:
    """Return how many there are before each part, and in all.

    Examples
    --------
    >>> number_starts([3, 0, 2]).tolist()
    [0, 3, 3, 5]
    """
    return np.concatenate([[0], np.cumsum(np.asarray(counts, dtype=np.int64))]).astype(np.int64)


def node_starts(open_counts: Sequence[int]) -> NDArray[np.int64]:
    """Return how many nodes of the residual graph lie before each part, and in all.

    Raises
    ------
    DataError
        If there are 2**32 - 1 nodes or more.
    """
    starts = number_starts(open_counts)
    if starts[-1] >= 2**32 - 1:
        raise DataError(
            f"{starts[-1]} open fragments are more than 32 bits can number. Take larger blocks, "
            "or raise the mutex strides."
        )
    return starts


def nodes_of(is_open: NDArray[np.bool_], start: int) -> NDArray[np.uint32]:
    """Return the node of each piece of a part; 0 for a closed one, and in front, for no piece.

    Parameters
    ----------
    is_open : (n,) bool
        Whether each piece is open.
    start : int
        Nodes before this part.

    Examples
    --------
    >>> nodes_of(np.array([True, False, True]), 10).tolist()
    [0, 11, 0, 12]
    """
    nodes = np.zeros(is_open.size + 1, dtype=np.uint32)
    nodes[1:][is_open] = np.arange(start + 1, start + 1 + np.count_nonzero(is_open))
    return nodes


def merge_pieces(
    parts: Iterable[Pieces], clusters: NDArray[np.uint32], is_open: NDArray[np.bool_]
) -> Pieces:
    """Return the pieces of a group.

    Parameters
    ----------
    parts : iterable of Pieces
        Of the blocks or groups that make the group.
    clusters : (members,) uint32
        The cluster, 1..n, of each open piece of these, in order.
    is_open : (n,) bool
        Whether the cluster is open.

    Examples
    --------
    >>> one = Pieces(np.array([True, False]), np.array([3, 0]), np.array([5, 1]))
    >>> other = Pieces(np.array([True]), np.array([7]), np.array([2]))
    >>> merged = merge_pieces([one, other], np.array([1, 1], np.uint32), np.array([False]))
    >>> [column.tolist() for column in merged]
    [[False], [3], [7]]
    """
    first_voxels = np.full(is_open.size, NOWHERE)
    sizes = np.zeros(is_open.size, dtype=np.int64)
    begin = 0
    for part in parts:
        joined = clusters[begin : begin + part.open_count].astype(np.int64) - 1
        np.minimum.at(first_voxels, joined, part.first_voxels[part.is_open])
        np.add.at(sizes, joined, part.sizes[part.is_open])
        begin += joined.size
    return Pieces(is_open, first_voxels, sizes)


def number_segments(parts: Iterable[Pieces]) -> Segments:
    """Return the segments: all pieces that are closed, of blocks and of groups.

    Examples
    --------
    >>> part = Pieces(np.array([False, True, False]), np.array([9, 0, 4]), np.array([2, 1, 3]))
    >>> [column.tolist() for column in number_segments([part])]
    [[4, 9], [0, 3, 2]]
    """
    none = np.zeros(0, dtype=np.int64)
    found = [(part.first_voxels[final], part.sizes[final]) for part, final in _with_final(parts)]
    first_voxels = np.concatenate([none, *(first for first, _ in found)])
    sizes = np.concatenate([none, *(size for _, size in found)])
    order = np.argsort(first_voxels)
    return Segments(first_voxels[order], np.concatenate([[0], sizes[order]]))


def segments_of(
    pieces: Pieces, first_voxels: NDArray[np.int64], of_open: NDArray[np.uint64]
) -> NDArray[np.uint64]:
    """Return the segment of each piece of a part, 1..n; 0 for one that is nowhere.

    Parameters
    ----------
    pieces : Pieces
        Of the part.
    first_voxels : (n,) int64
        First voxels of all segments, from `number_segments`.
    of_open : (open pieces,) uint64
        The segments of the open pieces: what the group that the part belongs to found.

    Examples
    --------
    >>> part = Pieces(np.array([False, True, False]), np.array([9, 0, 4]), np.array([2, 1, 3]))
    >>> segments_of(part, np.array([0, 4, 9]), np.array([1], np.uint64)).tolist()
    [3, 1, 2]
    """
    segments = np.zeros(pieces.is_open.size, dtype=np.uint64)
    for part, final in _with_final([pieces]):
        segments[final] = np.searchsorted(first_voxels, part.first_voxels[final]) + 1
    segments[pieces.is_open] = of_open
    return segments


def _with_final(parts: Iterable[Pieces]) -> Iterable[tuple[Pieces, NDArray[np.bool_]]]:
    return ((part, ~part.is_open & (part.first_voxels != NOWHERE)) for part in parts)
