"""Positions beside an axis give the voxel size where nothing else does."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import zarr
from axis_layouts import OFFSET, VOXEL_SIZE, xarray_group

from emds.io import open_volume

VOLUME = np.arange(5 * 6 * 7, dtype=np.uint8).reshape(5, 6, 7)


def with_scales(folder: Path, unit: str | None, **positions: object) -> str:
    usual = {"z": np.arange(5) * 40, "y": np.arange(6) * 4, "x": np.arange(7) * 5}
    with h5py.File(folder / "a.nc", "w") as file:
        data = file.create_dataset("image", data=VOLUME)
        for place, (axis, values) in enumerate((usual | positions).items()):
            scale = file.create_dataset(axis, data=values)
            if unit is not None:
                scale.attrs["units"] = unit
            scale.make_scale(axis)
            data.dims[place].attach_scale(scale)
    return f"{folder / 'a.nc'}:image"


@pytest.mark.parametrize(
    ("unit", "positions", "size", "word"),
    [
        ("nm", {}, (40, 4, 5), ""),
        ("nm", {"z": np.linspace(0, 160, 5, dtype="f4") + 1e-4}, (40, 4, 5), ""),
        ("microns", {}, (40000, 4000, 5000), ""),
        (None, {}, None, "its set of coordinates gives the voxel size along z (40) without a unit"),
        ("s", {}, None, "in 's', no known length"),
        ("nm", {"z": [0, 40, 80, 130, 160]}, None, "'z' does not rise in equal steps"),
        ("nm", {"y": [20, 16, 12, 8, 4, 0]}, None, "'y' does not rise in equal steps"),
        ("nm", {"x": np.full(7, np.nan)}, None, "'x' does not rise in equal steps"),
        ("nm", {"x": np.arange(9)}, None, "its set of coordinates states no voxel size along x"),
        (None, {"z": range(5), "y": range(6), "x": range(7)}, None, ""),
        (None, {"z": [0] * 5, "y": [0.5] * 6, "x": [3, 1, 4, 1, 5, 9, 2]}, None, ""),
    ],
)
def test_positions_of_netcdf(unit, positions, size, word, tmp_path: Path, caplog) -> None:
    with open_volume(with_scales(tmp_path, unit, **positions)) as volume:
        assert volume.voxel_size == (None if size is None else pytest.approx(size))
        np.testing.assert_array_equal(volume.read(), VOLUME)
    assert bool(caplog.records) == bool(word)
    assert word in caplog.text


def test_attributes_count_before_positions(tmp_path: Path, caplog) -> None:
    location = with_scales(tmp_path, "nm")
    with h5py.File(tmp_path / "a.nc", "a") as file:
        file["image"].attrs["resolution"] = [50, 4, 5]
    with open_volume(location) as volume:
        assert volume.voxel_size == (50, 4, 5)
    assert "'resolution' gives a voxel size of 50 x 4 x 5 nm, its set of coordinates one of" in (
        caplog.text
    )


@pytest.mark.parametrize("version", [2, 3])
def test_an_unreadable_coordinate_leaves_its_array(version: int, tmp_path: Path, caplog) -> None:
    location = Path(xarray_group(version)(tmp_path, VOLUME, "zyx"))
    for place in (location, location.parent):
        with open_volume(place, role="raw") as volume:
            assert (volume.voxel_size, volume.offset) == (VOXEL_SIZE, pytest.approx(OFFSET))
    assert not caplog.records
    (location.parent / "z" / ("zarr.json" if version == 3 else ".zarray")).write_text("{")
    with open_volume(location) as volume:
        np.testing.assert_array_equal(volume.read(), VOLUME)
        assert volume.voxel_size is None
    assert "states no voxel size along z" in caplog.text


def test_names_of_axes_lead_nowhere_else(tmp_path: Path) -> None:
    group = zarr.create_group(str(tmp_path / "a.zarr"))
    names = ["../../x", "", "/"]
    array = group.create_array("image", data=VOLUME, chunks=VOLUME.shape, dimension_names=names)
    array.attrs["axis_names"] = ["z", "y", "x"]
    with open_volume(tmp_path / "a.zarr" / "image") as volume:
        assert volume.voxel_size is None
