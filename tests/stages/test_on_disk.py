"""What gets its name, or counts as done, is on disk: a crash of the machine takes nothing back."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from small_runs import write_checkpoint, write_grey

from emds.execution import DoneLog, RunRecord
from emds.io import create_volume
from emds.io.levels import GrowingImage
from emds.networks.checkpoint import save_atomically
from emds.stages.pyramid import pyramid
from emds.stages.tables import Tables


class Disk:
    """Knows of every file what was flushed, as of the time when it was.

    Renaming something of which the disk holds less than the file system shows is a fault.
    """

    def __init__(self, monkeypatch):
        self.flushed = {}
        self.renamed = []
        self.faults = []
        self.watch = lambda path: None
        for name in ("replace", "rename"):
            monkeypatch.setattr(os, name, self._watched(getattr(os, name)))
        self._fsync = os.fsync
        monkeypatch.setattr(os, "fsync", self.fsync)

    def fsync(self, handle):
        self._fsync(handle)
        found = os.fstat(handle)
        self.flushed[found.st_dev, found.st_ino] = (found.st_size, found.st_mtime_ns)
        self.watch(found)

    def holds(self, path):
        found = os.stat(path)
        then = self.flushed.get((found.st_dev, found.st_ino))
        return then == (found.st_size, found.st_mtime_ns)

    def missing(self, place):
        below = [Path(folder, name) for folder, _, names in os.walk(place) for name in names]
        return [path for path in (below or [place]) if not self.holds(path)]

    def _watched(self, rename):
        def watched(source, target, **how):
            frame = sys._getframe(1)
            while "pathlib" in frame.f_code.co_filename:
                frame = frame.f_back
            # Libraries rename what they write, too; that counts when emds says that it is done.
            if frame.f_globals["__name__"].startswith("emds."):
                if ".replaced." not in str(target):
                    self.faults += self.missing(Path(source))
                self.renamed.append(Path(target))
            return rename(source, target, **how)

        return watched


@pytest.fixture
def disk(monkeypatch):
    return Disk(monkeypatch)


def write_volume(path):
    values = np.random.default_rng(0).integers(0, 9, (4, 40, 40)).astype(np.uint8)
    with create_volume(path, shape=values.shape, dtype="u1", chunk_shape=(2, 20, 20)) as volume:
        volume.write(volume.roi, values)


WRITERS = {
    "model.pt": lambda path: save_atomically({"weights": torch.arange(9)}, path),
    "run.json": lambda path: RunRecord({"a": 1}, {"b": 2}).save(path),
    "tables/fragments/3.npz": lambda path: Tables(path.parents[1]).save(
        "fragments", 3, ids=np.arange(5)
    ),
    "tables/ids.npy": lambda path: Tables(path.parent).save_column("ids", np.arange(5)),
    "out.zarr": write_volume,
    "out.h5": write_volume,
    "out.tif": write_volume,
}


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_is_on_disk_before_it_gets_its_name(tmp_path, disk, name):
    WRITERS[name](tmp_path / name)
    assert (tmp_path / name).exists()
    assert tmp_path / name in disk.renamed
    assert disk.faults == []


@pytest.mark.parametrize("name", ["out.zarr", "out.h5", "out.tif"])
def test_the_new_name_of_an_output_is_on_disk_too(tmp_path, disk, name):
    write_volume(tmp_path / name)
    assert disk.holds(tmp_path)


def test_a_block_that_counts_as_done_is_on_disk(tmp_path, disk):
    with DoneLog(tmp_path / "log") as log:
        for block in range(3):
            log.append(block)
            (file,) = (tmp_path / "log").iterdir()
            assert disk.holds(file)
            assert len(file.read_bytes().splitlines()) == block + 1


@pytest.mark.parametrize("command", ["run", "segment"])
def test_all_that_a_block_wrote_is_on_disk_when_it_counts_as_done(
    tmp_path, examples, disk, command
):
    """Chunks, tables and the log are looked at whenever a line of the log is flushed."""
    partial = tmp_path / "out.zarr.partial"
    seen = set()

    def watch(found):
        logs = {path.stat().st_ino: path for path in partial.glob(".emds/done/*/done-*.jsonl")}
        if found.st_ino not in logs:
            return
        lines = logs[found.st_ino].read_text().splitlines()
        seen.add((logs[found.st_ino].parent.name, json.loads(lines[-1])["block"]))
        files = [path for path in partial.rglob("*") if path.is_file()]
        chunks = [path for path in files if "c" in path.parts or path.suffix in (".npz", ".npy")]
        assert chunks
        disk.faults.extend(path for path in chunks if not disk.holds(path))

    disk.watch = watch
    out = examples[command].run(tmp_path)
    assert disk.faults == []
    phases = {phase for phase, _ in seen}
    assert phases >= {"contract", "connect", "solve", "relabel", "finish"}, seen
    assert ("predict" in phases) == (command == "run")
    assert out in disk.renamed
    assert disk.holds(tmp_path)


def test_a_lower_resolution_is_on_disk_before_it_is_named(tmp_path, disk, monkeypatch):
    path = write_grey(tmp_path / "grey.zarr")
    named = []
    publish = GrowingImage.publish

    def watched(image, factor, method):
        named.append(image.count)
        disk.faults += disk.missing(path / str(image.count))
        publish(image, factor, method)

    monkeypatch.setattr(GrowingImage, "publish", watched)
    pyramid(path, levels=2)
    assert named == [1, 2]
    assert disk.faults == []
    assert disk.missing(path) == []


def test_a_replaced_checkpoint_is_on_disk_before_the_old_one_goes(tmp_path, disk):
    for seed in (0, 1):
        write_checkpoint(tmp_path / "model.pt", seed)
    assert disk.renamed == [tmp_path / "model.pt"] * 2
    assert disk.faults == []
