"""What a run would cost, told without writing anything."""

from __future__ import annotations

import shutil
import time
from collections import namedtuple

import numpy as np
import pytest
import torch

from emds.errors import UsageError
from emds.execution import Execution, Shard
from emds.io import MemoryVolume
from emds.networks.checkpoint import Checkpoint, save_checkpoint
from emds.networks.joint import Architecture
from emds.segmentation.offset_sets import OFFSET_SETS
from emds.stages import predict
from emds.stages.estimate import check_disk, disk_bytes, estimate
from emds.stages.job import Request, prepare
from emds.stages.plan import InferenceOptions

SHAPE = (20, 40, 37)
VOXELS = 20 * 40 * 37


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.pt"
    torch.manual_seed(0)
    spec = OFFSET_SETS["isotropic"]
    architecture = Architecture(
        width="tiny",
        window=16,
        affinity_channels=spec.channels,
        in_slices=7,
        out_slices=5,
    )
    save_checkpoint(
        Checkpoint(
            architecture=architecture.to_dict(),
            weights=architecture.build().state_dict(),
            offsets=spec.offsets,
            attractive=spec.attractive,
            crop=16,
            recipe="joint",
        ),
        path,
    )
    return path


def job_for(checkpoint, command="run", **options):
    values = np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.uint8)
    request = Request(command, "memory", str(checkpoint), None, InferenceOptions(**options))
    return prepare(request, MemoryVolume(values), None)


def test_a_plan_names_blocks_tiles_disk_and_a_measured_time(checkpoint):
    job = job_for(checkpoint, block_shape=(16, 40, 37), label_block_shape=(16, 40, 37))
    one = estimate(job, Execution())
    assert one["blocks"] == {
        "predict": 2, "contract": 2, "number": 1, "connect": 2, "solve": 1, "relabel": 2,
    }  # fmt: skip
    assert one["tiles"] == 20 * 4  # tiles of 32 x 32 with an overlap of 8
    assert one["disk"] == {
        "denoised": VOXELS, "affinities": 17 * VOXELS, "fragments": 4 * VOXELS,
        "labels": 8 * VOXELS, "total": 30 * VOXELS,
    }  # fmt: skip
    assert one["seconds_of_prediction"] == pytest.approx(80 * one["seconds_per_tile"], abs=0.06)


@pytest.mark.parametrize(
    ("execution", "seconds"),
    [
        (Execution(), 40.0),
        (Execution(workers=4), 10.0),
        (Execution(shard=Shard(0, 4)), 10.0),
        (Execution(shard=Shard(2, 3)), 13.3),
    ],
)
def test_the_time_told_is_that_of_each_of_the_processes(
    checkpoint, monkeypatch, execution, seconds
):
    """80 tiles of half a second, by a clock that a predictor moves: two batches after the first."""
    now = [0.0]
    batch_size = 4
    job = job_for(checkpoint, batch_size=batch_size)
    spent = iter([100.0, 1.5, 2.5])

    def predictor(batch):
        assert batch.shape == (batch_size, 7, 32, 32)
        now[0] += next(spent)

    predictor.halo = 3
    monkeypatch.setattr(predict, "make_predictor", lambda job, worker: predictor)
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    told = estimate(job, execution)
    assert told["tiles"] == 80
    assert told["seconds_per_tile"] == 0.5
    assert told["seconds_of_prediction"] == seconds


def test_what_is_not_made_takes_no_room(checkpoint):
    assert disk_bytes(job_for(checkpoint, "denoise")) == {"denoised": VOXELS}
    assert "denoised" not in disk_bytes(job_for(checkpoint, "segment"))


def test_a_full_disk_is_told_before_any_work(tmp_path, checkpoint, monkeypatch, caplog):
    usage = namedtuple("usage", "total used free")
    job = job_for(checkpoint)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, VOXELS))
    with pytest.raises(UsageError, match="GB are free where"):
        check_disk(job, tmp_path / "seg.zarr")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 6 * VOXELS))
    check_disk(job, tmp_path / "seg.zarr")
    assert "--resume" in caplog.text
    caplog.clear()
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(0, 0, 30 * VOXELS))
    check_disk(job, tmp_path / "seg.zarr")
    assert caplog.text == ""
