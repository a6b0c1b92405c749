"""What is lost or damaged under way is made again or told, and never becomes part of the result."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_runs import InterruptedHereError, contents, interrupt_after

from emds.errors import IncompleteError, VolumeError
from emds.io import open_volume
from emds.io.zarr_output import Container
from emds.stages.tables import Tables

pytestmark = pytest.mark.usefixtures("no_fsync")

WORK = ".emds"
PHASES = ("contract", "number", "connect", "solve", "touch", "absorb", "relabel")
LOST = (
    *("fragments/0/c/1/0/0", "labels/neurons/0/c/0/0/0"),
    *(f"{WORK}/tables/{name}/1.npz" for name in ("contract", "connect", "groups-1", "touch")),
    f"{WORK}/tables/segments/2.npz",
    *(f"{WORK}/tables/{name}.npy" for name in ("starts", "segment_sizes", "joined")),
    *(f"{WORK}/done/{phase}" for phase in PHASES),
    f"{WORK}/done",
    f"{WORK}/tables",
)


@pytest.fixture(scope="module")
def nearly(examples, tmp_path_factory):
    """Each example's output when all but a label block is done."""
    folders = {}
    for name, steps in (("segment", 20), ("run", 24)):
        folders[name] = tmp_path_factory.mktemp(f"nearly-{name}")
        with pytest.raises(InterruptedHereError):
            examples[name].run(folders[name], progress=interrupt_after(steps))
        partial = folders[name] / "out.zarr.partial"
        assert len(list(partial.glob("labels/neurons/0/c/*/0/0"))) == 2, "test invalid"
    return folders


@pytest.fixture
def unfinished(nearly, tmp_path):
    """Return a function that gives a copy of a nearly complete output."""

    def copy(name: str) -> Path:
        folder = tmp_path / "unfinished"
        shutil.copytree(nearly[name], folder)
        return folder / "out.zarr.partial"

    return copy


def flip(path: Path, place: float = 0.5) -> None:
    content = bytearray(path.read_bytes())
    content[int(place * len(content))] ^= 16
    path.write_bytes(content)


def resume_with_mending(example, partial: Path) -> tuple[Path, list[str]]:
    """Resume, doing what errors say, and return the output and the files they named."""
    named = []
    while True:
        try:
            return example.run(partial.parent, resume=True), named
        except IncompleteError as error:
            assert error.exit_code == 5  # noqa: PT017  (it may not come)
            (found, *_) = re.findall(rf"{partial}/[^\s,:()]+", str(error))
            named.append(str(Path(found).relative_to(partial)))
            Path(found).unlink()


@pytest.mark.parametrize("lost", LOST)
def test_what_is_lost_before_a_resume_is_made_again(examples, references, unfinished, lost):
    partial = unfinished("segment")
    path = partial / lost
    assert path.exists(), "test invalid"
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    out = examples["segment"].run(partial.parent, resume=True)
    assert contents(out) == references["segment"]


@pytest.mark.parametrize(
    "lost", ["0/c/1/0/0", "affinities/0/c/4/2/0/0", "labels/neurons/0/c/1/0/0"]
)
def test_what_is_lost_of_a_prediction_is_predicted_again(examples, references, unfinished, lost):
    partial = unfinished("run")
    (partial / lost).unlink()
    assert contents(examples["run"].run(partial.parent, resume=True)) == references["run"]


@pytest.mark.parametrize("phase", PHASES)
def test_a_damaged_line_of_a_log_costs_its_block_alone(examples, references, unfinished, phase):
    partial = unfinished("segment")
    (log,) = (partial / WORK / "done" / phase).iterdir()
    flip(log, 0.3)
    log.write_bytes(log.read_bytes()[:-3])
    assert contents(examples["segment"].run(partial.parent, resume=True)) == references["segment"]


@pytest.mark.parametrize("lost", [path for path in LOST if path.endswith((".npz", ".npy"))])
def test_a_damaged_table_is_never_believed(examples, references, unfinished, lost):
    """It is read where something that needs it is to be made."""
    partial = unfinished("segment")
    flip(partial / lost)
    for phase in ("number", "connect", "solve", "touch", "absorb"):
        needs = {"number": ("contract",), "connect": (), "solve": ("connect",)}
        if any(f"tables/{name}/" in lost for name in needs.get(phase, ())):
            shutil.rmtree(partial / WORK / "done" / phase)
    out, named = resume_with_mending(examples["segment"], partial)
    assert contents(out) == references["segment"]
    assert set(named) <= {lost}
    if lost.endswith(("segments/2.npz", "joined.npy")):
        assert named == [lost]  # the last phase reads them


@pytest.mark.parametrize(
    ("name", "chunk", "undone", "blocks"),
    [
        ("segment", "fragments/0/c/2/0/0", "relabel", [2]),
        ("segment", "fragments/0/c/2/0/0", "connect", [1, 2]),
        ("run", "affinities/0/c/4/1/0/0", "contract", [0, 1, 2]),
    ],
)
def test_a_flipped_bit_in_a_chunk_is_told_with_its_name(
    examples, references, unfinished, name, chunk, undone, blocks
):
    partial = unfinished(name)
    flip(partial / chunk)
    shutil.rmtree(partial / WORK / "done" / undone)
    with pytest.raises(IncompleteError) as failed:
        examples[name].run(partial.parent, resume=True)
    assert re.findall(r"block (\d) \(", str(failed.value)) == [str(n) for n in blocks]
    assert f"the chunk {partial / chunk} is damaged" in str(failed.value)
    out, named = resume_with_mending(examples[name], partial)
    assert named == [chunk]
    assert contents(out) == references[name]


