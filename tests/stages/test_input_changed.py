"""All blocks of an output are made from one input, or there is no output."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from small_runs import (
    SHAPE,
    InterruptedHereError,
    contents,
    interrupt_after,
    write_affinities,
    write_grey,
    write_mask,
)

from emds.errors import DataError
from emds.execution import Execution, Shard
from emds.io import open_volume
from emds.io.listing import Listing, list_files
from emds.stages import inputs
from emds.stages.execute import merge

pytestmark = pytest.mark.usefixtures("no_fsync")

UNSAMPLED = 3  # a section that is in none of the sixteen boxes of the input's identity


def write_as(kind: str, folder: Path) -> str:
    """The same grey values as one kind of file."""
    with open_volume(write_grey(folder / "grey.zarr"), role="raw") as volume:
        values = volume.read()
    if kind == "zarr":
        return str(folder / "grey.zarr")
    if kind == "hdf5":
        with h5py.File(folder / "grey.h5", "w") as file:
            file["raw"] = values
        return f"{folder}/grey.h5:raw"
    if kind == "tiff":
        tifffile.imwrite(folder / "grey.tif", values, photometric="minisblack")
        return str(folder / "grey.tif")
    (folder / "slices").mkdir()
    for z, section in enumerate(values):
        tifffile.imwrite(folder / f"slices/{z:03}.tif", section, photometric="minisblack")
    return str(folder / "slices")


def change(kind: str, folder: Path) -> str:
    """Change a voxel of a section that is not sampled, as an editor would; return what is named."""
    if kind == "zarr":
        zarr.open_array(str(folder / "grey.zarr/0"))[UNSAMPLED, 4, 5] ^= 1
        return f"{folder}/grey.zarr/0/c/0/0/0"
    if kind == "hdf5":
        copy = shutil.copy(folder / "grey.h5", folder / "copy.h5")  # who reads it has locked it
        with h5py.File(copy, "r+") as file:
            file["raw"][UNSAMPLED, 4, 5] ^= 1
        os.replace(copy, folder / "grey.h5")
        return f"{folder}/grey.h5"
    path = folder / ("grey.tif" if kind == "tiff" else f"slices/{UNSAMPLED:03}.tif")
    values = tifffile.imread(path)
    values[(UNSAMPLED, 4, 5) if kind == "tiff" else (4, 5)] ^= 1
    tifffile.imwrite(path, values, photometric="minisblack")
    return str(path)


KINDS = ("zarr", "hdf5", "tiff", "slices")


@pytest.fixture
def example(examples, tmp_path, request):
    """The run on a copy of the input of its own, of the kind that is the parameter."""
    chosen = examples["run"].with_options(voxel_size=(40.0, 10.0, 10.0))
    return chosen.but(source=write_as(getattr(request, "param", "zarr"), tmp_path))


def begin(example, folder):
    with pytest.raises(InterruptedHereError):
        example.run(folder, progress=interrupt_after(3))
    assert any((folder / "out.zarr.partial/.emds/done/predict").iterdir()), "test invalid"


@pytest.mark.parametrize(("example", "kind"), [(k, k) for k in KINDS], indirect=["example"])
def test_a_voxel_changed_before_a_resume_is_refused_and_the_file_named(example, tmp_path, kind):
    out = tmp_path / "out"
    begin(example, out)
    named = change(kind, tmp_path)
    kept = {path.name for path in (out / "out.zarr.partial").rglob("*")}
    for how in ({"resume": True}, {"execution": Execution(shard=Shard(0, 2))}):
        with pytest.raises(DataError, match="is not what it was when block 0") as refused:
            example.run(out, **how)
        assert refused.value.exit_code == 3
        assert f"({named} is another file now)" in str(refused.value)
    with pytest.raises(DataError, match="is not what it was"):
        merge(out / "out.zarr")
    assert not (out / "out.zarr").exists()
    assert kept <= {path.name for path in (out / "out.zarr.partial").rglob("*")}


@pytest.mark.parametrize(("example", "kind"), [(k, k) for k in KINDS], indirect=["example"])
def test_a_voxel_changed_while_a_run_goes_on_keeps_the_output_from_its_name(
    example, tmp_path, kind
):
    def progress(done, total, what):
        if (what, done) == ("blocks segmented", 1):
            change(kind, tmp_path)

    with pytest.raises(DataError, match="is not what it was when block 0"):
        example.run(tmp_path / "out", progress=progress)
    assert not (tmp_path / "out/out.zarr").exists()


def test_an_input_replaced_between_two_shards_is_refused_by_the_second(example, tmp_path):
    example.run(tmp_path / "out", execution=Execution(shard=Shard(0, 2)))
    shutil.rmtree(tmp_path / "grey.zarr")
    write_grey(tmp_path / "grey.zarr", changed=(UNSAMPLED, 4, 5))
    with pytest.raises(DataError, match="is not what it was"):
        example.run(tmp_path / "out", execution=Execution(shard=Shard(1, 2)))


def test_a_change_where_no_block_that_is_done_has_read_is_no_reason_to_refuse(example, tmp_path):
    """What comes out is what comes of the input that is there now."""
    example.run(tmp_path / "out", execution=Execution(shard=Shard(0, 3)))  # sections 0 to 15
    zarr.open_array(str(tmp_path / "grey.zarr/0"))[34, 4, 5] ^= 1
    out = example.run(tmp_path / "out", resume=True)
    assert contents(out) == contents(example.run(tmp_path / "whole"))


@pytest.mark.parametrize("how", ["touched", "copied", "moved by its metadata"])
def test_the_same_voxels_in_other_files_are_read_again_and_gone_on_with(
    example, tmp_path, caplog, how
):
    begin(example, tmp_path / "out")
    chunk = tmp_path / "grey.zarr/0/c/0/0/0"
    if how == "touched":
        os.utime(chunk)
    elif how == "copied":
        (tmp_path / "elsewhere").mkdir()
        shutil.copytree(tmp_path / "grey.zarr", tmp_path / "elsewhere/grey.zarr")
        shutil.rmtree(tmp_path / "grey.zarr")
        example = example.but(source=str(tmp_path / "elsewhere/grey.zarr"))
    else:
        path = tmp_path / "grey.zarr/zarr.json"
        path.write_text(path.read_text() + "\n")
    out = example.run(tmp_path / "out", resume=True)
    assert caplog.text.count("reading again what") == 1  # and not once more at the end
    assert not (tmp_path / "out/out.zarr.partial").exists()
    assert zarr.open_array(str(out / "0"))[:].any()


def test_times_put_back_hide_nothing(example, tmp_path):
    begin(example, tmp_path / "out")
    chunk = tmp_path / "grey.zarr/0/c/0/0/0"
    before = chunk.stat()
    change("zarr", tmp_path)
    content = chunk.read_bytes()
    chunk.write_bytes(content[: before.st_size].ljust(before.st_size, b"\0"))
    os.utime(chunk, ns=(before.st_atime_ns, before.st_mtime_ns))
    with pytest.raises(DataError):
        example.run(tmp_path / "out", resume=True)


@pytest.mark.parametrize("how", ["files", "full"])
def test_where_sizes_and_times_say_nothing_full_reads_all_again(
    example, tmp_path, monkeypatch, how
):
    """As on a file system that keeps no times."""
    same = Listing({}, ("", ""))
    monkeypatch.setattr(inputs, "list_files", lambda *volumes: same)
    monkeypatch.setattr("emds.stages.execute.list_files", lambda *volumes: same)
    begin(example, tmp_path / "out")
    change("zarr", tmp_path)
    if how == "files":
        example.run(tmp_path / "out", resume=True)
        return
    with pytest.raises(DataError, match="is not what it was when block 0"):
        example.run(tmp_path / "out", resume=True, verify_input="full")


def test_full_passes_where_nothing_changed(example, tmp_path):
    told = []
    out = example.run(
        tmp_path / "out", verify_input="full", progress=lambda *step: told.append(step)
    )
    assert (3, 3, "blocks of the input read again") in told
    assert contents(out) == contents(example.run(tmp_path / "whole"))


@pytest.mark.parametrize("changed", ["affinities", "mask"])
def test_affinities_and_masks_are_inputs_as_well(examples, tmp_path, changed):
    source, mask = write_affinities(tmp_path / "a.zarr"), write_mask(tmp_path / "m.zarr")
    example = examples["segment"].but(source=str(source), mask=str(mask))

    def progress(done, total, what):
        if (what, done) == ("blocks connected", 2):
            if changed == "mask":
                zarr.open_array(str(mask / "0"))[UNSAMPLED] = 0
            else:
                zarr.open_array(str(source / "0"))[:, UNSAMPLED] ^= 1

    with pytest.raises(DataError, match="is not what it was when block 0"):
        example.run(tmp_path / "out", progress=progress)
    assert not (tmp_path / "out/out.zarr").exists()


@pytest.mark.parametrize("mask", ["plain", "reserved", "larger"])
@pytest.mark.parametrize("how", ["files", "full"])
def test_a_mask_that_nobody_touched_is_what_it_was(examples, tmp_path, caplog, mask, how):
    """Also one that is used otherwise than it is stored: without reserved ids, or cut."""
    source = write_affinities(tmp_path / "a.zarr")
    ids = np.ones(SHAPE, np.uint64)
    ids[5:30, 3:9] = 2**64 - 3 if mask == "reserved" else 0
    offset = (0.0, 0.0, 0.0)
    if mask == "larger":
        ids, offset = np.pad(ids, 2), (-2.0, -2.0, -2.0)
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file["labels"] = ids
        file["labels"].attrs.update({"offset": offset, "units": "voxel"})
    example = examples["segment"].but(source=str(source), mask=f"{tmp_path}/m.h5:labels")
    example.run(tmp_path / "out", verify_input=how)
    assert "was changed" not in caplog.text


def test_a_listing_has_the_files_of_the_array_and_no_others(tmp_path):
    write_grey(tmp_path / "grey.zarr")
    with open_volume(tmp_path / "grey.zarr", role="raw") as volume:
        before = list_files(volume, None)
        assert set(before.files) == {
            *("0/zarr.json", "0/0/zarr.json"),
            *(f"0/0/c/{z}/0/0" for z in range(3)),
        }
        zarr.open_group(str(tmp_path / "grey.zarr"))["0"].store  # noqa: B018
        (tmp_path / "grey.zarr/labels").mkdir()
        (tmp_path / "grey.zarr/labels/zarr.json").write_text("{}")
        assert list_files(volume, None).digest == before.digest
        (tmp_path / "grey.zarr/0/c/1/0/0").unlink()
        now = list_files(volume, None)
        assert now.digest != before.digest
        before.save(tmp_path / "kept")
        named = now.changed_since(tmp_path / "kept", before.digest)
        assert named == str(tmp_path / "grey.zarr/0/c/1/0/0")
        assert now.changed_since(tmp_path / "kept", "unknown") is None
