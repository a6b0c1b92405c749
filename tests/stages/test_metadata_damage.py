"""What a run keeps of itself beside voxels is mended or told when a bit of it is wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from small_runs import InterruptedHereError, contents, interrupt_after

from emds.errors import EmdsError, IncompleteError, OutputExistsError
from emds.io import open_volume
from emds.stages.check import check
from emds.stages.pyramid import pyramid

pytestmark = pytest.mark.usefixtures("no_fsync")

NODES = ("zarr.json", "0/zarr.json", "labels/zarr.json", "labels/neurons/zarr.json")
NODES += ("labels/neurons/0/zarr.json",)
SEGMENT_NODES = ("zarr.json", "fragments/zarr.json", "fragments/0/zarr.json", *NODES[2:])


@pytest.fixture(scope="module")
def finished(examples, tmp_path_factory):
    return {n: examples[n].run(tmp_path_factory.mktemp(f"whole-{n}")) for n in ("run", "segment")}


@pytest.fixture(scope="module")
def begun(examples, tmp_path_factory):
    """Each example with one block of labels to do."""
    folders = {}
    for name, steps in (("segment", 20), ("run", 24)):
        folders[name] = tmp_path_factory.mktemp(f"begun-{name}")
        with pytest.raises(InterruptedHereError):
            examples[name].run(folders[name], progress=interrupt_after(steps))
    return folders


def flip(path: Path, bit: int) -> None:
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def meaning(path: Path) -> object:
    """What a JSON file says: not every bit of it says something."""
    try:
        return json.loads(path.read_bytes())
    except ValueError:
        return None


def complaint(out: Path) -> str | None:
    try:
        return check(out).complaint()
    except EmdsError as error:
        return str(error)


def test_a_finished_output_is_sealed_and_whole(finished):
    for out in finished.values():
        assert complaint(out) is None
        for path in out.rglob("zarr.json"):
            assert len(meaning(path)["attributes"]["emds_seal"]["sha256"]) == 64
        nodes = meaning(out / "zarr.json")["attributes"]["emds_seal"]["nodes"]
        folders = {path.parent.relative_to(out).as_posix() for path in out.rglob("zarr.json")}
        assert set(nodes) == folders


@pytest.mark.parametrize("node", NODES)
def test_a_wrong_bit_in_the_metadata_of_an_output_is_told(finished, tmp_path, node):
    """Any bit: of a shape, a voxel size, the provenance, a key, or of the seal itself."""
    out = Path(shutil.copytree(finished["run"], tmp_path / "out.zarr"))
    path, whole = out / node, meaning(out / node)
    size = 8 * path.stat().st_size
    rng = np.random.default_rng(len(node))
    told = 0
    for bit in rng.integers(0, size, 40).tolist():
        flip(path, bit)
        if meaning(path) != whole:
            assert complaint(out) is not None, (node, bit)
            told += 1
        flip(path, bit)
    assert told > 15, "test invalid"
    assert complaint(out) is None, "test invalid"


@pytest.mark.parametrize("node", NODES)
def test_a_node_whose_metadata_are_gone_is_told(finished, tmp_path, node):
    out = Path(shutil.copytree(finished["run"], tmp_path / "out.zarr"))
    (out / node).unlink()
    assert complaint(out) is not None


@pytest.mark.parametrize(
    ("node", "change"),
    [
        ("zarr.json", lambda doc: doc["attributes"].update(mine=1)),
        ("zarr.json", lambda doc: doc["attributes"]["ome"].update(omero={"channels": []})),
        ("0/zarr.json", lambda doc: doc["attributes"].update(seen_by="a viewer")),
        (
            "labels/neurons/zarr.json",
            lambda doc: doc["attributes"]["ome"]["image-label"].update(colors=[]),
        ),
    ],
)
def test_what_viewers_add_breaks_no_seal(finished, tmp_path, node, change):
    out = Path(shutil.copytree(finished["run"], tmp_path / "out.zarr"))
    document = meaning(out / node)
    change(document)
    (out / node).write_text(json.dumps(document))
    assert complaint(out) is None


def test_a_voxel_size_that_a_user_mends_is_told_and_read(finished, tmp_path):
    out = Path(shutil.copytree(finished["run"], tmp_path / "out.zarr"))
    document = meaning(out / "zarr.json")
    (level,) = document["attributes"]["ome"]["multiscales"][0]["datasets"]
    (scale,) = [t for t in level["coordinateTransformations"] if t["type"] == "scale"]
    scale["scale"] = [50.0, 5.0, 5.0]
    (out / "zarr.json").write_text(json.dumps(document))
    assert f"the metadata of {out} are not as emds wrote them" in complaint(out)
    with open_volume(out, role="raw") as volume:
        assert volume.voxel_size == (50.0, 5.0, 5.0)


def test_levels_are_sealed_as_well_and_bless_no_damage(finished, tmp_path):
    out = Path(shutil.copytree(finished["run"], tmp_path / "out.zarr"))
    pyramid(out, levels=1)
    assert complaint(out) is None
    for node in ("1/zarr.json", "labels/neurons/1/zarr.json", "labels/neurons/zarr.json"):
        document = meaning(out / node)
        text = (out / node).read_text()
        document["attributes"]["emds"]["role"] = "other"
        (out / node).write_text(json.dumps(document))
        assert str((out / node).parent) in complaint(out)
        (out / node).write_text(text)
    document = meaning(out / "labels/neurons/zarr.json")
    document["attributes"]["emds"]["tile"] = [1, 2, 3]
    (out / "labels/neurons/zarr.json").write_text(json.dumps(document))
    pyramid(out, levels=2)
    assert f"the metadata of {out / 'labels/neurons'} are not" in complaint(out)


@pytest.mark.parametrize("node", SEGMENT_NODES)
@pytest.mark.parametrize("damage", ["bit", "text", "lost"])
def test_metadata_damaged_before_a_resume_are_mended(
    examples, references, begun, tmp_path, caplog, node, damage
):
    partial = Path(shutil.copytree(begun["segment"], tmp_path / "run")) / "out.zarr.partial"
    path = partial / node
    text = path.read_text()
    if damage == "bit":
        flip(path, 8 * text.index(":") + 8 * 20)
    elif damage == "text":
        path.write_text(text[: len(text) // 2])
    else:
        path.unlink()
    out = examples["segment"].run(partial.parent, resume=True)
    assert contents(out) == references["segment"]
    assert f"{path} was lost or damaged and is mended" in caplog.text


def test_metadata_damaged_while_a_run_goes_on_are_mended(examples, references, tmp_path):
    node = tmp_path / "out.zarr.partial/labels/neurons/zarr.json"

    def progress(done, total, what):
        if (what, done) == ("blocks labelled", 1):
            node.write_text(node.read_text().replace("neurons", "neutrons"))

    assert contents(examples["segment"].run(tmp_path, progress=progress)) == references["segment"]


def test_a_commit_killed_after_the_seal_is_no_damage(
    examples, references, tmp_path, monkeypatch, caplog
):
    from emds.io.output import PendingOutput

    def kill(self):
        raise InterruptedHereError

    with monkeypatch.context() as patched:
        patched.setattr(PendingOutput, "commit", kill)
        with pytest.raises(InterruptedHereError):
            examples["segment"].run(tmp_path)
    assert contents(examples["segment"].run(tmp_path, resume=True)) == references["segment"]
    assert "mended" not in caplog.text


@pytest.mark.parametrize("name", ["run.json", "metadata.json"])
def test_a_wrong_bit_in_what_says_what_the_run_is_is_refused_and_keeps_all(
    examples, begun, tmp_path, name
):
    partial = Path(shutil.copytree(begun["segment"], tmp_path / "run")) / "out.zarr.partial"
    path = partial / ".emds" / name
    whole = meaning(path)
    rng = np.random.default_rng(0)
    refused = 0
    for bit in rng.integers(0, 8 * path.stat().st_size, 30).tolist():
        flip(path, bit)
        if meaning(path) != whole:
            with pytest.raises(OutputExistsError, match=f"{name} is .*damaged"):
                examples["segment"].run(partial.parent, resume=True)
            refused += 1
        flip(path, bit)
    assert refused > 10, "test invalid"
    assert any((partial / ".emds/done").glob("*/*"))


def test_a_note_of_a_failure_that_is_no_text_is_no_bug(begun, tmp_path):
    from emds.stages.runner import Notes

    (tmp_path / "failed/predict").mkdir(parents=True)
    (tmp_path / "failed/predict/3.txt").write_bytes(b"cannot \xff read")
    assert "cannot" in Notes(tmp_path, "predict").failure(3)


def silent_in_output(whole: Path, folder: Path, rng: np.random.Generator) -> str | None:
    """Flip a bit of a copy of an output; name the file if that says something and is not told."""
    out = Path(shutil.copytree(whole, folder / "out.zarr"))
    files = sorted(path for path in out.rglob("*") if path.is_file())
    path = files[rng.integers(len(files))]
    before = meaning(path) if path.name == "zarr.json" else open_all(out)
    flip(path, int(rng.integers(8 * path.stat().st_size)))
    told = complaint(out)
    if told is None:
        after = meaning(path) if path.name == "zarr.json" else open_all(out)
        if before != after:
            return str(path)
    return None


def open_all(out: Path) -> list[bytes]:
    values = []
    for role in ("raw", "labels"):
        with open_volume(out, role=role) as volume:
            values.append(volume.read().tobytes())
    return values


def silent_in_work(example, reference, begun: Path, folder: Path, rng) -> str | None:
    """Flip a bit of an unfinished output and resume; name the file if that ends wrong, unheard."""
    partial = Path(shutil.copytree(begun, folder / "run")) / "out.zarr.partial"
    files = sorted(p for p in partial.rglob("*") if p.is_file() and p.stat().st_size)
    path = files[rng.integers(len(files))]
    flip(path, int(rng.integers(8 * path.stat().st_size)))
    try:
        out = example.run(partial.parent, resume=True)
    except (IncompleteError, OutputExistsError):
        return None
    if contents(out) == reference or complaint(out) is not None:
        return None
    return str(path)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_of_two_hundred_wrong_bits_none_is_silent(
    examples, references, finished, begun, tmp_path, seed
):
    rng = np.random.default_rng(seed)
    silent = []
    for number in range(25):
        folder = tmp_path / str(number)
        folder.mkdir()
        silent.append(silent_in_output(finished["run"], folder, rng))
        name = "run" if number % 5 == 0 else "segment"
        silent.append(silent_in_work(examples[name], references[name], begun[name], folder, rng))
        shutil.rmtree(folder)
    assert [path for path in silent if path] == []
