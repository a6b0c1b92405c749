"""The container that `emds run` writes, and which array of a file is meant."""

from __future__ import annotations

import json
import os
from pathlib import Path

import h5py
import numpy as np
import pytest
import yaozarrs
import zarr
from layouts import OFFSET, SHAPE, VOXEL_SIZE, example, hdf5_cremi, ome_zarr_04, png_slices

from emds.errors import OutputExistsError, VolumeError
from emds.io import create_container, create_volume, describe, open_volume

PLACE = {"voxel_size": VOXEL_SIZE, "offset": OFFSET}


def write_container(path: Path, version: str, *, root: bool = True) -> None:
    with create_container(path, ome_version=version) as container:
        if root:
            image = container.create_image(None, SHAPE, "u1", attributes={"of": "image"}, **PLACE)
            image.write(image.roi, example())
        neurons = container.create_labels("neurons", SHAPE, attributes={"of": "labels"}, **PLACE)
        neurons.write(neurons.roi, example("uint64"))
        affinities = container.create_image("affinities", SHAPE, "u1", channels=3, **PLACE)
        affinities.write(affinities.roi, example("uint8", (3, *SHAPE)))
        container.set_attributes({"command": "emds run"})


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_each_role_finds_its_array(version: str, tmp_path: Path) -> None:
    path = tmp_path / "seg.zarr"
    write_container(path, version)
    yaozarrs.validate_zarr_store(str(path))
    yaozarrs.validate_zarr_store(str(path / "labels" / "neurons"))
    for role, name, expected, attributes in [
        ("raw", "", example(), {"of": "image", "command": "emds run"}),
        (None, "", example(), {"of": "image", "command": "emds run"}),
        ("labels", "/labels/neurons", example("uint64"), {"of": "labels"}),
        ("affinities", "/affinities", example("uint8", (3, *SHAPE)), {}),
    ]:
        with open_volume(path, role=role) as volume:
            assert volume.location == f"{path}{name}"
            assert volume.voxel_size == VOXEL_SIZE
            assert volume.offset == OFFSET
            assert volume.attributes == attributes
            np.testing.assert_array_equal(volume.read(), expected)


def test_the_layout_on_disk_is_that_of_ome_zarr(tmp_path: Path) -> None:
    write_container(tmp_path / "seg.zarr", "0.5")
    group = zarr.open_group(str(tmp_path / "seg.zarr"), mode="r")
    assert group["labels"].attrs["ome"] == {"version": "0.5", "labels": ["neurons"]}
    neurons = group["labels/neurons"].attrs["ome"]
    assert neurons["image-label"] == {"source": {"image": "../../"}}
    assert [axis["name"] for axis in neurons["multiscales"][0]["axes"]] == ["z", "y", "x"]
    root = group.attrs["ome"]["multiscales"][0]
    assert root["datasets"][0]["coordinateTransformations"] == [
        {"type": "scale", "scale": list(VOXEL_SIZE)},
        {"type": "translation", "translation": list(OFFSET)},
    ]
    affinities = group["affinities"].attrs["ome"]["multiscales"][0]
    assert affinities["axes"][0] == {"name": "c", "type": "channel"}
    assert group["affinities/0"].chunks == (1, *SHAPE)
    codecs = json.loads((tmp_path / "seg.zarr" / "0" / "zarr.json").read_text())["codecs"]
    assert {"name": "zstd", "configuration": {"level": 1, "checksum": True}} in codecs


@pytest.mark.parametrize("inner", ["", "labels", "labels/neurons", "labels/neurons/0"])
def test_labels_without_a_root_image(inner: str, tmp_path: Path) -> None:
    path = tmp_path / "seg.zarr"
    write_container(path, "0.5", root=False)
    with open_volume(path / inner, role="labels") as volume:
        assert volume.location == f"{path}/labels/neurons"
        assert volume.voxel_size == VOXEL_SIZE
    with pytest.raises(VolumeError, match="raw image"):
        open_volume(path, role="raw")