def test_a_flipped_bit_in_a_result_is_told_to_its_reader(examples, unfinished):
    partial = unfinished("segment")
    flip(partial / "labels/neurons/0/c/0/0/0")
    out = examples["segment"].run(partial.parent, resume=True)
    with pytest.raises(VolumeError, match="damaged"):
        open_volume(out, role="labels").read()


@pytest.mark.parametrize("place", np.linspace(0, 0.999, 12).round(3).tolist())
def test_wherever_a_bit_flips_in_a_chunk_it_is_told_or_changes_nothing(
    examples, references, unfinished, place
):
    partial = unfinished("segment")
    flip(partial / "fragments/0/c/2/0/0", place)
    out, named = resume_with_mending(examples["segment"], partial)
    assert named in ([], ["fragments/0/c/2/0/0"])
    assert contents(out) == references["segment"]


@pytest.mark.parametrize(
    "lost", ["fragments/0/c/1/0/0", f"{WORK}/tables/contract/1.npz", f"{WORK}/tables/starts.npy"]
)
def test_what_is_lost_while_a_run_goes_on_is_told(examples, references, tmp_path, lost):
    """A lost chunk would read as zeros, were it not looked for."""
    example = examples["segment"]
    partial = tmp_path / "out.zarr.partial"

    def progress(done, total, what):
        if (what, done) in (("blocks connected", 0), ("graph solved", 0)):
            (partial / lost).unlink(missing_ok=True)

    with pytest.raises(IncompleteError, match=re.escape(f"{partial / lost}")):
        example.run(tmp_path, progress=progress)
    assert not (tmp_path / "out.zarr").exists()
    assert contents(example.run(tmp_path, resume=True)) == references["segment"]


@pytest.mark.parametrize(
    ("lost", "words"),
    [
        ("labels/neurons/0/c/0/0/0", r"1 of 3 blocks could not be done \(blocks labelled\)"),
        ("fragments/0/c/1/0/0", "1 of 3 blocks segmented were lost"),
        (f"{WORK}/tables/starts.npy", "1 of 1 fragments numbered were lost"),
    ],
)
def test_what_is_lost_at_the_very_end_keeps_an_output_from_its_name(
    examples, references, tmp_path, lost, words
):
    example = examples["segment"]

    def progress(done, total, what):
        if what == "blocks labelled" and done == total:
            (tmp_path / "out.zarr.partial" / lost).unlink()

    with pytest.raises(IncompleteError, match=f"{words}.*--resume"):
        example.run(tmp_path, progress=progress)
    assert contents(example.run(tmp_path, resume=True)) == references["segment"]


@pytest.mark.parametrize("lost", ["labels/neurons/0/c/0/0/0", "0/c/2/0/0"])
def test_what_is_lost_after_a_kill_while_finishing_is_made_again(
    examples, references, tmp_path, monkeypatch, lost
):
    """Though what it was made from is gone already."""

    def kill(self):
        raise InterruptedHereError

    with monkeypatch.context() as patched:
        patched.setattr(Container, "commit", kill)
        with pytest.raises(InterruptedHereError):
            examples["run"].run(tmp_path)
    partial = tmp_path / "out.zarr.partial"
    assert not (partial / "fragments").exists(), "test invalid"
    (partial / lost).unlink()
    assert contents(examples["run"].run(tmp_path, resume=True)) == references["run"]
    assert os.listdir(tmp_path) == ["out.zarr"]


@pytest.mark.parametrize("kind", ["table", "column"])
def test_any_byte_that_changes_in_a_table_is_noticed(tmp_path, kind):
    tables = Tables(tmp_path)
    values = np.arange(50, dtype=np.uint32)
    tables.save("table", 3, values=values)
    tables.save_column("column", values)
    path = tmp_path / ("table/3.npz" if kind == "table" else "column.npy")
    whole = path.read_bytes()
    noticed = 0
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        try:
            found = (
                tables.load("table", 3) if kind == "table" else {"values": tables.column("column")}
            )
        except IncompleteError as error:
            assert str(path) in str(error)  # noqa: PT017  (it may not come)
            noticed += 1
            continue
        assert found.keys() == {"values"}
        np.testing.assert_array_equal(found["values"], values)
    assert noticed == len(whole) if kind == "column" else noticed > values.nbytes
    for length in (0, 1, 3, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(IncompleteError, match="lost or damaged"):
            tables.load("table", 3) if kind == "table" else tables.column("column")


def test_an_empty_column_is_a_column(tmp_path):
    tables = Tables(tmp_path)
    tables.save_column("empty", np.zeros(0, np.uint64))
    assert tables.column("empty").shape == (0,)
