"""Files that name their axes, in any order, by hand as the field's libraries write them."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import zarr

# By axis: voxel size and position, each in the unit. No two alike in nm: 40 x 4 x 5, 80 -12 35.
SIZES = {"z": 0.04, "y": 4.0, "x": 50.0}
SHIFTS = {"z": 0.08, "y": -12.0, "x": 350.0}
UNITS = {"z": "micrometer", "y": "nanometer", "x": "angstrom"}
VOXEL_SIZE = (40.0, 4.0, 5.0)
OFFSET = (80.0, -12.0, 35.0)
IN_NM = dict(zip("zyx", VOXEL_SIZE)), dict(zip("zyx", OFFSET))
LONG_NAMES = {"z": "depth", "y": "Height", "x": "columns", "c": "channel", "t": "time"}


@dataclass(frozen=True)
class Layout:
    """A way to write an array whose axes have a given order.

    `write` takes a folder, the array as it is to be stored, and its axes, and returns the
    location. What it does not tell is `sized` or `moved` False.
    """

    write: Callable[[Path, np.ndarray, str], str]
    sized: bool = True
    moved: bool = True


def per_axis(axes: str, by_letter: dict[str, Any], other: Any) -> list[Any]:
    return [by_letter.get(axis, other) for axis in axes]


def in_space(axes: str, by_letter: dict[str, Any]) -> list[Any]:
    return [by_letter[axis] for axis in axes if axis in "zyx"]


def zarr_array(folder: Path, values: np.ndarray, version: int, **options: Any) -> zarr.Array:
    array = zarr.create_array(
        str(folder / "a.zarr"),
        shape=values.shape,
        dtype=values.dtype,
        chunks=tuple(min(4, n) for n in values.shape),
        zarr_format=version,
        **options,
    )
    array[:] = values
    return array


def xarray_zarr2(folder: Path, values: np.ndarray, axes: str) -> str:
    array = zarr_array(folder, values, 2)
    names = [LONG_NAMES[axis] for axis in axes]
    # One entry per axis, the channel's too.
    array.attrs.update(
        {
            "_ARRAY_DIMENSIONS": names,
            "resolution": per_axis(axes, IN_NM[0], 1),
            "offset": per_axis(axes, IN_NM[1], 0),
        }
    )
    return str(folder / "a.zarr")


def funlib_zarr2(folder: Path, values: np.ndarray, axes: str) -> str:
    array = zarr_array(folder, values, 2)
    array.attrs.update(
        {
            "axis_names": ["c^" if axis == "c" else axis for axis in axes],
            "voxel_size": in_space(axes, SIZES),
            "offset": in_space(axes, SHIFTS),
            "units": in_space(axes, UNITS),
        }
    )
    return str(folder / "a.zarr")


def zarr3(folder: Path, values: np.ndarray, axes: str) -> str:
    names = [LONG_NAMES.get(axis) if axis in "ct" else axis.upper() for axis in axes]
    array = zarr_array(folder, values, 3, dimension_names=names)
    array.attrs.update(
        {
            "voxel_size": per_axis(axes, SIZES, 1),
            "offset": per_axis(axes, SHIFTS, 0),
            "units": per_axis(axes, UNITS, ""),
        }
    )
    return str(folder / "a.zarr")


def n5_viewer(folder: Path, values: np.ndarray, axes: str) -> str:
    array = zarr_array(folder, values, 3, dimension_names=list(axes))
    array.attrs["pixelResolution"] = {"unit": "nm", "dimensions": list(VOXEL_SIZE[::-1])}
    return str(folder / "a.zarr")


def cosem_array(folder: Path, values: np.ndarray, axes: str) -> str:
    zarr_array(folder, values, 2).attrs["transform"] = cosem_transform(axes)
    return str(folder / "a.zarr")


def cosem_fortran(folder: Path, values: np.ndarray, axes: str) -> str:
    backwards = cosem_transform(axes[::-1]) | {"order": "F"}
    zarr_array(folder, values, 2).attrs["transform"] = backwards
    return str(folder / "a.zarr")


def cosem_group(folder: Path, values: np.ndarray, axes: str) -> str:
    group = zarr.create_group(str(folder / "a.zarr"), zarr_format=2)
    group.create_array("s0", data=values, chunks=values.shape)
    level = {"path": "s0", "transform": cosem_transform(axes)}
    group.attrs["multiscales"] = [{"name": "", "datasets": [level]}]
    return str(folder / "a.zarr")


def cosem_transform(axes: str) -> dict[str, Any]:
    return {
        "axes": list(axes),
        "scale": per_axis(axes, SIZES, 1),
        "translate": per_axis(axes, SHIFTS, 0),
        "units": per_axis(axes, UNITS, ""),
    }


def ome(version: str, steps: Callable[[str], list[dict[str, Any]]]) -> Any:
    """Return a writer of OME-Zarr of a version, which lists the steps from voxels to space."""

    def write(folder: Path, values: np.ndarray, axes: str) -> str:
        group = zarr.create_group(str(folder / "a.zarr"), zarr_format=2 if version < "0.5" else 3)
        group.create_array("s0", data=values, chunks=values.shape)
        kinds = {"c": "channel", "t": "time"}
        entries: list[Any] = [
            {"name": axis, "type": kinds.get(axis, "space"), "unit": UNITS.get(axis)}
            for axis in axes
        ]
        entries = list(axes) if version == "0.3" else entries
        level = {"path": "s0", "coordinateTransformations": steps(axes)}
        image: dict[str, Any] = {"datasets": [level]}
        if version < "0.6":
            image["axes"] = entries
        else:
            image["coordinateSystems"] = [
                {"name": "atlas", "axes": [{"name": f"d{n}"} for n, _ in enumerate(axes)]},
                {"name": "physical", "axes": entries},
            ]
            for step in level["coordinateTransformations"]:
                step |= {"input": "s0", "output": "physical"}
        if version < "0.5":
            group.attrs["multiscales"] = [image | {"version": version}]
        else:
            group.attrs["ome"] = {"version": version, "multiscales": [image]}
        return str(folder / "a.zarr")

    return write


def no_steps(axes: str) -> list[dict[str, Any]]:
    return []


def two_steps(axes: str) -> list[dict[str, Any]]:
    return [
        {"type": "scale", "scale": per_axis(axes, SIZES, 1)},
        {"type": "translation", "translation": per_axis(axes, SHIFTS, 0)},
    ]


def sequence(axes: str) -> list[dict[str, Any]]:
    return [{"type": "sequence", "transformations": two_steps(axes)}]


def shifted_first(axes: str) -> list[dict[str, Any]]:
    """Move by voxels, then scale."""
    voxels = {axis: SHIFTS[axis] / SIZES[axis] for axis in "zyx"}
    moved = {"type": "translation", "translation": per_axis(axes, voxels, 0)}
    return [moved, {"type": "scale", "scale": per_axis(axes, SIZES, 1)}]


def affine(axes: str) -> list[dict[str, Any]]:
    scale, shift = per_axis(axes, SIZES, 1), per_axis(axes, SHIFTS, 0)
    matrix = [
        [scale[row] if row == column else 0 for column in range(len(axes))] + [shift[row]]
        for row in range(len(axes))
    ]
    return [{"type": "affine", "affine": matrix}]


def hdf5(name_axes: Callable[[Any, str], None]) -> Any:
    """Return a writer of HDF5 with a way to name the axes; sizes in nm, as CREMI has them."""

    def write(folder: Path, values: np.ndarray, axes: str) -> str:
        with h5py.File(folder / "a.h5", "w") as file:
            data = file.create_dataset("data", data=values)
            data.attrs["resolution"] = in_space(axes, IN_NM[0])
            data.attrs["offset"] = in_space(axes, IN_NM[1])
            name_axes(data, axes)
        return f"{folder / 'a.h5'}:data"

    return write


def labels(data: Any, axes: str) -> None:
    for place, axis in enumerate(axes):
        data.dims[place].label = LONG_NAMES[axis]


def scales(data: Any, axes: str) -> None:
    for place, axis in enumerate(axes):
        scale = data.file.create_dataset(f"dims/{axis}", data=np.arange(data.shape[place]))
        scale.make_scale(axis)
        data.dims[place].attach_scale(scale)


def netcdf_scales(data: Any, axes: str) -> None:
    """netCDF-4: a dimension without coordinates is a scale named by a sentence."""
    for place, axis in enumerate(axes):
        scale = data.file.create_dataset(axis, data=np.zeros(data.shape[place], "f4"))
        scale.make_scale(f"This is a netCDF dimension but not a netCDF variable.{place:10}")
        data.dims[place].attach_scale(scale)


def axis_names(data: Any, axes: str) -> None:
    data.attrs["axis_names"] = [f"{axis}^" if axis == "c" else axis for axis in axes]
    del data.attrs["resolution"], data.attrs["offset"]
    data.attrs["voxel_size"] = in_space(axes, SIZES)
    data.attrs["offset"] = in_space(axes, SHIFTS)
    data.attrs["units"] = in_space(axes, UNITS)


def axistags(data: Any, axes: str) -> None:
    data.attrs["axistags"] = vigra_tags(axes, {})


def sized_tags(data: Any, axes: str) -> None:
    """ilastik with pixel sizes: resolutions in the tags, units beside them."""
    del data.attrs["resolution"]
    data.attrs["axistags"] = vigra_tags(axes, SIZES)
    data.attrs["axis_units"] = json.dumps({axis: UNITS.get(axis, "") for axis in axes})


def element_size(data: Any, axes: str) -> None:
    """The HDF5 plugin of ImageJ gives micrometres."""
    del data.attrs["resolution"]
    data.attrs["axistags"] = np.bytes_(vigra_tags(axes, {}).encode())
    data.attrs["element_size_um"] = [size / 1e3 for size in in_space(axes, IN_NM[0])]


def vigra_tags(axes: str, sizes: dict[str, float]) -> str:
    flags = {"c": 1, "t": 8}
    tags = [
        {
            "key": axis,
            "typeFlags": flags.get(axis, 2),
            "resolution": sizes.get(axis, 0),
            "description": "",
        }
        for axis in axes
    ]
    return json.dumps({"axes": tags})


LAYOUTS = {
    "zarr 2, xarray": Layout(xarray_zarr2),
    "zarr 2, funlib": Layout(funlib_zarr2),
    "zarr 3": Layout(zarr3),
    "zarr 3, N5 viewer": Layout(n5_viewer, moved=False),
    "zarr 2, COSEM": Layout(cosem_array),
    "zarr 2, COSEM in Fortran's order": Layout(cosem_fortran),
    "zarr 2, COSEM group": Layout(cosem_group),
    "OME-Zarr 0.3": Layout(ome("0.3", no_steps), sized=False, moved=False),
    "OME-Zarr 0.4": Layout(ome("0.4", two_steps)),
    "OME-Zarr 0.5": Layout(ome("0.5", two_steps)),
    "OME-Zarr 0.6, scale": Layout(ome("0.6", two_steps)),
    "OME-Zarr 0.6, sequence": Layout(ome("0.6.dev1", sequence)),
    "OME-Zarr 0.6, moved first": Layout(ome("0.6.dev2", shifted_first)),
    "OME-Zarr 0.6, affine": Layout(ome("0.6-dev3", affine)),
    "HDF5 labels": Layout(hdf5(labels)),
    "HDF5 scales": Layout(hdf5(scales)),
    "HDF5 netCDF": Layout(hdf5(netcdf_scales)),
    "HDF5 funlib": Layout(hdf5(axis_names)),
    "HDF5 axistags": Layout(hdf5(axistags)),
    "HDF5 axistags with sizes": Layout(hdf5(sized_tags)),
    "HDF5 element_size_um": Layout(hdf5(element_size)),
}


# Positions along each axis, in arrays beside the volume.


def coordinates(axes: str, shape: tuple[int, ...]) -> dict[str, tuple[np.ndarray, dict[str, str]]]:
    return {
        axis: (
            SHIFTS.get(axis, 0) + SIZES.get(axis, 1) * np.arange(size),
            {"units": UNITS[axis]} if axis in UNITS else {},
        )
        for axis, size in zip(axes, shape)
    }


def xarray_group(version: int) -> Any:
    """Return a writer of zarr as `xarray.Dataset.to_zarr` writes it."""

    def write(folder: Path, values: np.ndarray, axes: str) -> str:
        group = zarr.create_group(str(folder / "a.zarr"), zarr_format=version)
        arrays = {"image": (values, list(axes), {})}
        for axis, (positions, attributes) in coordinates(axes, values.shape).items():
            arrays[axis] = (positions, [axis], attributes)
        for name, (content, names, attributes) in arrays.items():
            named = {"dimension_names": names} if version == 3 else {}
            array = group.create_array(name, data=content, chunks=content.shape, **named)
            array.attrs.update(attributes)
            if version == 2:
                array.attrs["_ARRAY_DIMENSIONS"] = names
        return str(folder / "a.zarr" / "image")

    return write


def netcdf(folder: Path, values: np.ndarray, axes: str) -> str:
    with h5py.File(folder / "a.nc", "w") as file:
        data = file.create_dataset("image", data=values)
        for place, (axis, (positions, attributes)) in enumerate(
            coordinates(axes, values.shape).items()
        ):
            scale = file.create_dataset(axis, data=positions.astype("f4"))
            scale.attrs.update(attributes)
            scale.make_scale(axis)
            data.dims[place].attach_scale(scale)
    return f"{folder / 'a.nc'}:image"


LAYOUTS |= {
    "zarr 2, xarray group": Layout(xarray_group(2)),
    "zarr 3, xarray group": Layout(xarray_group(3)),
    "netCDF": Layout(netcdf),
}
