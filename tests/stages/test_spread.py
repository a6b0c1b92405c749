"""Blocks, shards, workers, orders, regions: whoever does what and when, the bytes are the same."""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_runs import InterruptedHereError, contents, interrupt_after

from emds.errors import IncompleteError, OutputExistsError, UsageError
from emds.execution import Execution, Shard
from emds.geometry import Roi
from emds.io import open_volume
from emds.stages import runner
from emds.stages.execute import merge

ROI = Roi((3, 4, 2), (30, 17, 13))


def do_shards(example, folder: Path, order, count: int) -> Path:
    """Run each shard until all have nothing to do, as an array of jobs in some order; merge."""
    for _ in range(3):
        for k in order:
            example.run(folder, execution=Execution(shard=Shard(k, count)))
    assert not (folder / "out.zarr").exists()
    return Path(merge(folder / "out.zarr"))


@pytest.mark.usefixtures("no_fsync")
@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("run", {"block_shape": (32, 24, 16), "label_block_shape": (48, 24, 16)}),
        ("run", {"block_shape": None, "label_block_shape": None}),
        ("segment", {"label_block_shape": (32, 24, 16)}),
        ("segment", {"label_block_shape": (48, 24, 16)}),
        ("segment", {"max_residual": 10**6}),
    ],
)
def test_blocks_of_any_shape_give_the_same_bytes(examples, references, tmp_path, name, options):
    out = examples[name].with_options(**options).run(tmp_path)
    assert contents(out) == references[name]


@pytest.mark.usefixtures("no_fsync")
@pytest.mark.parametrize("seed", range(3))
def test_blocks_in_any_order_give_the_same_bytes(examples, references, tmp_path, monkeypatch, seed):
    shuffle = random.Random(seed).shuffle

    def in_some_order(work, blocks, *rest):
        shuffle(blocks)
        orders.append(list(blocks))
        return run_blocks(work, blocks, *rest)

    orders = []
    run_blocks = runner.run_blocks
    monkeypatch.setattr(runner, "run_blocks", in_some_order)
    name = "segment" if seed else "run"
    assert contents(examples[name].run(tmp_path)) == references[name]
    assert any(blocks != sorted(blocks) for blocks in orders)


@pytest.mark.usefixtures("no_fsync")
@pytest.mark.parametrize(
    ("name", "order", "count"),
    [
        ("segment", [0], 1),
        ("segment", [2, 0, 1], 3),
        ("segment", [5, 3, 6, 0, 1, 4, 2], 7),  # more shards than blocks
        ("run", [1, 2, 0], 3),
    ],
)
def test_shards_and_merge_give_the_same_bytes(examples, references, tmp_path, name, order, count):
    out = do_shards(examples[name], tmp_path, order, count)
    assert contents(out) == references[name]
    assert os.listdir(tmp_path) == ["out.zarr"]


@pytest.mark.usefixtures("no_fsync")
def test_merge_does_what_a_shard_that_never_ran_left(examples, references, tmp_path):
    examples["segment"].run(tmp_path, execution=Execution(shard=Shard(1, 3)))
    assert contents(Path(merge(tmp_path / "out.zarr"))) == references["segment"]


@pytest.mark.usefixtures("no_fsync")
def test_a_shard_stopped_on_the_way_is_simply_repeated(examples, references, tmp_path):
    example = examples["segment"]
    shard = {"execution": Execution(shard=Shard(0, 2))}
    with pytest.raises(InterruptedHereError):
        example.run(tmp_path, progress=interrupt_after(0), **shard)
    with pytest.raises(InterruptedHereError):
        example.run(tmp_path, progress=interrupt_after(1), **shard)
    assert contents(do_shards(example, tmp_path, [0, 1], 2)) == references["segment"]


@pytest.mark.usefixtures("no_fsync")
def test_there_must_be_something_to_merge(examples, tmp_path):
    with pytest.raises(UsageError, match="no shard has begun it"):
        merge(tmp_path / "out.zarr")
    examples["segment"].run(tmp_path)
    with pytest.raises(UsageError, match="it is complete"):
        merge(tmp_path / "out.zarr")


