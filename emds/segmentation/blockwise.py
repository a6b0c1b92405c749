"""The mutex watershed of a volume of any size, block by block, exactly.

The result is that of `mutex_watershed` on the whole volume, id for id, whatever the blocks, their
order and who computed them. No step needs more than one block and its
surroundings, or tables with an entry per fragment.

::

    contract                     connect      solve        relabel
    +-----------+-----------+                              +-----------+-----------+
    | a a a B B | D D D f f |    B === D                   | 1 1 1 2 2 | 2 2 2 3 3 |
    | a a a B B | D D D f f |    :     :      B, D         | 1 1 1 2 2 | 2 2 2 3 3 |
    | c c E E E | G G G G G |    :     :      E, G         | 4 4 5 5 5 | 5 5 5 5 5 |
    | c c E E E | G G G G G |    E === G                   | 4 4 5 5 5 | 5 5 5 5 5 |
    +-----------+-----------+                              +-----------+-----------+
    a c f: closed, so final      === attractive edge
    B D E G: open, so nodes      ::: mutex edge

1. **Contract** (`contract_block`, every block for itself). The edges of a block, in the order of
   the whole volume, merge what certainly belongs together, into *fragments*. A fragment is closed
   if no voxel outside the block can have had a say: it is a segment of the result. Else it is
   open. `emds.segmentation.contraction` states the rules and why every merge is one that the
   global run makes.
2. **Number** (`number_fragments`). Fragments get ids of the whole volume. With a halo, a block has
   an opinion on its neighbours' voxels as well: clusters that overlap are one (`halo_pairs`), as
   both are certain, and closed if any of them is. The open ones become nodes.
3. **Connect** (`connect_block`, every block for itself) finds the strongest edge between any two
   nodes, and **solve** runs the mutex watershed on this residual graph.
4. **Relabel** (`final_ids`, then `values_on` for every block): one look-up table from
   fragments to ids 1..n in order of first voxel.

Why the residual graph has the global result
--------------------------------------------
Take any fragments, each part of one segment of the global result, and run the mutex watershed with
these merged from the start. It stays one step ahead of the global run and never strays: at every
edge its clusters are those of the global run, joined where a fragment joins them.

- The global run merges: so does this one, for if an earlier mutex edge kept the two apart, it would
  have linked two voxels of what ends as one segment, before these were merged, and the global run
  would keep them apart for ever.
- The global run keeps apart, now or by an earlier mutex edge: its clusters end in different
  segments, so no fragment joins them, and the same edge keeps them apart here.

Closed fragments can be left out, as they are whole segments: nothing merges with them.

If the residual graph is too large to be solved at once, it can be contracted first, in groups of
nodes from several blocks and by the same rules (`split_graph`, `contract_graph`, `merge_nodes`,
`renumber_graph`), as often as one likes. `emds.segmentation.in_memory` has the whole scheme on
arrays in memory, and shows how the functions are put together.
"""

from __future__ import annotations

from typing import Any, NamedTuple, TypeVar

import numpy as np
from numba import njit
from numpy.typing import NDArray

from emds.errors import DataError
from emds.geometry import Block, Roi, Triple
from emds.segmentation.affinities import AffinitySpec
from emds.segmentation.contraction import contract
from emds.segmentation.forest import (
    NOWHERE,
    Forest,
    first_fragments,
)
from emds.segmentation.residual import (
    ResidualGraph,
    residual_graph,
)
from emds.segmentation.scheme import BlockwiseScheme
from emds.segmentation.small_segments import (
    Contacts,
    contacts_in,
)

Value = TypeVar("Value", bound=np.generic)


class Contraction(NamedTuple):
    """What `contract_block` finds out.

    Attributes
    ----------
    fragments : (Z, Y, X) uint32
        Local ids of the voxels that the block writes; 0 where masked.
    clusters : (Z, Y, X) uint32
        The same in the whole box that it contracted, which its halo makes larger.
    is_open : (n,) bool
        Whether fragment ``i + 1`` is open. With a halo, some fragments are nowhere in the block.
    first_voxels : (n,) int64
        First voxel of each fragment in the block: its place in the volume, row-major. `NOWHERE`
        if it has none.
    sizes : (n,) int64
        Voxels of each fragment in the block.
    """

    fragments: NDArray[np.uint32]
    clusters: NDArray[np.uint32]
    is_open: NDArray[np.bool_]
    first_voxels: NDArray[np.int64]
    sizes: NDArray[np.int64]


