"""The blockwise mutex watershed on arrays in memory: how the steps of `blockwise` fit together.

`emds.stages.segment` does the same with arrays and tables on disk.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import chain, pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emds.geometry import Roi, Triple
from emds.segmentation.affinities import AffinitySpec
from emds.segmentation.blockwise import (
    connect_block,
    contacts_of_block,
    contract_block,
    values_on,
)
from emds.segmentation.halos import halo_pairs, unite_pieces
from emds.segmentation.mutex_watershed import check_arguments
from emds.segmentation.pieces import (
    Pieces,
    Segments,
    merge_pieces,
    node_starts,
    nodes_of,
    number_segments,
    number_starts,
    segments_of,
)
from emds.segmentation.residual import (
    ResidualGraph,
    contract_graph,
    edges_at,
    join_graphs,
    renumber_graph,
)
from emds.segmentation.scheme import BlockwiseScheme
from emds.segmentation.small_segments import (
    check_min_size,
    join_small_segments,
    merge_contacts,
    small_segments,
)


def blockwise_mutex_watershed(
    affinities: NDArray[np.uint8] | NDArray[np.uint16],
    spec: AffinitySpec,
    *,
    block_shape: Triple,
    halo: Triple = (0, 0, 0),
    strides: Triple = (1, 1, 1),
    mask: NDArray[np.bool_] | None = None,
    origin: Triple = (0, 0, 0),
    min_size: int = 0,
    order: Sequence[int] | None = None,
    runs: Sequence[int] = (),
) -> NDArray[np.uint64]:
    """Segment a volume block by block, with the result of `mutex_watershed`.

    Parameters
    ----------
    affinities, spec, strides, mask, origin
        As in `mutex_watershed`.
    block_shape, halo : (z, y, x)
        As in `BlockwiseScheme`.
    min_size : int
        As in `absorb_small_segments`.
    order : sequence of int, optional
        The order in which the blocks are worked on, which changes nothing.
    runs : sequence of int
        How many blocks make a group, how many groups one of the next, and so on, before the
        whole is one. This changes nothing either.

    Returns
    -------
    (Z, Y, X) uint64
        Ids 1..n in order of first voxel; 0 where `mask` is False.

    Examples
    --------
    >>> spec = AffinitySpec(((0, 0, 1), (0, 0, 2)), (True, False))
    >>> affinities = np.array([[[[255, 200, 0]]], [[[50, 0, 0]]]], dtype=np.uint8)
    >>> blockwise_mutex_watershed(affinities, spec, block_shape=(1, 1, 2)).tolist()
    [[[1, 1, 2]]]
    """
    check_arguments(affinities, spec, strides, mask)
    check_min_size(min_size)
    _, *shape = affinities.shape
    volume = Roi(origin, (shape[0], shape[1], shape[2]))
    scheme = BlockwiseScheme(spec, strides, volume, block_shape, halo)
    blocks = [scheme.blocks[index] for index in (order or range(len(scheme.blocks)))]

    def cut(array: NDArray[Any], roi: Roi) -> NDArray[Any]:
        return array[(..., *roi.relative_to(origin).slices())]

    fragments = np.zeros(volume.shape, dtype=np.uint32)
    labels = np.zeros(volume.shape, dtype=np.uint64)
    if not blocks:
        return labels
    contractions = {}
    for block in blocks:
        read = scheme.contract_roi(block)
        known = None if mask is None else cut(mask, read)
        contractions[block.index] = contract_block(cut(affinities, read), scheme, block, known)
        cut(fragments, block.write_roi)[:] = contractions[block.index].fragments

    found = [contractions[index] for index in range(len(blocks))]
    starts = number_starts([part.pieces.is_open.size for part in found])
    pairs = []
    if any(halo):
        for block in blocks:
            clusters, box = contractions[block.index].clusters, scheme.node_roi(block)
            pairs.append(halo_pairs(clusters, cut(fragments, box), scheme, block, starts))
    parts, numbers = unite_pieces([part.pieces for part in found], pairs, starts)

    def of_fragments(values: Sequence[NDArray[Any]]) -> Callable[[int], NDArray[Any]]:
        """Return the look-up of a value for each piece of each block, by fragment."""
        table = np.concatenate([np.zeros(1, dtype=values[0].dtype), *values])[numbers]
        return lambda number: np.concatenate(
            [table[:1], table[starts[number] + 1 : starts[number + 1] + 1]]
        )

    bounds = _bounds(parts)
    nodes = of_fragments(
        [nodes_of(part.is_open, begin)[1:] for part, (begin, _) in zip(parts, bounds, strict=True)]
    )
    graphs = []
    for block in blocks:
        read = scheme.connect_roi(block)
        values, fragments_there = cut(affinities, read), cut(fragments, read)
        # With a halo, a node may reach beyond the box of its block.
        own = (0, bounds[-1][1]) if any(halo) else bounds[block.index]
        graphs.append(connect_block(values, fragments_there, scheme, block, nodes, *own))

    (_, sizes), of_pieces = _solved(join_graphs(graphs), parts, runs)
    segments = of_fragments(of_pieces)

    small = small_segments(sizes, min_size)
    joined = np.arange(sizes.size, dtype=np.uint64)
    if small.any():
        contacts = []
        for block in blocks:
            read = scheme.connect_roi(block)
            values, fragments_there = cut(affinities, read), cut(fragments, read)
            contacts.append(
                contacts_of_block(values, fragments_there, scheme, block, segments, small)
            )
        joined = join_small_segments(merge_contacts(contacts), sizes, min_size)

    for block in blocks:
        fragments_there = cut(fragments, block.write_roi)
        found_there = values_on(segments, fragments_there, scheme, block.write_roi)
        cut(labels, block.write_roi)[:] = joined[found_there]
    return labels


def _solved(
    graph: ResidualGraph, parts: list[Pieces], runs: Sequence[int]
) -> tuple[Segments, list[NDArray[np.uint64]]]:
    """Return the segments, and which of them each piece of each part is."""
    levels, clusters = [parts], []
    for run in (*runs, len(parts)):
        graph, parts, joined = _contracted(graph, parts, run)
        levels.append(parts)
        clusters.append(joined)

    segments = number_segments(chain.from_iterable(levels))
    of_open = np.zeros(0, dtype=np.uint64)
    while True:
        level = levels.pop()
        found = [
            segments_of(part, segments.first_voxels, of_open[begin:end])
            for part, (begin, end) in zip(level, _bounds(level), strict=True)
        ]
        if not levels:
            return segments, found
        of_groups = zip(found, clusters.pop(), strict=True)
        of_open = np.concatenate([of_group[joined - 1] for of_group, joined in of_groups])


def _contracted(
    graph: ResidualGraph, parts: list[Pieces], run: int
) -> tuple[ResidualGraph, list[Pieces], list[NDArray[np.uint32]]]:
    """Contract groups of so many parts; return what is left, and the clusters of their nodes."""
    bounds, clusters, groups = _bounds(parts), [], []
    for first in range(0, len(parts), run):
        members = slice(first, first + run)
        begin, end = bounds[members][0][0], bounds[members][-1][1]
        joined, is_open = contract_graph(edges_at(graph, begin, end), begin, end)
        clusters.append(joined)
        groups.append(merge_pieces(parts[members], joined, is_open))
    new = [np.zeros(1, dtype=np.uint32)]
    for group, (begin, _), joined in zip(groups, _bounds(groups), clusters, strict=True):
        new.append(nodes_of(group.is_open, begin)[joined])
    return renumber_graph(graph, np.concatenate(new).__getitem__), groups, clusters


def _bounds(parts: Sequence[Pieces]) -> list[tuple[int, int]]:
    """Return how many nodes there are before each part, and up to its end."""
    return list(pairwise(node_starts([part.open_count for part in parts]).tolist()))
