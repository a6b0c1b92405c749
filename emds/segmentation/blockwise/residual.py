"""The residual graph: what contraction left undecided, and its solution.

Nodes are the open clusters, numbered from 1. Once an edge between two clusters has been followed,
they are one cluster or are kept apart for ever, and any later edge between the two does nothing.
So of all edges between two nodes, attractive or mutex, the graph keeps the strongest alone.

An edge of the volume has a *key* whose order is that of the edges: rank, channel, source voxel,
and in the lowest bit whether it is attractive.

A graph can be contracted as a block can, by the same rules: of a group of nodes, the edges between
two of them are known in full, and those that leave the group open what they reach. A group without
leaving edges is contracted entirely: that is the solution.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emds.errors import DataError
from emds.geometry import Roi, Triple
from emds.kernels import njit
from emds.segmentation.affinities import AffinitySpec
from emds.segmentation.watershed.constraints import FREE, pair_key, slot_of
from emds.segmentation.watershed.edges import Box, Lattice, lattice_of
from emds.segmentation.watershed.kernel import OUT_OF_SIGHT, watershed_of_graph
from emds.segmentation.watershed.union_find import dense_labels


class ResidualGraph(NamedTuple):
    """Edges between nodes, in no particular order.

    Attributes
    ----------
    lower, upper : (E,) uint32
        The two nodes, the smaller number first.
    keys : (E,) int64
        The smaller the stronger; odd where attractive.
    """

    lower: NDArray[np.uint32]
    upper: NDArray[np.uint32]
    keys: NDArray[np.int64]


class PairTable(NamedTuple):
    """An open-addressing hash: the strongest edge of each pair of nodes.

    Attributes
    ----------
    pairs : (a power of two,) uint64
        Both nodes in one number.
    keys : (the same,) int64
        Of the edge.
    """

    pairs: NDArray[np.uint64]
    keys: NDArray[np.int64]


def check_keys(volume: Triple, spec: AffinitySpec) -> None:
    """Refuse a volume with more edges than keys can tell apart.

    Raises
    ------
    DataError
        If it has 2**46 channels x voxels or more.
    """
    if spec.channels * Roi.whole(volume).size >= 2**46:
        raise DataError(
            f"{spec.channels} channels of {volume} voxels have more edges than the 2**46 that "
            "can be numbered. Segment the volume in several parts."
        )


def residual_graph(
    affinities: NDArray[np.uint8] | NDArray[np.uint16],
    nodes: NDArray[np.uint32],
    spec: AffinitySpec,
    *,
    strides: Triple,
    origin: Triple,
    volume: Roi,
    begin: int,
    end: int,
) -> ResidualGraph:
    """Return the edges in a box that have one end at least among the nodes of a part.

    Parameters
    ----------
    affinities : (C, Z, Y, X) uint8 or uint16
        The affinities of the box.
    nodes : (Z, Y, X) uint32
        The node of each voxel; 0 where everything is decided.
    spec : AffinitySpec
        Offset of each of the C channels, and which channels attract.
    strides : (z, y, x)
        As in `mutex_watershed`.
    origin : (z, y, x)
        Position of the arrays.
    volume : Roi
        The whole.
    begin, end : int
        The nodes of the part are ``begin + 1 .. end``.
    """
    if begin == end:
        return join_graphs([])
    whole = volume.relative_to(origin)
    table = _strongest(
        np.ascontiguousarray(affinities),
        np.ascontiguousarray(nodes),
        lattice_of(spec, strides, origin),
        Box(whole.offset, whole.end),
        int(np.iinfo(affinities.dtype).max) + 1,
        (begin, end),
    )
    used = table.pairs != FREE
    pairs = table.pairs[used]
    return ResidualGraph(
        (pairs >> np.uint64(32)).astype(np.uint32),
        (pairs & np.uint64(0xFFFFFFFF)).astype(np.uint32),
        table.keys[used],
    )


def join_graphs(graphs: Sequence[ResidualGraph]) -> ResidualGraph:
    """Return the edges of several graphs as one graph; a pair may be there more than once."""
    none = np.zeros(0, dtype=np.uint32)
    return ResidualGraph(
        np.concatenate([none, *(graph.lower for graph in graphs)]),
        np.concatenate([none, *(graph.upper for graph in graphs)]),
        np.concatenate([np.zeros(0, dtype=np.int64), *(graph.keys for graph in graphs)]),
    )


def strongest_edges(graph: ResidualGraph) -> ResidualGraph:
    """Return the graph with the strongest edge of each pair alone.

    Examples
    --------
    >>> graph = ResidualGraph(
    ...     lower=np.array([1, 1, 1], dtype=np.uint32),
    ...     upper=np.array([2, 2, 3], dtype=np.uint32),
    ...     keys=np.array([9, 4, 7], dtype=np.int64),
    ... )
    >>> [column.tolist() for column in strongest_edges(graph)]
    [[1, 1], [2, 3], [4, 7]]
    """
    pairs = (graph.lower.astype(np.uint64) << np.uint64(32)) | graph.upper
    order = np.argsort(pairs)
    pairs = pairs[order]
    begins = np.flatnonzero(np.concatenate([[True], pairs[1:] != pairs[:-1]])[: pairs.size])
    if begins.size == 0:
        return graph
    return ResidualGraph(
        (pairs[begins] >> np.uint64(32)).astype(np.uint32),
        (pairs[begins] & np.uint64(0xFFFFFFFF)).astype(np.uint32),
        np.minimum.reduceat(graph.keys[order], begins),
    )


def edges_at(graph: ResidualGraph, begin: int, end: int, known: int | None = None) -> ResidualGraph:
    """Return the edges with an end among the nodes ``begin + 1 .. end``.

    Parameters
    ----------
    graph : ResidualGraph
        Any edges.
    begin, end : int
        Say which nodes.
    known : int, optional
        Leave out the edges that go from here to the nodes ``known + 1 .. begin``.
    """
    one, other = graph.lower - np.uint32(begin + 1), graph.upper - np.uint32(begin + 1)
    chosen = (one < end - begin) | (other < end - begin)  # what lies before has wrapped around
    if known is not None:
        chosen &= (graph.lower <= known) | (graph.lower > begin)
    return ResidualGraph(graph.lower[chosen], graph.upper[chosen], graph.keys[chosen])


def contract_graph(
    graph: ResidualGraph, begin: int, end: int
) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """Make the merges within a group of nodes that the mutex watershed of the whole makes, too.

    Parameters
    ----------
    graph : ResidualGraph
        All edges with an end in the group. One that is there twice does no harm.
    begin, end : int
        The nodes of the group are ``begin + 1 .. end``.

    Returns
    -------
    clusters : (end - begin,) uint32
        The cluster of each, 1..n in order of its first node.
    is_open : (n,) bool
        Whether that cluster is open; if not, it is a segment of the whole volume as it stands.

    Examples
    --------
    Node 2 must stay apart from 1, to which the weaker edge would bind it:

    >>> graph = ResidualGraph(
    ...     lower=np.array([1, 2, 1], dtype=np.uint32),
    ...     upper=np.array([2, 3, 3], dtype=np.uint32),
    ...     keys=np.array([2, 5, 7], dtype=np.int64),
    ... )
    >>> [column.tolist() for column in contract_graph(graph, 0, 3)]
    [[1, 2, 2], [False, False]]

    Without node 3 in the group, nobody knows what becomes of 2:

    >>> [column.tolist() for column in contract_graph(graph, 0, 2)]
    [[1, 2], [True, True]]
    """
    order = np.argsort(graph.keys)
    attractive = (graph.keys & 1).astype(np.bool_)[order]
    lower, upper = _places(graph.lower, begin, end), _places(graph.upper, begin, end)
    ends, others = np.minimum(lower, upper)[order], np.maximum(lower, upper)[order]
    del order, lower, upper
    parents, open_roots = watershed_of_graph(ends, others, attractive, end - begin)
    clusters = np.empty(end - begin, dtype=np.uint32)
    count = dense_labels(parents, np.zeros(0, dtype=np.bool_), clusters, 0)
    is_open = np.zeros(count, dtype=np.bool_)
    roots = np.flatnonzero(parents == np.arange(parents.size))
    is_open[clusters[roots] - 1] = open_roots[roots]
    return clusters, is_open


def renumber_graph(
    graph: ResidualGraph, new: Callable[[NDArray[np.uint32]], NDArray[np.uint32]]
) -> ResidualGraph:
    """Return the graph between the nodes that are left after a contraction.

    Parameters
    ----------
    graph : ResidualGraph
        Any edges.
    new : callable
        From nodes to the new nodes; 0 where it is decided.
    """
    a, b = new(graph.lower), new(graph.upper)
    left = (a != b) & (a != 0) & (b != 0)
    a, b = a[left], b[left]
    return strongest_edges(ResidualGraph(np.minimum(a, b), np.maximum(a, b), graph.keys[left]))


def _places(nodes: NDArray[np.uint32], begin: int, end: int) -> NDArray[np.uint32]:
    places = nodes - np.uint32(begin + 1)  # what lies before wraps around
    places[places >= end - begin] = OUT_OF_SIGHT
    return places


@njit()
def _strongest(
    affinities: NDArray[Any],
    nodes: NDArray[np.uint32],
    lattice: Lattice,
    volume: Box,
    ranks: int,
    part: tuple[int, int],
) -> PairTable:
    """Return the strongest edge of each pair of nodes of which one belongs to the part."""
    channels, depth, height, width = affinities.shape
    rows = volume.end[1] - volume.begin[1]
    columns = volume.end[2] - volume.begin[2]
    voxels = (volume.end[0] - volume.begin[0]) * rows * columns
    table = PairTable(np.zeros(1 << 12, np.uint64), np.empty(1 << 12, np.int64))
    used = 0
    for channel in range(channels):
        dz, dy, dx = lattice.offsets[channel]
        z_step, y_step, x_step = lattice.strides[channel]
        z0, z1 = max(0, -dz), min(depth, depth - dz)
        y0, y1 = max(0, -dy), min(height, height - dy)
        x0, x1 = max(0, -dx), min(width, width - dx)
        x0 += -(x0 + lattice.origin[2]) % x_step
        attractive = lattice.attractive[channel]
        for z in range(z0 + -(z0 + lattice.origin[0]) % z_step, z1, z_step):
            for y in range(y0 + -(y0 + lattice.origin[1]) % y_step, y1, y_step):
                if x0 >= x1:
                    continue
                if 2 * (used + x1 - x0) > table.pairs.size:
                    table = _enlarged(table, used + x1 - x0)
                row = ((z - volume.begin[0]) * rows + y - volume.begin[1]) * columns
                source = channel * voxels + row + x0 - volume.begin[2]
                used += _enter_row(
                    table,
                    nodes[z, y, x0:x1:x_step],
                    nodes[z + dz, y + dy, x0 + dx : x1 + dx : x_step],
                    affinities[channel, z, y, x0:x1:x_step],
                    ranks - 1 if attractive else 0,
                    (2 * source + (1 if attractive else 0), 2 * x_step, 2 * channels * voxels),
                    part,
                )
    return table


@njit()
def _enter_row(
    table: PairTable,
    nodes: NDArray[np.uint32],
    partners: NDArray[np.uint32],
    affinities: NDArray[Any],
    flip: int,
    key: tuple[int, int, int],
    part: tuple[int, int],
) -> int:
    """Enter the edges of a row; return how many pairs are new.

    The key of the first edge at rank 0, and by how much it grows from voxel to voxel and from
    rank to rank, are `key`.
    """
    first, per_voxel, per_rank = key
    begin, end = part
    new = 0
    for number in range(nodes.size):
        a, b = nodes[number], partners[number]
        if a == b or a == 0 or b == 0 or not (begin < a <= end or begin < b <= end):
            continue
        edge = first + number * per_voxel + (affinities[number] ^ flip) * per_rank
        pair = pair_key(a, b)
        slot = slot_of(table.pairs, pair)
        if table.pairs[slot] == FREE:
            table.pairs[slot] = pair
            table.keys[slot] = edge
            new += 1
        elif edge < table.keys[slot]:
            table.keys[slot] = edge
    return new


@njit()
def _enlarged(table: PairTable, pairs: int) -> PairTable:
    """Return the same table, at most a quarter full with so many pairs."""
    slots = table.pairs.size
    while slots < 4 * pairs:
        slots *= 2
    larger = PairTable(np.zeros(slots, np.uint64), np.empty(slots, np.int64))
    for slot in range(table.pairs.size):
        if table.pairs[slot] != FREE:
            place = slot_of(larger.pairs, table.pairs[slot])
            larger.pairs[place] = table.pairs[slot]
            larger.keys[place] = table.keys[slot]
    return larger
