"""The mutex watershed of a volume of any size, block by block, exactly.

The result is that of `mutex_watershed` on the whole volume, id for id, whatever the blocks, their
order and who computed them. No step needs more than one block and its surroundings, or the tables
of one group of blocks.

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
   open, and a *node*. `emds.segmentation.watershed.contraction` states the rules and why every
   merge is one that the global run makes.
2. **Connect** (`connect_block`, every block for itself) finds, of the edges between any two nodes
   one of which is the block's, the strongest: the residual graph.
3. **Solve**, in groups of blocks that grow. `contract_graph` does with the nodes and edges of a
   group what `contract_block` does with voxels: some become a segment, some stay open and are the
   nodes of the next groups. The last group is the whole volume, and leaves nothing open.
   `number_segments` gives the ids 1..n in order of first voxel, and `segments_of` hands them
   down from the groups to the blocks.
4. **Relabel** (`values_on`, every block for itself) looks up the segment of each fragment.

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

A group without the rest of the volume follows the rules of
`emds.segmentation.watershed.contraction`, so its merges are certain, too.
`emds.segmentation.labellers.mutex_watershed` puts the functions together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from emds.errors import DataError
from emds.geometry import Block, Roi, Triple
from emds.kernels import njit
from emds.segmentation.affinities import AffinitySpec
from emds.segmentation.blockwise.pieces import NOWHERE, Pieces
from emds.segmentation.blockwise.residual import (
    ResidualGraph,
    residual_graph,
)
from emds.segmentation.blockwise.scheme import BlockwiseScheme
from emds.segmentation.watershed.contraction import contract

Value = TypeVar("Value", bound=np.generic)


class Contraction(NamedTuple):
    """What `contract_block` finds out.

    Attributes
    ----------
    fragments : (Z, Y, X) uint32
        Local ids of the voxels that the block writes; 0 where masked.
    pieces : Pieces
        The fragments.
    """

    fragments: NDArray[np.uint32]
    pieces: Pieces


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
        Of ``scheme.seen_by(block)``.
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
    read = scheme.seen_by(block)
    _check_shape(affinities, read, scheme.spec)
    fragments, is_open = contract(
        affinities,
        scheme.spec,
        strides=scheme.strides,
        origin=read.offset,
        box=block.write_roi,
        mask=mask,
    )
    return measured_block(fragments, is_open, scheme, block)


def settled_block(
    labels: NDArray[np.integer[Any]], scheme: BlockwiseScheme, block: Block
) -> Contraction:
    """Return segments of a block, which nothing outside can change, as its fragments.

    Parameters
    ----------
    labels : (Z, Y, X) uint
        Ids 1..n of the voxels of the block; 0 where masked.
    scheme : BlockwiseScheme
        The scheme.
    block : Block
        One of its blocks.
    """
    closed = np.zeros(int(labels.max(initial=0)), dtype=np.bool_)
    return measured_block(labels.astype(np.uint32), closed, scheme, block)


def values_on(
    lookup: Callable[[int], NDArray[Value]],
    fragments: NDArray[np.uint32],
    scheme: BlockwiseScheme,
    roi: Roi,
) -> NDArray[Value]:
    """Look up the fragment of every voxel of a box.

    Parameters
    ----------
    lookup : callable
        From the number of a block to the (n + 1,) values of its fragments, with that of no
        fragment in front.
    fragments : (Z, Y, X) uint32
        Local ids on the box, as the blocks wrote them.
    scheme : BlockwiseScheme
        The scheme.
    roi : Roi
        The box, inside the volume.
    """
    values: NDArray[Value] | None = None
    for block in scheme.meeting(roi):
        inside = block.write_roi.intersect(roi).relative_to(roi.offset).slices()
        of_block = lookup(block.index)
        if values is None:
            values = np.empty(fragments.shape, dtype=of_block.dtype)
        values[inside] = of_block[fragments[inside]]
    assert values is not None, "a box has voxels"
    return values


def connect_block(
    affinities: NDArray[np.uint8] | NDArray[np.uint16],
    fragments: NDArray[np.uint32],
    scheme: BlockwiseScheme,
    block: Block,
    nodes: Callable[[int], NDArray[np.uint32]],
    begin: int,
    end: int,
) -> ResidualGraph:
    """Find the edges between nodes of which one is a block's.

    Parameters
    ----------
    affinities : (C, Z, Y, X) uint8 or uint16
        Of ``scheme.seen_by(block)``.
    fragments : (Z, Y, X) uint32
        Local ids on the same box.
    scheme : BlockwiseScheme
        The scheme.
    block : Block
        One of its blocks.
    nodes : callable
        From the number of a block to the (n + 1,) nodes of its fragments, from `nodes_of`.
    begin, end : int
        The nodes of this block are ``begin + 1 .. end``.

    Raises
    ------
    DataError
        If the affinities are those of another box.
    """
    read = scheme.seen_by(block)
    _check_shape(affinities, read, scheme.spec)
    return residual_graph(
        affinities,
        values_on(nodes, fragments, scheme, read),
        scheme.spec,
        strides=scheme.strides,
        origin=read.offset,
        volume=scheme.volume,
        begin=begin,
        end=end,
    )


def measured_block(
    fragments: NDArray[np.uint32], is_open: NDArray[np.bool_], scheme: BlockwiseScheme, block: Block
) -> Contraction:
    """Measure the fragments of a block.

    Parameters
    ----------
    fragments : (Z, Y, X) uint32
        Ids 1..n of the voxels of the block; 0 where masked.
    is_open : (n,) bool
        Which of them may go on in other blocks.
    scheme : BlockwiseScheme
        The scheme.
    block : Block
        One of its blocks.
    """
    offset = block.write_roi.relative_to(scheme.volume.offset).offset
    first_voxels, sizes = _measure(fragments, is_open.size, offset, scheme.volume.shape)
    return Contraction(fragments, Pieces(is_open, first_voxels, sizes))


def _check_shape(affinities: NDArray[Any], read: Roi, spec: AffinitySpec) -> None:
    expected = (spec.channels, *read.shape)
    if affinities.shape != expected:
        raise DataError(
            f"the block needs affinities of shape {expected}, at {read.offset}, but got "
            f"{affinities.shape}."
        )


@njit()
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
