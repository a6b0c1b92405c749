"""Each array of a zarr speaks for itself: not its group, not its neighbours, no other file."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from layouts import edit_json, flip_bit

from emds.errors import VolumeError
from emds.io import describe, open_volume
from emds.io.stored import open_stored

VOLUME = np.arange(5 * 6 * 7, dtype=np.uint8).reshape(5, 6, 7)
VERSIONS = [2, 3]


def container(folder: Path, version: int, **arrays: np.ndarray) -> Path:
    group = zarr.open_group(str(folder / "a.zarr"), mode="w", zarr_format=version)
    for name, values in (arrays or {"raw": VOLUME}).items():
        group.create_array(name, data=values, chunks=values.shape)
    return folder / "a.zarr"


def metadata_of(array: Path, version: int) -> Path:
    return array / (".zarray" if version == 2 else "zarr.json")


def chunk_of(array: Path, version: int) -> Path:
    return array / ("0.0.0" if version == 2 else "c/0/0/0")


# Consolidated metadata.


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
@pytest.mark.parametrize("version", VERSIONS)
def test_an_array_that_grew_after_its_group_was_consolidated(version: int, tmp_path: Path) -> None:
    path = container(tmp_path, version, raw=VOLUME[:2], gone=VOLUME)
    zarr.open_array(f"{path}/raw", mode="r+").attrs["resolution"] = [1, 1, 1]
    zarr.consolidate_metadata(str(path))
    array = zarr.open_array(f"{path}/raw", mode="r+")
    array.append(VOLUME[2:])
    array.attrs["resolution"] = [40, 4, 5]
    shutil.rmtree(path / "gone")
    zarr.create_array(str(path / "new"), data=VOLUME[0], zarr_format=version)
    for location in (path, path / "raw"):
        with open_volume(location, role="raw") as volume:
            assert volume.voxel_size == (40, 4, 5)
            np.testing.assert_array_equal(volume.read(), VOLUME)
    names = [Path(array["location"]).name for array in describe(path)["arrays"]]
    assert names == ["new", "raw"]


# Members that cannot be opened.


def spoil(file: Path, version: int, how: str) -> None:
    changes: dict[str, Any] = {
        "type": {"dtype": "|O"} if version == 2 else {"data_type": {"name": "optional"}},
        "codec": {"compressor": {"id": "unheard"}}
        if version == 2
        else {"codecs": [{"name": "bytes"}, {"name": "unheard"}]},
        "shape": {"shape": "large"},
        "attributes": {} if version == 2 else {"attributes": [1]},
    }
    if how in changes:
        edit_json(file, **changes[how])
        if (how, version) == ("attributes", 2):
            (file.parent / ".zattrs").write_text("[1]")
    else:
        file.write_text(how)


SPOILT = ["type", "codec", "shape", "attributes", "", "{", "null", "[]", '{"a": ' * 3000]


@pytest.mark.filterwarnings("ignore:Consolidated metadata")
@pytest.mark.parametrize("how", SPOILT, ids=range(len(SPOILT)))
@pytest.mark.parametrize("version", VERSIONS)
def test_an_unreadable_member_leaves_the_others(version: int, how: str, tmp_path: Path) -> None:
    path = container(tmp_path, version, raw=VOLUME, notes=VOLUME)
    zarr.consolidate_metadata(str(path))
    spoil(metadata_of(path / "notes", version), version, how)
    for location in (path, path / "raw"):
        with open_volume(location, role="raw") as volume:
            assert volume.location == f"{path}/raw"
            np.testing.assert_array_equal(volume.read(), VOLUME)
    with pytest.raises(VolumeError, match=r"a\.zarr/notes' as raw image: its (zarr|chunks)"):
        open_volume(path / "notes", role="raw")
    notes, raw = describe(path)["arrays"]
    assert "unusable" in notes
    assert raw["shape"] == [5, 6, 7]
    stored = open_stored(path)
    assert [array.location for array in stored.arrays] == [f"{path}/raw"]
    if how == "codec":  # nothing is wrong with it
        assert "notes was not read" in stored.notes[0]
    else:
        assert f"{path}/notes cannot be read: its zarr metadata is damaged" in stored.misfits[0]


@pytest.mark.parametrize("version", VERSIONS)
def test_a_codec_that_is_not_installed_is_named(version: int, tmp_path: Path) -> None:
    path = container(tmp_path, version)
    spoil(metadata_of(path / "raw", version), version, "codec")
    with pytest.raises(VolumeError) as caught:
        open_volume(path)
    assert "the codec 'unheard', which is not installed. Install" in str(caught.value)
    assert "damaged" not in str(caught.value)


def test_a_codec_inside_a_shard_is_named(tmp_path: Path) -> None:
    array = zarr.create_array(
        str(tmp_path / "a.zarr"), shape=(8, 8), shards=(8, 8), chunks=(4, 4), dtype="u1"
    )
    array[:] = 1
    content = json.loads((tmp_path / "a.zarr" / "zarr.json").read_text())
    content["codecs"][0]["configuration"]["codecs"].append({"name": "unheard"})
    edit_json(tmp_path / "a.zarr" / "zarr.json", **content)
    with pytest.raises(VolumeError, match="codec 'unheard', which is not installed"):
        open_volume(tmp_path / "a.zarr")


def test_an_unreadable_group_is_said_of_its_arrays(tmp_path: Path, caplog) -> None:
    path = container(tmp_path, 3)
    (path / "zarr.json").write_text("{")
    with open_volume(path / "raw") as volume:
        np.testing.assert_array_equal(volume.read(), VOLUME)
    assert f"what its group '{path}' may state of it is unknown" in caplog.text
    with pytest.raises(VolumeError, match=r"a\.zarr': its zarr metadata is damaged"):
        open_volume(path)


def test_damaged_ome_metadata_of_one_image_leave_the_others(tmp_path: Path) -> None:
    path = container(tmp_path, 3)
    group = zarr.open_group(str(path), mode="r+")
    labels = group.create_group("labels/cells")
    labels.create_array("0", data=VOLUME, chunks=VOLUME.shape)
    labels.attrs["ome"] = {"multiscales": [{"datasets": [{"path": "gone"}]}]}
    with open_volume(path, role="raw") as volume:
        assert volume.location == f"{path}/raw"
    for location in (path, path / "labels" / "cells", path / "labels" / "cells" / "0"):
        if location.name != "0":
            with pytest.raises(VolumeError, match=r"(?s)OME metadata is damaged.*'labels/cells/go"):
                open_volume(location, role="labels")


def test_a_group_without_metadata_between(tmp_path: Path) -> None:
    path = container(tmp_path, 2)
    assert open_volume(path, key="raw").shape == (5, 6, 7)
    for key in ("../a.zarr/raw", "raw/../raw", "./raw", "raw/c", "none"):
        with pytest.raises(VolumeError, match="there is no"):
            open_volume(path, key=key)


def test_a_chunk_without_voxels(tmp_path: Path) -> None:
    path = container(tmp_path, 2)
    edit_json(path / "raw" / ".zarray", chunks=[0, 6, 7])
    with pytest.raises(VolumeError, match="a chunk of it has no voxels"):
        open_volume(path)


# What is no file, or lies elsewhere.


def reads_nothing(path: Path, *words: str) -> None:
    with open_volume(path) as volume, pytest.raises(VolumeError) as caught:
        volume.read()
    for word in words:
        assert word in str(caught.value)
    stored = open_stored(path)
    assert words[-1] in str(stored.arrays[0].read_chunk(0))


def pipe(chunk: Path) -> None:
    os.mkfifo(chunk)


def device(chunk: Path) -> None:
    chunk.symlink_to("/dev/zero")


def circle(chunk: Path) -> None:
    chunk.symlink_to(chunk)


def folder(chunk: Path) -> None:
    chunk.mkdir()


def outside(chunk: Path) -> None:
    secret = chunk.parents[-1 if chunk.is_absolute() else 0] / "etc" / "hostname"
    chunk.symlink_to(secret)


@pytest.mark.parametrize(
    ("make", "word"),
    [
        (pipe, "it is a pipe"),
        (device, "it is a device"),
        (circle, "symbolic links"),
        (folder, "it is a folder"),
        (outside, "it is a link out of its zarr, to '/etc/hostname'"),
    ],
)
@pytest.mark.parametrize("version", VERSIONS)
def test_chunks_that_are_no_files_of_the_zarr(version: int, make, word, tmp_path: Path) -> None:
    path = container(tmp_path, version)
    chunk = chunk_of(path / "raw", version)
    chunk.unlink()
    make(chunk)
    reads_nothing(path, str(chunk), word)


def test_shards_and_folders_of_chunks_that_lie_elsewhere(tmp_path: Path) -> None:
    for name, options in (("a", {}), ("b", {"shards": (8, 8)})):
        path = tmp_path / f"{name}.zarr"
        zarr.create_array(str(path), shape=(8, 8), chunks=(4, 4), dtype="u1", **options)[:] = 1
        (path / "c").rename(tmp_path / f"{name}_chunks")
        (path / "c").symlink_to(tmp_path / f"{name}_chunks")
        reads_nothing(path, "c/0/0", "a link out of its zarr")


def test_the_chunks_of_emds_itself_may_not_lie_elsewhere_either(tmp_path: Path) -> None:
    from layouts import ALL, example

    path = Path(ALL["emds zarr"](tmp_path, example()))
    chunk = path / "0" / "c" / "0" / "0" / "0"
    chunk.rename(tmp_path / "chunk")
    chunk.symlink_to(tmp_path / "chunk")
    reads_nothing(path, "a link out of its zarr")


def test_links_inside_a_zarr_are_followed(tmp_path: Path) -> None:
    path = container(tmp_path, 3, raw=VOLUME, other=VOLUME)
    chunk = chunk_of(path / "raw", 3)
    chunk.rename(path / "blob")
    chunk.symlink_to(path / "blob")
    (path / "self").symlink_to(path)
    shutil.move(path / "other", tmp_path / "other")
    (path / "linked").symlink_to(tmp_path / "other")  # a whole array
    (tmp_path / "link.zarr").symlink_to(path)
    for location in (path / "raw", path / "linked", tmp_path / "link.zarr" / "raw"):
        np.testing.assert_array_equal(open_volume(location).read(), VOLUME)
    assert len(describe(path)["arrays"]) == 2


@pytest.mark.parametrize("make", [pipe, device, folder])
@pytest.mark.parametrize("version", VERSIONS)
def test_metadata_that_is_no_file(version: int, make, tmp_path: Path) -> None:
    path = container(tmp_path, version, raw=VOLUME, notes=VOLUME)
    files = [metadata_of(path / "notes", version)]
    files += [path / "notes" / ".zattrs"] if version == 2 else []
    for file in files:
        kept = file.read_bytes()
        file.unlink()
        make(file)
        assert open_volume(path, role="raw").location == f"{path}/raw"
        assert file.name in describe(path)["arrays"][0]["unusable"]
        file.rmdir() if file.is_dir() else file.unlink()
        file.write_bytes(kept)
    assert len(open_stored(path).arrays) == 2, "test invalid"


def test_damage_in_a_chunk_is_still_told(tmp_path: Path) -> None:
    path = container(tmp_path, 3)
    chunk = chunk_of(path / "raw", 3)
    flip_bit(chunk, 8 * 2)
    with open_volume(path) as volume, pytest.raises(VolumeError, match="cannot read box"):
        volume.read()