def test_a_container_is_atomic(tmp_path: Path) -> None:
    path = tmp_path / "seg.zarr"
    container = create_container(path)
    container.create_image("twice", SHAPE, "u1")
    with pytest.raises(ValueError, match="already has"), container:
        container.create_image("twice", SHAPE, "u1")
    assert os.listdir(tmp_path) == []
    write_container(path, "0.5")
    with pytest.raises(OutputExistsError):
        create_container(path)
    unfinished = create_container(path, overwrite=True)
    unfinished.create_image(None, SHAPE, "u1")
    with pytest.raises(RuntimeError, match="not written everywhere"), unfinished:
        pass
    np.testing.assert_array_equal(open_volume(path, role="raw").read(), example())
    assert os.listdir(tmp_path) == ["seg.zarr"]


def test_labels_written_alone_are_known_as_labels(tmp_path: Path) -> None:
    for suffix in ("zarr", "h5"):
        path = tmp_path / f"labels.{suffix}"
        with create_volume(path, shape=SHAPE, dtype="u1", role="labels") as volume:
            volume.write(volume.roi, example())
        assert open_volume(path, role="labels").shape == SHAPE
        with pytest.raises(VolumeError, match="holds labels"):
            open_volume(path, role="raw")


def test_an_image_is_not_taken_for_labels(tmp_path: Path) -> None:
    path = tmp_path / "raw.zarr"
    with create_volume(path, shape=SHAPE, dtype="u1") as volume:
        volume.write(volume.roi, example())
    with pytest.raises(VolumeError, match="holds raw"):
        open_volume(path, role="labels")


def test_the_only_fitting_array_is_taken(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["main"] = example()
        file["probabilities"] = example("float64")
        file["times"] = np.arange(4)
    assert open_volume(tmp_path / "a.h5", role="raw").location == f"{tmp_path}/a.h5:main"
    assert open_volume(tmp_path / "a.h5", role="labels").location == f"{tmp_path}/a.h5:main"


def test_ambiguous_files_list_their_arrays(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["clean"] = example()
        file["noisy"] = example("uint16")
    group = zarr.create_group(str(tmp_path / "a.zarr"))
    group.create_array("clean", shape=SHAPE, dtype="u1")
    group.create_array("deep/noisy", shape=SHAPE, dtype="u2")
    for name, noisy, example_name in [
        ("a.h5", "noisy", r"a\.h5:clean"),
        ("a.zarr", "deep/noisy", r"a\.zarr/clean"),
    ]:
        with pytest.raises(VolumeError) as caught:
            open_volume(tmp_path / name, role="raw")
        caught.match(rf"(?s)2 arrays.*clean  uint8 \(7, 33, 26\).*{noisy}  uint16")
        caught.match(f"Name one, e.g. .*{example_name}$")


def test_labels_of_cremi_files_come_from_neuron_ids(tmp_path: Path) -> None:
    location = hdf5_cremi(tmp_path, example())
    with h5py.File(location, "a") as file:
        file["volumes/labels/clefts"] = example("uint64")
    for place in (location, f"{location}:volumes/labels"):
        assert open_volume(place, role="labels").location.endswith("volumes/labels/neuron_ids")
    assert open_volume(location, role="raw").location.endswith("volumes/raw")


# describe


def test_describe_lists_what_is_in_a_file(tmp_path: Path) -> None:
    said = describe(hdf5_cremi(tmp_path, example()))
    assert json.loads(json.dumps(said)) == said
    assert said["kind"] == "hdf5"
    by_name = {array["location"].split(":")[1]: array for array in said["arrays"]}
    raw = by_name["volumes/raw"]
    assert raw["shape"] == list(SHAPE)
    assert raw["channels"] is None
    assert raw["dtype"] == "uint8"
    assert raw["chunk_shape"] == [3, 10, 10]
    assert raw["voxel_size_nm"] == list(VOXEL_SIZE)
    assert raw["offset_nm"] == list(OFFSET)
    assert raw["nbytes"] == 7 * 33 * 26
    assert "axes" in by_name["annotations/ids"]["unusable"]


def test_describe_takes_folders_and_inner_arrays(tmp_path: Path) -> None:
    assert describe(png_slices(tmp_path, example()))["kind"] == "slices"
    pyramid = ome_zarr_04(tmp_path, example())
    assert [array["location"] for array in describe(pyramid)["arrays"]] == [pyramid]
    write_container(tmp_path / "seg.zarr", "0.5")
    said = describe(tmp_path / "seg.zarr", key="labels/neurons")
    assert [array["attributes"] for array in said["arrays"]] == [{"of": "labels"}]
