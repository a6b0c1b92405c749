"""A run that was stopped, killed or damaged on the way and resumed leaves the same bytes."""

from __future__ import annotations

import os
import signal
from collections import Counter

import pytest
from small_runs import InterruptedHereError, contents, interrupt_after

from emds.errors import InterruptedRunError, OutputExistsError, UsageError
from emds.execution import DoneLog, Execution, Shard, at_work
from emds.io import create_container, output, zarr_output
from emds.stages import execute as execute_module

pytestmark = pytest.mark.usefixtures("no_fsync")


@pytest.fixture
def finished(monkeypatch):
    """Counts how often each block of each phase was done."""
    count = Counter()
    append = DoneLog.append

    def counted(self, block):
        count[self.folder.name, block] += 1
        append(self, block)

    monkeypatch.setattr(DoneLog, "append", counted)
    return count


def steps_of(example, folder):
    """Return how often an undisturbed run tells of its progress."""
    calls = []
    example.run(folder, progress=lambda *call: calls.append(call))
    return len(calls)


@pytest.mark.parametrize("name", ["segment", "run"])
def test_interrupted_anywhere_and_resumed_is_uninterrupted(
    examples, references, tmp_path, finished, name
):
    example = examples[name]
    steps = steps_of(example, tmp_path / "whole")
    expected = set(finished)
    for step in range(1, steps, 3 if name == "segment" else 14):
        finished.clear()
        folder = tmp_path / str(step)
        with pytest.raises(InterruptedHereError):
            example.run(folder, progress=interrupt_after(step))
        out = example.run(folder, resume=(folder / "out.zarr.partial").exists())
        assert contents(out) == references[name], step
        assert os.listdir(folder) == ["out.zarr"]
        assert finished.keys() == expected
        # What is in hand when a run ends is done again: here nothing, or what was being written.
        assert sum(finished.values()) <= len(expected) + 1, step


def test_interrupted_at_every_block_a_run_still_ends(examples, references, tmp_path, finished):
    example = examples["segment"]
    for _ in range(100):
        try:
            resume = (tmp_path / "out.zarr.partial").exists()
            out = example.run(tmp_path, resume=resume, progress=interrupt_after(1))
            break
        except InterruptedHereError:
            continue
    assert contents(out) == references["segment"]
    assert set(finished.values()) == {1}


def test_a_signal_stops_after_the_block_in_hand_and_can_be_resumed(
    examples, references, tmp_path, finished
):
    example = examples["segment"]

    def progress(done, total, what):
        if what == "blocks connected" and done == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRunError, match=r"2 blocks to do \(blocks connected\).*--resume"):
        example.run(tmp_path, progress=progress)
    assert os.listdir(tmp_path) == ["out.zarr.partial"]
    assert max(block for phase, block in finished if phase == "connect") == 0
    assert contents(example.run(tmp_path, resume=True)) == references["segment"]
    assert set(finished.values()) == {1}


def test_a_signal_while_predicting_stops_after_what_is_read_computed_and_written(
    examples, tmp_path, finished
):
    shape = (6, 24, 16)
    example = examples["run"].with_options(chunk_shape=shape, block_shape=shape)

    def progress(done, total, what):
        if done == 1:
            os.kill(os.getpid(), signal.SIGTERM)

    with pytest.raises(InterruptedRunError, match="--resume"):
        example.run(tmp_path, progress=progress)
    assert set(finished) == {("predict", block) for block in range(len(finished))}
    assert len(finished) <= 4
    out = example.run(tmp_path, resume=True)
    assert contents(out) == contents(example.run(tmp_path / "whole"))


def test_a_failed_start_leaves_nothing(examples, tmp_path):
    with pytest.raises(InterruptedHereError):
        examples["segment"].run(tmp_path, progress=interrupt_after(0))
    assert os.listdir(tmp_path) == []


def test_there_must_be_something_to_resume(examples, references, tmp_path):
    example = examples["segment"]
    with pytest.raises(UsageError, match="there is no unfinished output"):
        example.run(tmp_path, resume=True)
    assert os.listdir(tmp_path) == []
    out = example.run(tmp_path)
    with pytest.raises(UsageError, match="it is complete"):
        example.run(tmp_path, resume=True)
    assert contents(out) == references["segment"]


def test_an_output_is_gone_on_with_only_when_asked(examples, references, tmp_path):
    example = examples["segment"]
    with pytest.raises(InterruptedHereError):
        example.run(tmp_path, progress=interrupt_after(3))
    before = contents(tmp_path)
    with pytest.raises(OutputExistsError, match="--resume"):
        example.run(tmp_path)
    with pytest.raises(UsageError, match="give one"):
        example.run(tmp_path, resume=True, overwrite=True)
    assert contents(tmp_path) == before
    out = example.run(tmp_path, overwrite=True)
    assert contents(out) == references["segment"]
    with pytest.raises(OutputExistsError, match="--overwrite"):
        example.run(tmp_path)
    with pytest.raises(OutputExistsError, match="--overwrite"):
        example.run(tmp_path, execution=Execution(shard=Shard(0, 2)))


