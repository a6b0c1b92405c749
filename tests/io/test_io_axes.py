"""What a file states of its axes holds for voxels, voxel size and offset alike."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import zarr
from axis_layouts import LAYOUTS, OFFSET, VOXEL_SIZE, ome, two_steps, vigra_tags, zarr_array

from emds.errors import VolumeError
from emds.geometry import Roi
from emds.io import describe, open_volume
from emds.io.axes import AxisNames, find_axes

SHAPE = {"z": 5, "y": 6, "x": 7, "c": 1, "t": 1}
VOLUME = np.arange(5 * 6 * 7, dtype=np.uint8).reshape(5, 6, 7)
ORDERS = ["".join(order) for order in itertools.permutations("zyx")]


def in_order(axes: str) -> np.ndarray:
    """Return the volume with its axes as named; others have length 1."""
    spatial = VOLUME.transpose(["zyx".index(axis) for axis in axes if axis in "zyx"])
    return spatial.reshape([SHAPE[axis] for axis in axes])


@pytest.mark.parametrize("axes", [*ORDERS, "czyx", "zyxc", "cxyz", "xcyz", "tczyx", "xyzct"])
@pytest.mark.parametrize("kind", LAYOUTS)
def test_any_order_of_axes_is_put_right(kind: str, axes: str, tmp_path: Path, caplog) -> None:
    layout = LAYOUTS[kind]
    location = layout.write(tmp_path, in_order(axes), axes)
    for role in ("raw", "labels", None):
        with open_volume(location, role=role) as volume:
            assert volume.shape == (5, 6, 7)
            assert volume.channels is None
            np.testing.assert_array_equal(volume.read(), VOLUME)
            roi = Roi((1, 2, 3), (2, 3, 4))
            np.testing.assert_array_equal(volume.read(roi), VOLUME[roi.slices()])
            assert volume.voxel_size == (VOXEL_SIZE if layout.sized else None)
            assert volume.offset == pytest.approx(OFFSET if layout.moved else (0, 0, 0))
    if layout.sized:
        assert not caplog.records


@pytest.mark.parametrize("axes", ["czyx", "zyxc", "xycz"])
@pytest.mark.parametrize("kind", LAYOUTS)
def test_channels_are_found_wherever_they_lie(kind: str, axes: str, tmp_path: Path) -> None:
    values = np.stack([VOLUME, VOLUME + 1])
    stored = values.transpose(["czyx".index(axis) for axis in axes])
    with open_volume(LAYOUTS[kind].write(tmp_path, stored, axes), role="affinities") as volume:
        assert (volume.channels, volume.shape) == (2, (5, 6, 7))
        np.testing.assert_array_equal(volume.read(), values)


@pytest.mark.parametrize("axes", ["tyx", "ytx", "tzyx"])
@pytest.mark.parametrize("kind", [kind for kind in LAYOUTS if "N5" not in kind])
def test_time_is_no_space(kind: str, axes: str, tmp_path: Path) -> None:
    values = np.zeros([{**SHAPE, "t": 3}[axis] for axis in axes], "u1")
    location = LAYOUTS[kind].write(tmp_path, values, axes)
    for role in ("raw", "labels", None):
        with pytest.raises(VolumeError, match=r"axis t is longer than 1: shape \("):
            open_volume(location, role=role)


@pytest.mark.parametrize("kind", [kind for kind in LAYOUTS if "N5" not in kind])
def test_a_section_with_a_channel_axis(kind: str, tmp_path: Path) -> None:
    page = VOLUME[0][..., None]
    with open_volume(LAYOUTS[kind].write(tmp_path, page, "yxc"), role="raw") as volume:
        np.testing.assert_array_equal(volume.read(), VOLUME[:1])
        if LAYOUTS[kind].sized:
            assert volume.voxel_size == (4, 4, 5)  # nominally as thick as its pixels are high


def named(folder: Path, shape: tuple[int, ...], **attributes: Any) -> str:
    values = np.zeros(shape, "u1")
    names = attributes.pop("dimension_names", None)
    array = zarr_array(folder, values, 3, dimension_names=names)
    array.attrs.update(attributes)
    return str(folder / "a.zarr")


@pytest.mark.parametrize(
    ("axes", "shape", "right"),
    [
        (["c0^", "d0", "d1", "d2"], (1, 3, 4, 5), (3, 4, 5)),  # funlib, where nobody named any
        (["dim_0", "dim_1", "dim_2"], (3, 4, 5), (3, 4, 5)),  # xarray, the same
        (["phony_dim_0", "phony_dim_1", "phony_dim_2"], (3, 4, 5), (3, 4, 5)),  # h5netcdf
        (["", "y", "x"], (3, 4, 5), (3, 4, 5)),
        (["time", "", "", ""], (1, 3, 4, 5), (3, 4, 5)),
        (["angle", "x", "y", "z"], (1, 3, 4, 5), (5, 4, 3)),
        ("xyz", (3, 4, 5), (5, 4, 3)),
        ("x, y, z", (3, 4, 5), (5, 4, 3)),
        (["rows", "cols"], (3, 4), (1, 3, 4)),
        (["section", "column", "row"], (3, 4, 5), (3, 5, 4)),
    ],
)
def test_names_that_tell_little(axes, shape, right, tmp_path: Path, caplog) -> None:
    with open_volume(named(tmp_path, shape, axis_names=axes), role="raw") as volume:
        assert volume.shape == right
    assert not caplog.records


def test_names_that_mean_nothing_are_told(tmp_path: Path, caplog) -> None:
    location = named(tmp_path, (3, 4, 5), axis_names=["a", "b", "c2"])
    assert open_volume(location, role="raw").shape == (3, 4, 5)
    assert "'axis_names' names axes ('a', 'b', 'c2')" in caplog.text
    assert "taken as (z, y, x)" in caplog.text.replace("takes the axes as", "taken as")
    assert "axis_names" in describe(location)["arrays"][0]["remarks"][0]


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"axis_names": ["x", "x", "y"]}, ["'axis_names'", "'x' twice"]),
        ({"axis_names": ["y", "x"]}, ["'axis_names' names 2 axes ('y', 'x')", "has 3"]),
        ({"axis_names": ["z", "y", "x", "c"]}, ["names 4 axes", "has 3"]),
        ({"_ARRAY_DIMENSIONS": []}, ["'_ARRAY_DIMENSIONS' names 0 axes"]),
        ({"axis_names": 5}, ["'axis_names' must be a list of axis names, not 5"]),
        ({"axis_names": [1, 2, 3]}, ["must be a list of axis names"]),
        ({"axistags": "{"}, ["'axistags' must be vigra's JSON"]),
        ({"axistags": vigra_tags("yx", {})}, ["'axistags' names 2 axes"]),
        ({"transform": {"axes": ["x", "y", "y"]}}, ["'transform'", "'y' twice"]),
        ({"transform": {"scale": [1, 2]}}, ["'transform/scale'"]),
        ({"axis_names": ["angle", "y", "x"]}, ["'axis_names' calls axis 0 'angle'", "longer than"]),
        (
            {"axis_names": ["x", "y", "z"], "_ARRAY_DIMENSIONS": ["z", "y", "x"]},
            ["'_ARRAY_DIMENSIONS'", "'axis_names'", "contradict each other: axis 0"],
        ),
        (
            {"dimension_names": ["z", "y", "x"], "axistags": vigra_tags("xyz", {})},
            ["dimension_names", "'axistags'", "contradict each other"],
        ),
        ({"resolution": [4, 5]}, ["'resolution' must be numbers, one per axis of (z, y, x)"]),
        ({"resolution": [4, 5, 6, 7]}, ["'resolution'"]),
        ({"offset": ["a", 1, 2]}, ["'offset'"]),
        ({"voxel_size": [1, -4, 4]}, ["must be positive", "'voxel_size' gives -4 along y"]),
        ({"pixelResolution": [4, 4]}, ["'pixelResolution' must hold three sizes (x, y, z)"]),
    ],
)
def test_statements_that_cannot_be_are_refused(attributes, words, tmp_path: Path) -> None:
    location = named(tmp_path, (3, 4, 5), **attributes)
    with pytest.raises(VolumeError) as caught:
        open_volume(location, role="raw")
    for word in ["a.zarr", *words]:
        assert word in str(caught.value)
    assert words[-1].strip("'") in describe(location)["arrays"][0]["unusable"]


def test_statements_complete_each_other(tmp_path: Path) -> None:
    location = named(
        tmp_path, (3, 4, 5), dimension_names=["x", None, None], axis_names=["d0", "y", "z"]
    )
    assert open_volume(location).shape == (5, 4, 3)


def test_ome_axes_that_contradict_those_of_the_array(tmp_path: Path) -> None:
    location = ome("0.5", two_steps)(tmp_path, VOLUME, "zyx")
    zarr.open_array(f"{location}/s0", mode="r+").attrs["axis_names"] = ["x", "y", "z"]
    with pytest.raises(VolumeError, match="OME metadata and its attribute 'axis_names' contradict"):
        open_volume(location)


def test_kinds_that_contradict_names(tmp_path: Path) -> None:
    location = ome("0.4", two_steps)(tmp_path, VOLUME, "zyx")
    file = Path(location) / ".zattrs"
    file.write_text(file.read_text().replace('"space"', '"channel"', 1))
    with pytest.raises(VolumeError, match="OME metadata calls the axis 'z' one of the kind 'chann"):
        open_volume(location)


def test_hdf5_axes_of_one_array_leave_the_others(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = VOLUME
        file["odd"] = VOLUME
        file["odd"].attrs["axistags"] = json.dumps({"axes": 3})
        file["labels"] = VOLUME
        file["labels"].dims[0].label = "y"
        file["labels"].dims[1].label = "y"
    assert open_volume(tmp_path / "a.h5", role="raw").shape == (5, 6, 7)
    with pytest.raises(VolumeError, match=r"a\.h5:labels.*'DIMENSION_LABELS' names .* 'y' twice"):
        open_volume(tmp_path / "a.h5", key="labels")


def test_scales_that_cannot_be_followed(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = VOLUME
        file["raw"].attrs["DIMENSION_LIST"] = np.arange(3)
    with pytest.raises(VolumeError, match=r"a\.h5:raw.*'DIMENSION_LIST' is damaged"):
        open_volume(tmp_path / "a.h5", role="raw")


def test_four_axes_in_space_are_no_channels() -> None:
    axes = find_axes([AxisNames("it", ["d0", "d1", "d2", "d3"], ["space"] * 4)], (2, 3, 4, 5))
    assert axes.letters == "?zyx"