def contract_block(
    affinities: NDArray[np.uint8] | NDArray[np.uint16],
    scheme: BlockwiseScheme,
    block: Block,
    mask: NDArray[np.bool_] | None = None,
) -> Contraction:
    """Find the fragments of a block.

    Parameters
    ----------
    affinities : (C, Z, Y, X) uint8 or uint16
        Of ``scheme.contract_roi(block)``.
    scheme : BlockwiseScheme
        The scheme.
    block : Block
        One of its blocks.
    mask : (Z, Y, X) bool, optional
        True where to segment, of the same box.

    Raises
    ------
    DataError
        If the affinities are those of another box.
    """
    read, box = scheme.contract_roi(block), scheme.node_roi(block)
    _check_shape(affinities, read, scheme.spec)
    clusters, is_open = contract(
        affinities, scheme.spec, strides=scheme.strides, origin=read.offset, box=box, mask=mask
    )
    fragments = np.ascontiguousarray(clusters[block.write_roi.relative_to(box.offset).slices()])
    offset = block.write_roi.relative_to(scheme.volume.offset).offset
    first_voxels, sizes = _measure(fragments, is_open.size, offset, scheme.volume.shape)
    return Contraction(fragments, clusters, is_open, first_voxels, sizes)


def settled_block(
    labels: NDArray[np.integer[Any]], scheme: BlockwiseScheme, block: Block
) -> Contraction:
    """Return segments of a block as its fragments, all of them closed.

    Parameters
    ----------
    labels : (Z, Y, X) uint
        Ids 1..n on ``scheme.node_roi(block)``; 0 where masked.
    scheme : BlockwiseScheme
        The scheme.
    block : Block
        One of its blocks.
    """
    clusters = labels.astype(np.uint32)
    inside = block.write_roi.relative_to(scheme.node_roi(block).offset)
    fragments = np.ascontiguousarray(clusters[inside.slices()])
    offset = block.write_roi.relative_to(scheme.volume.offset).offset
    count = int(clusters.max(initial=0))
    first_voxels, sizes = _measure(fragments, count, offset, scheme.volume.shape)
    return Contraction(fragments, clusters, np.zeros(count, dtype=np.bool_), first_voxels, sizes)


def halo_pairs(
    clusters: NDArray[np.uint32],
    fragments: NDArray[np.uint32],
    scheme: BlockwiseScheme,
    block: Block,
    starts: NDArray[np.int64],
) -> NDArray[np.int64]:
    """Return which fragments the overlap of a block's halo with other blocks makes one.

    Parameters
    ----------
    clusters : (Z, Y, X) uint32
        What the block found in ``scheme.node_roi(block)``.
    fragments : (Z, Y, X) uint32
        What all blocks wrote there, in local ids.
    scheme : BlockwiseScheme
        The scheme.
    block : Block
        One of its blocks.
    starts : (blocks + 1,) int64
        From `number_starts`.

    Returns
    -------
    (pairs, 2) int64
        Ids of fragments.
    """
    box = scheme.node_roi(block)
    theirs = values_on(np.arange(starts[-1] + 1), fragments, scheme, box, starts)
    ours = clusters + starts[block.index]
    found = np.stack([ours, theirs], axis=-1)[(clusters > 0) & (ours != theirs)]
    new = np.ones(len(found), dtype=np.bool_)
    new[1:] = (found[1:] != found[:-1]).any(axis=1)  # along a row, most pairs repeat
    pairs: NDArray[np.int64] = np.unique(found[new], axis=0)
    return pairs


def values_on(
    table: NDArray[Value],
    fragments: NDArray[np.uint32],
    scheme: BlockwiseScheme,
    roi: Roi,
    starts: NDArray[np.int64],
) -> NDArray[Value]:
    """Look up the fragment of every voxel of a box.

    Parameters
    ----------
    table : (fragments + 1,)
        A value for each fragment, with that of no fragment in front. Only the part that belongs
        to the blocks under the box is read.
    fragments : (Z, Y, X) uint32
        Local ids on the box, as the blocks wrote them.
    scheme : BlockwiseScheme
        The scheme.
    roi : Roi
        The box, inside the volume.
    starts : (blocks + 1,) int64
        From `number_starts`.
    """
    values: NDArray[Value] = np.empty(fragments.shape, dtype=table.dtype)
    for block in scheme.meeting(roi):
        inside = block.write_roi.intersect(roi).relative_to(roi.offset).slices()
        local = np.array(table[starts[block.index] : starts[block.index + 1] + 1])
        local[0] = table[0]
        values[inside] = local[fragments[inside]]
    return values


