"""Blocks are slabs: no tile is computed twice where a section fits in memory."""

import numpy as np
import pytest

from emds.errors import UsageError
from emds.geometry import Roi
from emds.io import MemoryVolume
from emds.networks.checkpoint import Checkpoint
from emds.networks.joint import Architecture
from emds.stages.plan import InferenceOptions, plan_inference

CHANNELS = 11


def plan_for(shape, crop=128, **options):
    architecture = Architecture(("denoiser",), width="tiny", window=crop)
    checkpoint = Checkpoint(
        architecture=architecture.to_dict(), weights={}, crop=crop, recipe="dn_only"
    )
    # Broadcasting gives a volume of any size without the memory.
    volume = MemoryVolume(np.broadcast_to(np.uint8(0), shape))
    return plan_inference(volume, checkpoint, InferenceOptions(**options), "cpu", CHANNELS)


@pytest.mark.parametrize("shape", [(125, 1250, 1250), (20, 2048, 2048), (3, 30, 30)])
def test_no_tile_is_computed_twice(shape):
    plan = plan_for(shape)
    blocks = plan.blocks()
    assert sum(plan.tiles_of(blocks)) == len(plan.grid.tiles_meeting(Roi.whole(shape)))
    assert len(blocks) > 1 or shape[0] == 3


@pytest.mark.parametrize("shape", [(125, 1250, 1250), (4, 30_000, 30_000), (300, 600, 40_000)])
def test_a_block_fits_in_memory_and_blocks_partition_the_volume(shape):
    plan = plan_for(shape)
    blocks = [b.write_roi for b in plan.blocks()]
    assert sum(roi.size for roi in blocks) == np.prod(shape, dtype=np.int64)
    assert max(roi.size for roi in blocks) * CHANNELS * 4 <= 2**28
    assert all(Roi.whole(shape).contains(roi) for roi in blocks)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"block_shape": (0, 8, 8)}, "block_shape must be at least 1"),
        ({"roi": Roi((0, 0, 0), (9, 9, 9))}, "inside memory of shape"),
        ({"intensity": (5.0, 5.0)}, "must rise"),
        ({"tile": (1, 100, 64)}, "multiple of 8"),
    ],
)
def test_a_plan_that_cannot_work_is_refused(options, words):
    with pytest.raises(UsageError, match=words):
        plan_for((3, 30, 30), **options)
