"""Stitching by overlap joins what blocks saw alike, and nothing else."""

from __future__ import annotations

import numpy as np
import pytest

from emds.geometry import Roi
from emds.segmentation.affinities import AffinitySpec
from emds.segmentation.blockwise import settled_block
from emds.segmentation.pieces import number_starts
from emds.segmentation.scheme import BlockwiseScheme
from emds.segmentation.stitching import join_overlaps, overlaps_of_block, stitch

SPEC = AffinitySpec(((-1, 0, 0), (0, -1, 0), (0, 0, -1)), (True,) * 3)


def stitched(labels, block_shape, halo):
    """Cut labels into blocks that number them anew, and stitch these."""
    scheme = BlockwiseScheme(SPEC, (1, 1, 1), Roi.whole(labels.shape), block_shape, halo)
    fragments = np.zeros(labels.shape, np.uint32)
    found = []
    for block in scheme.blocks:
        part = labels[scheme.node_roi(block).slices()]
        ids = np.unique(part[part > 0])
        # From the highest down, so that no two blocks agree on a number.
        local = np.where(part > 0, ids.size - np.searchsorted(ids, part), 0)
        found.append(settled_block(local, scheme, block))
        fragments[block.write_roi.slices()] = found[-1].fragments
    starts = number_starts([part.pieces.is_open.size for part in found])
    overlaps = join_overlaps(
        [
            overlaps_of_block(
                part.clusters, fragments[scheme.node_roi(block).slices()], scheme, block, starts
            )
            for block, part in zip(scheme.blocks, found)
        ]
    )
    smallest = stitch(overlaps, int(starts[-1]))
    whole = np.zeros(labels.shape, np.int64)
    for block in scheme.blocks:
        inside = block.write_roi.slices()
        local = fragments[inside].astype(np.int64)
        whole[inside] = np.where(local > 0, smallest[local + starts[block.index]], 0)
    return whole


@pytest.mark.parametrize("block_shape", [(4, 5, 6), (2, 10, 4), (8, 10, 12)])
@pytest.mark.parametrize("halo", [(1, 1, 1), (2, 3, 2)])
def test_what_all_blocks_see_alike_is_one_segment_again(block_shape, halo):
    z, y, x = np.indices((8, 10, 12))
    labels = 1 + z // 5 + 10 * (y // 6) + 100 * (x // 7)
    labels[:, 4, 4] = 0
    whole = stitched(labels, block_shape, halo)
    pairs = np.unique(np.stack([labels.ravel(), whole.ravel()]), axis=1)
    assert len(np.unique(pairs[0])) == len(np.unique(pairs[1])) == pairs.shape[1]
    assert pairs[:, 0].tolist() == [0, 0]


def test_what_hardly_overlaps_stays_apart():
    scheme = BlockwiseScheme(SPEC, (1, 1, 1), Roi.whole((1, 6, 8)), (1, 6, 4), (0, 0, 2))
    left, right = scheme.blocks
    # The left block sees one segment; the right one sees two, of which one is mostly elsewhere.
    ours = settled_block(np.ones((1, 6, 6), int), scheme, left)
    theirs = np.ones((1, 6, 6), int)
    theirs[0, 5, :] = 2
    theirs = settled_block(theirs, scheme, right)
    fragments = np.concatenate([ours.fragments, theirs.fragments], axis=2)
    starts = number_starts([1, 2])
    overlaps = overlaps_of_block(ours.clusters, fragments[:, :, :6], scheme, left, starts)
    assert overlaps.shared.tolist() == [10, 2]
    assert overlaps.covered.tolist() == [12 + 10, 12 + 2]
    assert stitch(overlaps, 3).tolist() == [0, 1, 1, 3]
