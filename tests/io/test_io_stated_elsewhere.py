"""What is said of an array somewhere else than is usual, or not at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr

from emds.errors import VolumeError
from emds.io import open_volume

VOLUME = np.arange(5 * 6 * 7, dtype=np.uint8).reshape(5, 6, 7)


@pytest.mark.parametrize(
    ("attributes", "size"),
    [
        ({"resolution": [0.04, 0.004, 0.005], "unit": "um"}, (40, 4, 5)),
        ({"voxel_size": [0.04, 0.004, 0.005], "voxel_size_unit": "µm"}, (40, 4, 5)),
        ({"resolution": [0.04, 0.004, 0.005], "resolution_units": ["um"] * 3}, (40, 4, 5)),
        ({"voxel_size_um": [0.04, 0.004, 0.005]}, (40, 4, 5)),
        ({"resolution_nm": [40, 4, 5]}, (40, 4, 5)),
        ({"element_size_nm": [40, 4, 5]}, (40, 4, 5)),
        # Less than an atom is across: surely micrometres, but nobody says so.
        ({"resolution": [0.04, 0.004, 0.005]}, None),
        ({"resolution": [0.04, 0.004, 0.005], "units": "nm"}, (0.04, 0.004, 0.005)),
    ],
)
def test_units_by_other_names_and_by_none(attributes, size, tmp_path: Path, caplog) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = VOLUME
        file["a"].attrs.update(attributes)
    with open_volume(tmp_path / "a.h5") as volume:
        assert volume.voxel_size == size
    assert ("without a unit" in caplog.text) == (size is None)


# WEBKNOSSOS


def webknossos(folder: Path, values: np.ndarray, mag: dict[str, Any], scale: Any) -> Path:
    name = "-".join(map(str, mag["mag"]))
    array = zarr.create_array(
        str(folder / "color" / name), shape=values.shape, dtype="u1", zarr_format=2
    )
    array[:] = values
    layer = {"name": "color", "dataFormat": "zarr", "mags": [mag]}
    content = {"id": {"name": "a", "team": "b"}, "dataLayers": [layer], "scale": scale}
    (folder / "datasource-properties.json").write_text(json.dumps(content))
    return folder / "color" / name


CXYZ = {"c": 0, "x": 1, "y": 2, "z": 3}


@pytest.mark.parametrize(
    ("scale", "right"),
    [
        ([4, 5, 40], (40.0, 10.0, 8.0)),
        ({"factor": [0.004, 0.005, 0.04], "unit": "micrometer"}, (40.0, 10.0, 8.0)),
        ({"factor": [4, 5, 40], "unit": "parsec"}, None),
    ],
)
def test_webknossos_states_order_and_size(scale, right, tmp_path: Path, caplog) -> None:
    place = webknossos(tmp_path, VOLUME.T[None], {"mag": [2, 2, 1], "axisOrder": CXYZ}, scale)
    with open_volume(place, role="raw") as volume:
        assert np.array_equal(volume.read(), VOLUME)
        assert volume.voxel_size == right
    assert bool(caplog.records) == (right is None)


def test_webknossos_with_a_path_of_its_own_and_no_order(tmp_path: Path) -> None:
    mag = {"mag": [1, 1, 1], "path": "./color/1-1-1"}
    with open_volume(webknossos(tmp_path, VOLUME, mag, [4, 5, 40]), role="raw") as volume:
        assert np.array_equal(volume.read(), VOLUME)
        assert volume.voxel_size == (40, 5, 4)


@pytest.mark.parametrize(
    "content", ["{", "[]", '{"dataLayers": 1}', '{"dataLayers": [{"mags": [{}]}]}']
)
def test_damage_above_an_array_is_said(content: str, tmp_path: Path, caplog) -> None:
    place = webknossos(tmp_path, VOLUME, {"mag": [1, 1, 1]}, [4, 5, 40])
    (tmp_path / "datasource-properties.json").write_text(content)
    open_volume(place, role="raw").close()
    assert "datasource-properties.json states of its axes" in caplog.text


def test_an_order_of_axes_that_are_not_there(tmp_path: Path, caplog) -> None:
    place = webknossos(tmp_path, VOLUME, {"mag": [1, 1, 1], "axisOrder": CXYZ}, [4, 5, 40])
    open_volume(place, role="raw").close()
    assert "datasource-properties.json states of its axes" in caplog.text


@pytest.mark.parametrize(("folder", "example"), [(".", "color/1"), ("color", "1")])
def test_folders_of_webknossos_name_what_to_open(folder, example, tmp_path: Path) -> None:
    webknossos(tmp_path, VOLUME, {"mag": [1, 1, 1]}, [4, 5, 40])
    with pytest.raises(VolumeError, match=f"WEBKNOSSOS data set: name a .*, e.g. {example}"):
        open_volume(tmp_path / folder)


# Groups


@pytest.mark.parametrize("key", ["resolution", "voxel_size", "pixelResolution"])
@pytest.mark.parametrize("kind", ["hdf5", "zarr2", "zarr3"])
def test_a_size_that_only_a_group_states_is_unknown_and_said(key, kind, tmp_path, caplog) -> None:
    place = str(tmp_path / "a")
    if kind == "hdf5":
        with h5py.File(place, "w") as file:
            file["inner/raw"] = VOLUME
            file["inner"].attrs[key] = [40, 4, 5]
    else:
        root = zarr.open_group(place, mode="w", zarr_format=int(kind[-1]))
        inner = root.create_group("inner", attributes={key: [40, 4, 5]})
        inner.create_array("raw", data=VOLUME)
    with open_volume(place, role="raw") as volume:
        assert volume.voxel_size is None
    assert f"the attribute '{key}' of its group 'inner' is not read" in caplog.text


def test_groups_are_not_asked_where_the_array_states_a_size(tmp_path: Path, caplog) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = VOLUME
        file["raw"].attrs["resolution"] = [40, 4, 5]
        file.attrs["resolution"] = [1, 1, 1]
    open_volume(tmp_path / "a.h5").close()
    assert not caplog.records


@pytest.mark.parametrize(("kind", "is_said"), [(np.int16, True), (np.uint16, False)])
def test_signed_numbers_of_bigdataviewer_are_said(kind, is_said, tmp_path: Path, caplog) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["t00000/s00/0/cells"] = VOLUME.astype(kind)
    open_volume(tmp_path / "a.h5").close()
    assert ("unsigned 16-bit numbers as signed" in caplog.text) == is_said


# Chunks


def rewritten(folder: Path, name: str, **changes: Any) -> None:
    content = json.loads((folder / name).read_text())
    (folder / name).write_text(json.dumps(content | changes))


V2_KEYS = {"name": "v2", "configuration": {"separator": "."}}


@pytest.mark.parametrize(
    ("version", "changes"),
    [(2, {"dimension_separator": "/"}), (3, {"chunk_key_encoding": V2_KEYS})],
)
def test_chunks_that_lie_under_other_names_are_said(version, changes, tmp_path, caplog) -> None:
    place = tmp_path / "a.zarr"
    zarr.create_array(str(place), data=VOLUME, zarr_format=version, chunks=(5, 6, 7))
    open_volume(place).close()
    assert not caplog.records
    rewritten(place, ".zarray" if version == 2 else "zarr.json", **changes)
    with open_volume(place) as volume:
        assert not volume.read().any()
    assert "none of its chunks is there" in caplog.text


def test_zeros_that_are_not_stored_need_no_word(tmp_path: Path, caplog) -> None:
    zarr.create_array(str(tmp_path / "a.zarr"), data=0 * VOLUME)
    open_volume(tmp_path / "a.zarr").close()
    assert not caplog.records


# Values


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"scale_factor": 0.1}, ["'scale_factor' (0.1)"]),
        ({"scale_factor": [0.5], "add_offset": 100.0}, ["'scale_factor' (0.5)", "'add_offset'"]),
        ({"scale_factor": 1.0, "add_offset": 0}, []),
        ({"IMAGE_WHITE_IS_ZERO": 1}, ["contrast is inverted"]),
        ({"IMAGE_WHITE_IS_ZERO": 0}, []),
        ({"MATLAB_class": "uint8"}, ["axes reversed"]),
    ],
)
@pytest.mark.parametrize("kind", ["hdf5", "zarr"])
def test_what_is_said_of_values_and_not_heeded_is_told(attributes, said, kind, tmp_path, caplog):
    place = tmp_path / "a"
    if kind == "hdf5":
        with h5py.File(place, "w") as file:
            file["a"] = VOLUME
            file["a"].attrs.update(attributes)
    else:
        zarr.create_array(str(place), data=VOLUME, attributes=attributes)
    open_volume(place, role="raw").close()
    assert len(caplog.records) == len(said)
    for words in said:
        assert words in caplog.text