@pytest.mark.usefixtures("no_fsync")
def test_a_shard_has_nothing_to_do_once_an_output_is_being_finished(
    examples, references, tmp_path, monkeypatch
):
    """A task of an array that is queued again late must not take part in the commit."""
    from emds.io.zarr_output import Container

    example = examples["segment"]

    def kill(self):
        raise InterruptedHereError

    with monkeypatch.context() as patched:
        patched.setattr(Container, "commit", kill)
        with pytest.raises(InterruptedHereError):
            example.run(tmp_path)
    example.run(tmp_path, execution=Execution(shard=Shard(0, 2)))
    assert os.listdir(tmp_path) == ["out.zarr.partial"]
    assert contents(Path(merge(tmp_path / "out.zarr"))) == references["segment"]


@pytest.mark.usefixtures("no_fsync")
def test_shards_share_an_output_and_keep_merge_out(examples, references, tmp_path):
    example = examples["segment"]
    refused = []

    def progress(done, total, what):
        if what == "blocks segmented" and done == 1 and not refused:
            with pytest.raises(OutputExistsError, match="another emds is writing it"):
                merge(tmp_path / "out.zarr")
            refused.append(done)
            example.run(tmp_path, execution=Execution(shard=Shard(1, 2)))

    example.run(tmp_path, execution=Execution(shard=Shard(0, 2)), progress=progress)
    assert refused
    assert contents(Path(merge(tmp_path / "out.zarr"))) == references["segment"]


@pytest.mark.usefixtures("no_fsync")
def test_a_region_equals_the_crop_of_the_whole(examples, tmp_path):
    """The image and the affinities; labels are those of the affinities of the region."""
    example = examples["run"].but(keep_affinities=True)
    whole = example.run(tmp_path / "whole")
    part = example.with_options(roi=ROI).run(tmp_path / "part")
    for role in ("raw", "affinities"):
        expected = open_volume(whole, role=role).read(ROI)
        np.testing.assert_array_equal(open_volume(part, role=role).read(), expected)
    from_whole = examples["segment"].but(
        source=open_volume(whole, role="affinities").location,
        options=replace(
            example.request.options,
            roi=ROI,
            device="auto",
            tile=None,
            overlap=None,
            block_shape=None,
        ),
    )
    labels = open_volume(from_whole.run(tmp_path / "labels"), role="labels").read()
    np.testing.assert_array_equal(open_volume(part, role="labels").read(), labels)


def test_two_workers_give_the_same_bytes(examples, references, tmp_path):
    out = examples["segment"].run(tmp_path, execution=Execution(workers=2))
    assert contents(out) == references["segment"]
    assert os.listdir(tmp_path) == ["out.zarr"]


def test_a_block_that_fails_among_workers_is_listed_and_the_rest_kept(
    examples, references, tmp_path
):
    """A damaged chunk is found by one worker, tried by another, and then told."""
    example = examples["segment"]
    with pytest.raises(InterruptedHereError):
        example.run(tmp_path, progress=interrupt_after(6))  # to connect the blocks comes next
    chunk = tmp_path / "out.zarr.partial/fragments/0/c/2/0/0"
    chunk.write_bytes(chunk.read_bytes()[:-1])
    with pytest.raises(IncompleteError, match=r"(?s)2 of 3 blocks.*block 1.*chunk .*/2/0/0 is dam"):
        example.run(tmp_path, resume=True, execution=Execution(workers=2))
    chunk.unlink()
    assert contents(example.run(tmp_path, resume=True)) == references["segment"]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "workers"), [("run", 1), ("run", 2), ("run", 4), ("segment", 4)])
def test_any_number_of_workers_gives_the_same_bytes(examples, references, tmp_path, name, workers):
    out = examples[name].run(tmp_path, execution=Execution(workers=workers, launcher=("env",)))
    assert contents(out) == references[name]


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 7])
def test_a_run_in_any_number_of_shards_gives_the_same_bytes(examples, references, tmp_path, count):
    out = do_shards(examples["run"], tmp_path, range(count), count)
    assert contents(out) == references["run"]