def connect_block(
    affinities: NDArray[np.uint8] | NDArray[np.uint16],
    fragments: NDArray[np.uint32],
    scheme: BlockwiseScheme,
    block: Block,
    forest: Forest,
) -> ResidualGraph:
    """Find the edges between nodes whose source voxel lies in a block.

    Parameters
    ----------
    affinities : (C, Z, Y, X) uint8 or uint16
        Of ``scheme.connect_roi(block)``.
    fragments : (Z, Y, X) uint32
        Local ids on the same box.
    scheme : BlockwiseScheme
        The scheme.
    block : Block
        One of its blocks.
    forest : Forest
        From `number_fragments`.

    Raises
    ------
    DataError
        If the affinities are those of another box.
    """
    read = scheme.connect_roi(block)
    _check_shape(affinities, read, scheme.spec)
    return residual_graph(
        affinities,
        values_on(forest.nodes, fragments, scheme, read, forest.starts),
        scheme.spec,
        strides=scheme.strides,
        origin=read.offset,
        box=block.write_roi,
        volume=scheme.volume,
    )


def contacts_of_block(
    affinities: NDArray[np.uint8] | NDArray[np.uint16],
    fragments: NDArray[np.uint32],
    scheme: BlockwiseScheme,
    block: Block,
    starts: NDArray[np.int64],
    lookup: NDArray[np.uint64],
    small: NDArray[np.bool_],
) -> Contacts:
    """Measure where small segments touch others, for faces whose source voxel lies in a block.

    Parameters
    ----------
    affinities : (C, Z, Y, X) uint8 or uint16
        Of ``scheme.connect_roi(block)``.
    fragments : (Z, Y, X) uint32
        Local ids on the same box.
    scheme : BlockwiseScheme
        The scheme.
    block : Block
        One of its blocks.
    starts : (blocks + 1,) int64
        From `number_starts`.
    lookup : (fragments + 1,) uint64
        From `final_ids`.
    small : (n + 1,) bool
        Which segments are small.
    """
    read = scheme.connect_roi(block)
    labels = values_on(lookup, fragments, scheme, read, starts)
    sources = block.write_roi.relative_to(read.offset)
    return contacts_in(labels, affinities, scheme.spec, small, sources)


def group_nodes(forest: Forest, scheme: BlockwiseScheme, super_block: Triple) -> NDArray[np.int64]:
    """Put nodes into groups by where they are, for a contraction of the residual graph.

    Parameters
    ----------
    forest : Forest
        The nodes.
    scheme : BlockwiseScheme
        The scheme.
    super_block : (z, y, x)
        Blocks along each axis that make a group.

    Returns
    -------
    (nodes + 1,) int64
        The group of each node; -1 for 0.
    """
    places = np.indices(scheme.grid).reshape(3, -1).T // super_block
    _, group_of_block = np.unique(places, axis=0, return_inverse=True)
    blocks = np.searchsorted(forest.starts, first_fragments(forest)[1:] - 1, side="right") - 1
    return np.concatenate([[-1], group_of_block.reshape(-1)[blocks]])


def _check_shape(affinities: NDArray[Any], read: Roi, spec: AffinitySpec) -> None:
    expected = (spec.channels, *read.shape)
    if affinities.shape != expected:
        raise DataError(
            f"the block needs affinities of shape {expected}, at {read.offset}, but got "
            f"{affinities.shape}."
        )


@njit(nogil=True, cache=True)
def _measure(
    fragments: NDArray[np.uint32], count: int, offset: Triple, volume: Triple
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first voxel of each fragment, as its place in the volume, and its size."""
    first = np.full(count, NOWHERE)
    sizes = np.zeros(count, dtype=np.int64)
    for z in range(fragments.shape[0]):
        for y in range(fragments.shape[1]):
            row = ((z + offset[0]) * volume[1] + y + offset[1]) * volume[2] + offset[2]
            for x in range(fragments.shape[2]):
                fragment = np.int64(fragments[z, y, x]) - 1
                if fragment >= 0:
                    sizes[fragment] += 1
                    if first[fragment] == NOWHERE:
                        first[fragment] = row + x
    return first, sizes
