"""Blocks with a halo see voxels of each other: what both found there is one."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from emds.geometry import Block
from emds.segmentation.blockwise import values_on
from emds.segmentation.pieces import NOWHERE, Pieces
from emds.segmentation.scheme import BlockwiseScheme
from emds.segmentation.union_find import smallest_members, unite


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
        Fragments before each block. The id of a fragment is ``starts[block] + local id``.

    Returns
    -------
    (pairs, 2) int64
        Ids of fragments.
    """

    def ids(number: int) -> NDArray[np.int64]:
        return np.concatenate([[0], np.arange(starts[number], starts[number + 1]) + 1])

    theirs = values_on(ids, fragments, scheme, scheme.node_roi(block))
    ours = clusters + starts[block.index]
    found = np.stack([ours, theirs], axis=-1)[(clusters > 0) & (ours != theirs)]
    new = np.ones(len(found), dtype=np.bool_)
    new[1:] = (found[1:] != found[:-1]).any(axis=1)  # along a row, most pairs repeat
    pairs: NDArray[np.int64] = np.unique(found[new], axis=0)
    return pairs


def unite_pieces(
    parts: Sequence[Pieces], pairs: Sequence[NDArray[np.int64]], starts: NDArray[np.int64]
) -> tuple[list[Pieces], NDArray[np.int64]]:
    """Make one of fragments that are one.

    Parameters
    ----------
    parts : sequence of Pieces
        The fragments of each block.
    pairs : sequence of (pairs, 2) int64
        From `halo_pairs`; none without a halo.
    starts : (blocks + 1,) int64
        Fragments before each block.

    Returns
    -------
    parts : list of Pieces
        What is left in each block: a piece stays where its smallest fragment was.
    numbers : (fragments + 1,) int64
        The piece that each fragment is part of, numbered through all blocks from 1; 0 for 0.
    """
    parents = np.arange(starts[-1] + 1)
    for some in pairs:
        unite(parents, some)
    parents = smallest_members(parents)
    is_root = parents == np.arange(parents.size)
    is_root[0] = False
    numbers = np.cumsum(is_root)[parents]
    numbers[0] = 0
    is_open, first_voxels, sizes = (np.concatenate(columns) for columns in zip(*parts, strict=True))
    count, places = int(is_root.sum()), numbers[1:] - 1
    united = Pieces(np.ones(count, np.bool_), np.full(count, NOWHERE), np.zeros(count, np.int64))
    np.logical_and.at(united.is_open, places, is_open)  # one certain voice settles the whole
    np.minimum.at(united.first_voxels, places, first_voxels)
    np.add.at(united.sizes, places, sizes)
    bounds = np.concatenate([[0], np.cumsum(is_root)])[starts + 1]
    left = [
        Pieces(united.is_open[b:e], united.first_voxels[b:e], united.sizes[b:e])
        for b, e in pairwise(bounds)
    ]
    return left, numbers
