"""What resuming, shards and workers look like from outside: exit codes, signals, a full disk."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from small_runs import contents, write_affinities, write_checkpoint, write_grey

LABEL = ("--label-block-shape", 16, 24, 16, "--min-size", 12)
SEGMENT = ("segment", "affinities.zarr", "--from-affinities", *LABEL)
# Ten blocks.
DENOISE = (
    *("denoise", "grey.zarr", "--checkpoint", "network.pt", "--device", "cpu"),
    *("--tile", 1, 16, 16, "--overlap", 0, 8, 0, "--block-shape", 16, 24, 16),
)
WORK = Path("out.zarr.partial/.emds")


@pytest.fixture
def inputs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_affinities(tmp_path / "affinities.zarr")
    write_grey(tmp_path / "grey.zarr", shape=(160, 24, 16))
    write_checkpoint(tmp_path / "network.pt")
    return tmp_path


def start(*arguments, **how):
    return subprocess.Popen(
        [sys.executable, "-m", "emds", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        **how,
    )


def finish(*arguments, code=0):
    child = start(*arguments)
    _, stderr = child.communicate(timeout=300)
    assert child.returncode == code, stderr
    return stderr


def wait_for(there, child):
    deadline = time.monotonic() + 120
    while not there():
        assert child.poll() is None, child.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.01)


def has_done(phase):
    return lambda: any(path.stat().st_size for path in (WORK / "done" / phase).glob("*.jsonl"))


def workers():
    """Return the workers that run on the output here."""
    place, found = os.path.abspath("out.zarr").encode(), []
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0") if entry.name.isdigit() else ()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"worker" in words and place in words and b"emds" in words:
            found.append(int(entry.name))
    return found


def test_each_refusal_has_its_exit_code(inputs, emds_ok, emds_fails):
    out = ("--out", "out.zarr")
    assert "nothing to resume" in emds_fails(2, *SEGMENT, *out, "--resume")
    assert "nothing to merge" in emds_fails(2, "merge", "out.zarr")
    assert "must be K/N" in emds_fails(2, *SEGMENT, *out, "--shard", "4/3")
    assert "leave out --workers" in emds_fails(2, *SEGMENT, *out, "--shard", "1/3", "--workers", 2)
    emds_ok(*SEGMENT, *out, "--shard", "1/3")
    assert "--resume" in emds_fails(4, *SEGMENT, *out)
    assert "give one" in emds_fails(2, *SEGMENT, *out, "--resume", "--overwrite")
    changed = emds_fails(4, *SEGMENT, *out, "--resume", "--min-size", 5)
    assert "labels.min_size was 12, now 5" in changed
    for shard in ("2/3", "3/3"):
        emds_ok(*SEGMENT, *out, "--shard", shard)
    chunk = Path("out.zarr.partial/fragments/0/c/1/0/0")
    chunk.write_bytes(chunk.read_bytes()[:-1])
    damaged = emds_fails(5, "merge", "out.zarr")
    assert f"the chunk {chunk} is damaged" in damaged
    assert "could not be done" in damaged
    chunk.unlink()
    emds_ok("merge", "out.zarr")
    assert "--overwrite" in emds_fails(4, *SEGMENT, *out)
    assert "--overwrite" in emds_fails(4, *SEGMENT, *out, "--shard", "1/3")
    assert "it is complete" in emds_fails(2, *SEGMENT, *out, "--resume")


@pytest.mark.parametrize(
    "sent", [signal.SIGTERM, pytest.param(signal.SIGUSR1, marks=pytest.mark.slow)]
)
def test_a_signal_ends_with_75_and_the_run_can_be_resumed(inputs, emds_ok, sent):
    child = start(*DENOISE, "--out", "out.zarr")
    wait_for(has_done("predict"), child)
    child.send_signal(sent)
    _, stderr = child.communicate(timeout=120)
    assert child.returncode == 75, stderr
    assert "Continue with the same command and --resume" in stderr.splitlines()[-1]
    emds_ok(*DENOISE, "--out", "out.zarr", "--resume")
    Path("whole").mkdir()
    emds_ok(*DENOISE, "--out", "whole/out.zarr")
    assert contents(Path("out.zarr")) == contents(Path("whole/out.zarr"))


@pytest.mark.slow
def test_killed_with_9_and_resumed_is_undisturbed(inputs):
    child = start(*DENOISE, "--out", "out.zarr")
    wait_for(has_done("predict"), child)
    child.kill()
    child.communicate()
    before = {path: path.stat().st_mtime_ns for path in Path("out.zarr.partial/0").rglob("c/*/0/0")}
    assert 0 < len(before) < 10, "test invalid"
    finish(*DENOISE, "--out", "out.zarr", "--resume")
    kept = [
        path
        for path, time in before.items()
        if Path("out.zarr", *path.parts[1:]).stat().st_mtime_ns == time
    ]
    assert len(kept) >= len(before) - 1  # at most the one in hand is done again
    Path("whole").mkdir()
    finish(*DENOISE, "--out", "whole/out.zarr")
    assert contents(Path("out.zarr")) == contents(Path("whole/out.zarr"))


@pytest.mark.slow
def test_a_worker_that_is_killed_is_replaced(inputs):
    child = start(*DENOISE, "--out", "out.zarr", "--workers", 2)
    wait_for(has_done("predict"), child)
    os.kill(workers()[0], signal.SIGKILL)
    _, stderr = child.communicate(timeout=300)
    assert child.returncode == 0, stderr
    Path("whole").mkdir()
    finish(*DENOISE, "--out", "whole/out.zarr")
    assert contents(Path("out.zarr")) == contents(Path("whole/out.zarr"))


@pytest.mark.slow
def test_workers_end_after_their_block_when_their_scheduler_is_killed(inputs):
    child = start(*DENOISE, "--out", "out.zarr", "--workers", 2)
    wait_for(has_done("predict"), child)
    child.kill()
    child.communicate()
    finish(*DENOISE, "--out", "out.zarr", "--workers", 2, "--resume")
    Path("whole").mkdir()
    finish(*DENOISE, "--out", "whole/out.zarr")
    assert contents(Path("out.zarr")) == contents(Path("whole/out.zarr"))
    assert workers() == []


@pytest.mark.slow
def test_a_signal_to_a_run_stops_its_workers(inputs):
    write_grey(inputs / "deep.zarr", shape=(960, 24, 16))  # 60 blocks
    command = ("denoise", "deep.zarr", *DENOISE[2:])
    child = start(*command, "--out", "out.zarr", "--workers", 2)
    wait_for(has_done("predict"), child)
    child.terminate()
    _, stderr = child.communicate(timeout=120)
    assert child.returncode == 75, stderr
    assert workers() == []
    finish(*command, "--out", "out.zarr", "--resume")


@pytest.fixture
def full_disk(inputs):
    """A file system in memory that is too small, and a function that makes it larger."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    folder = inputs / "disk"
    folder.mkdir()
    mount = ("mount", "-t", "tmpfs", "-o")
    if subprocess.run([*mount, "size=40k", "tmpfs", str(folder)], check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield (
        folder,
        lambda: subprocess.run(["mount", "-o", "remount,size=64m", str(folder)], check=True),
    )
    subprocess.run(["umount", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk_is_told_and_the_run_can_be_resumed(inputs, full_disk, workers):
    folder, enlarge = full_disk
    command = (*DENOISE, "--out", "disk/out.zarr")
    stderr = finish(*command, "--workers", workers, code=1 if workers == 1 else 5)
    assert "No space left on device" in stderr
    assert "bug" not in stderr
    partial = folder / "out.zarr.partial"
    assert any((partial / ".emds/done/predict").iterdir()), "test invalid"
    enlarge()
    finish(*command, "--workers", workers, "--resume")
    Path("whole").mkdir()
    finish(*DENOISE, "--out", "whole/out.zarr")
    assert contents(folder / "out.zarr") == contents(Path("whole/out.zarr"))