def test_a_run_refused_or_failed_at_once_keeps_what_another_began(examples, tmp_path):
    """Even before a block is done: workers may be at it."""
    example = examples["segment"]
    with pytest.raises(InterruptedHereError):
        example.run(tmp_path, progress=interrupt_after(1))
    for log in (tmp_path / "out.zarr.partial/.emds/done").rglob("*.jsonl"):
        log.unlink()
    with pytest.raises(OutputExistsError):
        example.with_options(min_size=5).run(tmp_path, resume=True)
    with pytest.raises(InterruptedHereError):
        example.run(tmp_path, resume=True, progress=interrupt_after(0))
    assert (tmp_path / "out.zarr.partial/.emds/run.json").is_file()


@pytest.mark.parametrize(
    "how",
    [
        {},
        {"resume": True},
        {"overwrite": True},
        {"execution": Execution(shard=Shard(1, 2))},
    ],
    ids=str,
)
def test_two_writers_of_one_output_are_refused(examples, references, tmp_path, monkeypatch, how):
    """The second comes while the first is at its third block."""
    monkeypatch.setattr(output, "_PATIENCE_S", 0.2)  # with which a shard waits for the first
    example = examples["segment"]
    refused = []

    def progress(done, total, what):
        if what == "blocks connected" and done == 1:
            with pytest.raises(OutputExistsError, match="another emds is writing it"):
                example.run(tmp_path, **how)
            refused.append(how)

    assert contents(example.run(tmp_path, progress=progress)) == references["segment"]
    assert refused


@pytest.mark.parametrize("how", [{"resume": True}, {"overwrite": True}], ids=str)
def test_workers_whose_scheduler_is_dead_keep_others_out(examples, tmp_path, monkeypatch, how):
    example = examples["segment"]
    with pytest.raises(InterruptedHereError):
        example.run(tmp_path, progress=interrupt_after(3))
    before = contents(tmp_path)
    wait = execute_module.wait_for_workers
    monkeypatch.setattr(execute_module, "wait_for_workers", lambda folder: wait(folder, 0.2))
    with (
        at_work(tmp_path / "out.zarr.partial/.emds"),
        pytest.raises(OutputExistsError, match="workers of an earlier run still write"),
    ):
        example.run(tmp_path, **how)
    after = contents(tmp_path)
    assert after == before | {"out.zarr.partial/.emds/workers.lock": b""}
    example.run(tmp_path, **how)


@pytest.mark.parametrize("killed_at", ["remove_image", "commit", "sync_all", "sync", "remove_mark"])
def test_killed_while_it_finishes_a_run_can_be_resumed(
    examples, references, tmp_path, monkeypatch, finished, killed_at
):
    """Nothing is done twice, though what was temporary is gone by then."""

    def kill(*_):
        raise InterruptedHereError

    example = examples["run"]
    with monkeypatch.context() as patched:
        if killed_at in ("remove_image", "commit"):
            patched.setattr(zarr_output.Container, killed_at, kill)
        else:
            patched.setattr(output, killed_at, kill)
        with pytest.raises(InterruptedHereError):
            example.run(tmp_path)
    if killed_at in ("sync", "remove_mark"):  # what is needed to go on is removed last
        assert (tmp_path / "out.zarr/.emds").is_dir()
        with pytest.raises(UsageError, match="it is complete"):
            example.run(tmp_path, resume=True)
    else:
        example.run(tmp_path, resume=True)
    assert contents(tmp_path / "out.zarr") == references["run"]
    assert os.listdir(tmp_path) == ["out.zarr"]
    assert set(finished.values()) == {1}


def test_what_was_left_before_the_start_is_thrown_away(examples, references, tmp_path):
    """A run killed while it set up its arrays has no record; the next begins anew."""
    example = examples["segment"]
    partial = output.PendingOutput(tmp_path / "out.zarr", overwrite=False, folder=True)
    partial.leave()
    (partial.content / "zarr.json").write_text("{")
    (partial.content / "labels").mkdir()
    assert contents(example.run(tmp_path, resume=True)) == references["segment"]


def test_what_was_half_written_does_not_stay(examples, references, tmp_path):
    example = examples["segment"]
    with pytest.raises(InterruptedHereError):
        example.run(tmp_path, progress=interrupt_after(21))
    labels = tmp_path / "out.zarr.partial/labels/neurons/0"
    chunk = next(path for path in labels.rglob("0") if path.is_file())
    chunk.with_suffix(".0123abcd.partial").write_bytes(b"half")  # as zarr names it
    assert contents(example.run(tmp_path, resume=True)) == references["segment"]


def test_helpers_take_no_hold_of_an_output(examples, tmp_path):
    example = examples["segment"]
    with pytest.raises(InterruptedHereError):
        example.run(tmp_path, progress=interrupt_after(3))
    helper = create_container(tmp_path / "out.zarr", claim="help")
    example.run(tmp_path, resume=True)
    helper.leave()
