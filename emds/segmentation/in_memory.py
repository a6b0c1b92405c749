"""The blockwise mutex watershed on arrays in memory: how the steps of `blockwise` fit together.

`emds.stages.segment` does the same with arrays and tables on disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emds.geometry import Roi, Triple
from emds.segmentation.affinities import AffinitySpec
from emds.segmentation.blockwise import (
    connect_block,
    contacts_of_block,
    contract_block,
    group_nodes,
    halo_pairs,
    values_on,
)
from emds.segmentation.forest import (
    final_ids,
    merge_nodes,
    number_fragments,
    number_starts,
)
from emds.segmentation.mutex_watershed import check_arguments
from emds.segmentation.residual import (
    ResidualGraph,
    contract_graph,
    join_graphs,
    renumber_graph,
    solve,
    split_graph,
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
    super_blocks: Sequence[Triple] = (),
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
    super_blocks : sequence of (z, y, x)
        For each contraction of the residual graph before it is solved, the blocks along each axis
        that make a group. This changes nothing either.

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
    contractions = {}
    for block in blocks:
        read = scheme.contract_roi(block)
        known = None if mask is None else cut(mask, read)
        contractions[block.index] = contract_block(cut(affinities, read), scheme, block, known)
        cut(fragments, block.write_roi)[:] = contractions[block.index].fragments

    parts = [contractions[index] for index in range(len(blocks))]
    starts = number_starts([part.is_open.size for part in parts])
    pairs = []
    if any(halo):
        for block in blocks:
            clusters, box = contractions[block.index].clusters, scheme.node_roi(block)
            pairs.append(halo_pairs(clusters, cut(fragments, box), scheme, block, starts))
    forest = number_fragments([part.is_open for part in parts], pairs)

    graphs = []
    for block in blocks:
        read = scheme.connect_roi(block)
        values, found = cut(affinities, read), cut(fragments, read)
        graphs.append(connect_block(values, found, scheme, block, forest))

    for super_block in super_blocks:
        groups = group_nodes(forest, scheme, super_block)
        shares: dict[int, list[ResidualGraph]] = {int(g): [] for g in np.unique(groups[1:])}
        for graph in graphs:
            for group, share in split_graph(graph, groups).items():
                shares[group].append(share)
        clusters = np.zeros(groups.size, dtype=np.uint32)
        is_open = np.zeros(groups.size, dtype=np.bool_)
        for group, some in shares.items():
            members = np.flatnonzero(groups == group).astype(np.uint32)
            clusters[members], is_open[members] = contract_graph(join_graphs(some), members)
        forest, new = merge_nodes(forest, clusters, is_open)
        graphs = [renumber_graph(graph, new) for graph in graphs]

    forest, _ = merge_nodes(forest, solve(join_graphs(graphs), forest.node_count))
    none = np.zeros(0, dtype=np.int64)
    first_voxels = np.concatenate([none, *(part.first_voxels for part in parts)])
    lookup, sizes = final_ids(
        forest, first_voxels, np.concatenate([none, *(part.sizes for part in parts)])
    )

    small = small_segments(sizes, min_size)
    if small.any():
        contacts = []
        for block in blocks:
            read = scheme.connect_roi(block)
            values, found = cut(affinities, read), cut(fragments, read)
            contacts.append(contacts_of_block(values, found, scheme, block, starts, lookup, small))
        lookup = join_small_segments(merge_contacts(contacts), sizes, min_size)[lookup]

    labels = np.zeros(volume.shape, dtype=np.uint64)
    for block in blocks:
        found = cut(fragments, block.write_roi)
        cut(labels, block.write_roi)[:] = values_on(lookup, found, scheme, block.write_roi, starts)
    return labels
