"""Voxel sizes and offsets in any unit; what is not understood is unknown, and said."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from axis_layouts import ome, two_steps, zarr_array

from emds.errors import VolumeError
from emds.io import create_volume, describe, open_volume
from emds.io.place import Spacing, find_place

VOLUME = np.arange(5 * 6 * 7, dtype=np.uint8).reshape(5, 6, 7)


def size_of(location: str | Path) -> tuple[float, float, float] | None:
    with open_volume(location) as volume:
        return volume.voxel_size


# One micrometre in a unit, by each of its names.
MICROMETRE = {
    1.0: [
        *["um", "µm", "μm", "UM", "micron", "microns", "Micron", "micrometer", "micrometers"],
        *["micrometre", "micrometres", "\\u00B5m", "\\u00b5m", "\\xb5m", "&#181;m", "&micro;m"],
        *["Âµm", "Î¼m", " µm ", "[um]", "micro-meter"],
    ],
    1e3: ["nm", "NM", "nanometer", "nanometers", "nanometre", "Nanometers", "nm."],
    1e4: ["Å", "\u212b", "angstrom", "Angstrom", "angstroms", "\\u00C5", "Ångström"],
    1e6: ["pm", "picometer"],
    1e-3: ["mm", "millimeter", "millimetres"],
    1e-4: ["cm", "centimeters"],
    1e-6: ["m", "meter", "metres"],
    1 / 25400: ["inch", "inches", "in"],
}
NAMES = [(count, name) for count, names in MICROMETRE.items() for name in names]
NOT_LENGTHS = ["furlong", "s", "ms", "", "Mm", "nms", "parsec"]
COUNTS = ["pixel", "pixels", "voxel", "px"]

Writer = Callable[[Path, float, str], str]


def hdf5_units(folder: Path, scale: float, unit: str) -> str:
    with h5py.File(folder / "a.h5", "w") as file:
        file["a"] = VOLUME
        file["a"].attrs.update({"voxel_size": [scale, 2 * scale, 3 * scale], "units": [unit] * 3})
    return f"{folder}/a.h5:a"


def zarr_units(folder: Path, scale: float, unit: str) -> str:
    array = zarr_array(folder, VOLUME, 2)
    array.attrs.update({"resolution": [scale, 2 * scale, 3 * scale], "units": unit})
    return f"{folder}/a.zarr"


def ome_zarr_units(folder: Path, scale: float, unit: str) -> str:
    location = ome("0.4", lambda _: [{"type": "scale", "scale": [scale, 2 * scale, 3 * scale]}])(
        folder, VOLUME, "zyx"
    )
    group = zarr.open_group(location, mode="r+")
    image = group.attrs["multiscales"][0]
    image["axes"] = [{"name": axis, "type": "space", "unit": unit} for axis in "zyx"]
    group.attrs["multiscales"] = [image]
    return location


def imagej(
    folder: Path,
    scale: float | tuple[float, float, float],
    unit: str,
    *lines: str,
    spacing: bool = True,
) -> str:
    """Write a description as ImageJ does, and resolutions as pixels per unit."""
    z, y, x = (scale, 2 * scale, 3 * scale) if isinstance(scale, float) else scale
    stated = [f"unit={unit}"] * bool(unit) + [f"spacing={z!r}"] * spacing
    head = "\n".join(["ImageJ=1.54f", "images=5", "slices=5", *stated, *lines, "loop=false", ""])
    with tifffile.TiffWriter(folder / "a.tif") as file:
        for number, section in enumerate(VOLUME):
            file.write(
                section,
                photometric="minisblack",
                metadata=None,
                description=head.encode("latin-1", "xmlcharrefreplace") if not number else None,
                resolution=(1 / x, 1 / y),
                resolutionunit="NONE",
            )
    return f"{folder}/a.tif"


def ome_tiff(folder: Path, scale: float, unit: str) -> str:
    sizes = {
        key: value
        for axis, size in (("Z", scale), ("Y", 2 * scale), ("X", 3 * scale))
        for key, value in (
            (f"PhysicalSize{axis}", repr(size)),
            (f"PhysicalSize{axis}Unit", unit),
        )
    }
    metadata = {"axes": "ZYX", **sizes}
    tifffile.imwrite(folder / "a.ome.tif", VOLUME, ome=True, metadata=metadata)
    return f"{folder}/a.ome.tif"


WRITERS: dict[str, Writer] = {
    "HDF5": hdf5_units,
    "zarr": zarr_units,
    "OME-Zarr": ome_zarr_units,
    "ImageJ": imagej,
    "OME-TIFF": ome_tiff,
}


@pytest.mark.parametrize(("count", "unit"), NAMES)
@pytest.mark.parametrize("kind", ["HDF5", "ImageJ"])
def test_every_name_of_a_unit(kind: str, count: float, unit: str, tmp_path: Path, caplog) -> None:
    assert size_of(WRITERS[kind](tmp_path, 0.004 * count, unit)) == pytest.approx(
        (4, 8, 12), rel=1e-4
    )  # TIFF stores fractions
    assert not caplog.records


@pytest.mark.parametrize("unit", ["nanometers", "Å", "micron", "\\u00B5m"])
@pytest.mark.parametrize("kind", WRITERS)
def test_every_kind_of_file_knows_the_units(kind: str, unit: str, tmp_path: Path) -> None:
    count = next(count for count, name in NAMES if name == unit)
    assert size_of(WRITERS[kind](tmp_path, 0.004 * count, unit)) == pytest.approx(
        (4, 8, 12), rel=1e-4
    )


@pytest.mark.parametrize("unit", NOT_LENGTHS)
@pytest.mark.parametrize("kind", WRITERS)
def test_a_unit_that_is_no_length_is_unknown(kind, unit, tmp_path: Path, caplog) -> None:
    location = WRITERS[kind](tmp_path, 0.25, unit)
    with open_volume(location) as volume:
        assert volume.voxel_size is None
        np.testing.assert_array_equal(volume.read(), VOLUME)
    (record,) = caplog.records
    message = record.getMessage()
    assert message.startswith(f"{location}: its ")
    assert message.endswith("its voxel size is taken as unknown.")
    assert (repr(unit) if unit else "without a unit") in message
    assert describe(location)["arrays"][0]["remarks"] == [message[len(location) + 2 : -1]]


@pytest.mark.parametrize("unit", COUNTS)
@pytest.mark.parametrize("kind", WRITERS)
def test_counted_voxels_have_no_size(kind: str, unit: str, tmp_path: Path) -> None:
    assert size_of(WRITERS[kind](tmp_path, 1.0, unit)) is None


# ImageJ: units of y and z where they differ, spacing, origin.


@pytest.mark.parametrize(
    ("scale", "unit", "lines", "right"),
    [
        ((0.04, 4, 5), "nm", ["zunit=micron"], (40, 4, 5)),
        ((0.04, 4, 5), "nm", ["yunit=nm", "zunit=\\u00B5m"], (40, 4, 5)),
        ((40, 0.004, 5), "nm", ["yunit=microns", "zunit=nm"], (40, 0.004e3, 5)),
        ((40, 4, 0.005), "um", ["yunit=nm", "zunit=nm"], (40, 4, 5)),
        ((400, 40, 0.5), "nm", ["yunit=Angstrom", "zunit=\\u00C5"], (40, 4, 0.5)),
        ((-40, 4, 5), "nm", [], (40, 4, 5)),  # ImageJ counts down
    ],
)
def test_imagej_units_by_axis(scale, unit, lines, right, tmp_path: Path, caplog) -> None:
    assert size_of(imagej(tmp_path, scale, unit, *lines)) == pytest.approx(right, rel=1e-4)
    assert not caplog.records


def test_imagej_origin_is_an_offset(tmp_path: Path) -> None:
    lines = ["xorigin=10.0", "yorigin=-20.0", "zorigin=2", "zunit=micron"]
    with open_volume(imagej(tmp_path, (0.04, 4, 5), "nm", *lines)) as volume:
        assert volume.offset == pytest.approx((-80, 80, -50), rel=1e-4)


@pytest.mark.parametrize("axis", "zy")
def test_imagej_unit_of_one_axis_that_is_no_length(axis: str, tmp_path: Path, caplog) -> None:
    location = imagej(tmp_path, (40.0, 4, 5), "nm", f"{axis}unit=sec")
    assert size_of(location) is None
    assert f"its ImageJ metadata gives the voxel size along {axis} in 'sec'" in caplog.text


def test_imagej_leaves_out_a_spacing_of_one_unit(tmp_path: Path, caplog) -> None:
    location = imagej(tmp_path, (1, 0.004, 0.005), "um", spacing=False)
    assert size_of(location) == pytest.approx((1000, 4, 5), rel=1e-4)
    assert "its ImageJ metadata states no spacing, which to ImageJ is 1 'um'" in caplog.text


def test_one_section_has_no_spacing(tmp_path: Path, caplog) -> None:
    options = {"resolution": (200, 250), "metadata": {"unit": "um"}}
    tifffile.imwrite(tmp_path / "a.tif", VOLUME[0], imagej=True, **options)
    assert size_of(tmp_path / "a.tif") == pytest.approx((4, 4, 5))
    assert not caplog.records


@pytest.mark.parametrize("missing", ["Z", "Y", "X"])
def test_ome_xml_that_states_two_sizes_of_three(missing: str, tmp_path: Path, caplog) -> None:
    sizes = {f"PhysicalSize{axis}": 0.004 for axis in "ZYX" if axis != missing}
    metadata = {"axes": "ZYX", **sizes}
    tifffile.imwrite(tmp_path / "a.ome.tif", VOLUME, ome=True, metadata=metadata)
    assert size_of(tmp_path / "a.ome.tif") is None
    assert f"its OME metadata states no voxel size along {missing.lower()}" in caplog.text


@pytest.mark.parametrize("size", ["0", "-4", "nan", "inf", "wide"])
def test_ome_xml_of_no_size(size: str, tmp_path: Path, caplog) -> None:
    metadata = {"axes": "ZYX", "PhysicalSizeZ": 1.5, "PhysicalSizeY": 1, "PhysicalSizeX": 1}
    tifffile.imwrite(tmp_path / "a.ome.tif", VOLUME, ome=True, metadata=metadata)
    content = (tmp_path / "a.ome.tif").read_bytes()
    assert content.count(b'SizeZ="1.5"') == 1, "test invalid"
    bad = f'SizeZ="{size}"'.encode().ljust(len(b'SizeZ="1.5"'))
    (tmp_path / "a.ome.tif").write_bytes(content.replace(b'SizeZ="1.5"', bad))
    assert size_of(tmp_path / "a.ome.tif") is None
    assert "states no voxel size along z" in caplog.text


def test_time_points_of_a_tiff_are_sections_and_said(tmp_path: Path, caplog) -> None:
    tifffile.imwrite(tmp_path / "a.tif", VOLUME, imagej=True, metadata={"axes": "TYX"})
    with open_volume(tmp_path / "a.tif", role="raw") as volume:
        np.testing.assert_array_equal(volume.read(), VOLUME)
    assert "its 5 time points are taken as 5 sections (z)" in caplog.text


def test_time_is_no_channel(tmp_path: Path) -> None:
    values = np.zeros((2, 5, 8, 9), "u1")
    tifffile.imwrite(
        tmp_path / "a.tif", values, photometric="minisblack", metadata={"axes": "TQYX"}
    )
    for role in ("affinities", None):
        with pytest.raises(VolumeError, match="longer than 1"):
            open_volume(tmp_path / "a.tif", role=role)


# What gives the size, where several do.


@pytest.mark.parametrize(
    ("attributes", "size", "offset", "words"),
    [
        ({"resolution": [40, 4, 5], "units": ["nm", "nm", "nm"]}, (40, 4, 5), (0, 0, 0), []),
        ({"resolution": [40, 4, 5], "units": b"nm"}, (40, 4, 5), (0, 0, 0), []),
        ({"resolution": [40, 4, 5], "units": np.bytes_(b"nm")}, (40, 4, 5), (0, 0, 0), []),
        ({"resolution": [40, 4, 5], "units": np.array([b"nm"] * 3)}, (40, 4, 5), (0, 0, 0), []),
        ({"resolution": [40, 4, 5], "units": ["nm"]}, (40, 4, 5), (0, 0, 0), []),
        ({"resolution": [40, 4, 5], "units": '["nm", "nm", "nm"]'}, (40, 4, 5), (0, 0, 0), []),
        (
            {"voxel_size": [0.04, 4, 5], "offset": [1, 2, 3], "units": ["um", "nm", "nm"]},
            (40, 4, 5),
            (1000, 2, 3),
            [],
        ),
        (
            {"resolution": [40, 4, 5], "units": ["nm", "nm"]},
            None,
            (0, 0, 0),
            ["units ['nm', 'nm']"],
        ),
        ({"resolution": [40, 4, 5], "units": 5}, None, (0, 0, 0), ["in '5'"]),
        ({"resolution": [40, 4, 5], "units": ["", "", ""]}, None, (0, 0, 0), ["without a unit"]),
        ({"resolution": [40, 4, 5], "voxel_size": [40, 4, 5]}, (40, 4, 5), (0, 0, 0), []),
        (
            {"resolution": [40, 4, 5], "voxel_size": [4, 4, 40]},
            (40, 4, 5),
            (0, 0, 0),
            ["'resolution' gives a voxel size of 40 x 4 x 5 nm", "'voxel_size' one of 4 x 4 x 40"],
        ),
        (
            {"transform": '{"scale": [40, 4, 5]}'},
            None,
            (0, 0, 0),
            ["'transform'", "without a unit"],
        ),
        ({"transform": "affine"}, None, (0, 0, 0), ["'transform' is not understood: 'affine'"]),
        ({"transform": "affine", "resolution": [40, 4, 5]}, (40, 4, 5), (0, 0, 0), ["'transform'"]),
        ({"offset": [80, 4, 10]}, None, (0, 0, 0), ["'offset'", "(80 nm)", "taken as 0"]),
        (
            {"voxel_size": [8, 4, 2], "offset": [80, 4, 10], "units": "lightyear"},
            None,
            (10, 1, 5),  # the ratio holds in any unit
            ["'lightyear', no known length"],
        ),
        ({"units": "counts"}, None, (0, 0, 0), []),  # of the values, as xarray has it
    ],
)
def test_attributes_of_hdf5(attributes, size, offset, words, tmp_path: Path, caplog) -> None:
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["a"] = VOLUME
        file["a"].attrs.update(attributes)
        file["b"] = np.zeros((4, 4))
        file["b"].attrs.update(attributes)
    with open_volume(f"{tmp_path}/a.h5:a", role="raw") as volume:
        assert volume.voxel_size == size
        assert volume.offset == pytest.approx(offset)
    assert bool(caplog.records) == bool(words), caplog.text
    for word in words:
        assert word in caplog.text


def test_attributes_of_another_type(tmp_path: Path) -> None:
    """A set or attribute that h5py cannot read is no reason to refuse the one beside it."""
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["raw"] = VOLUME
        file["raw"].attrs.update({"resolution": [40, 4, 5], "notes": h5py.Empty("f4")})
        file["labels"] = VOLUME
        file["labels"].attrs["units"] = h5py.Empty("S1")
        file["labels"].attrs["resolution"] = h5py.Empty("f4")
    assert size_of(f"{tmp_path}/a.h5:raw") == (40, 4, 5)
    with pytest.raises(VolumeError, match=r"a\.h5:labels.*'resolution' must be numbers"):
        open_volume(tmp_path / "a.h5", key="labels")


def test_levels_of_an_n5_viewer(tmp_path: Path) -> None:
    """The size is that of the finest level; a voxel's position is its centre."""
    array = zarr_array(tmp_path, VOLUME, 2)
    array.attrs["pixelResolution"] = {"unit": "um", "dimensions": [0.004, 0.005, 0.04]}
    array.attrs["downsamplingFactors"] = [2, 4, 1]
    volume = open_volume(tmp_path / "a.zarr")
    assert volume.voxel_size == (40, 20, 8)
    assert volume.offset == pytest.approx((0, 7.5, 2))


def test_what_emds_wrote_without_a_voxel_size_needs_no_word(tmp_path: Path, caplog) -> None:
    for name in ("a.zarr", "a.h5", "a.tif"):
        with create_volume(
            tmp_path / name, shape=(5, 6, 7), dtype=np.uint8, offset=(1.0, 2.0, 3.0)
        ) as volume:
            volume.write(volume.roi, VOLUME)
        with open_volume(tmp_path / name) as volume:
            assert (volume.voxel_size, volume.offset) == (None, (1, 2, 3)), name
    assert not caplog.records


# Transformations of OME-Zarr.

SCALE = {"type": "scale", "scale": [40, 4, 5]}
MOVE = {"type": "translation", "translation": [80, 8, 10]}


def with_steps(folder: Path, steps: list[Any], version: str = "0.5", **changes: Any) -> str:
    location = ome(version, lambda _: steps)(folder, VOLUME, "zyx")
    group = zarr.open_group(location, mode="r+")
    content = group.attrs["ome"]
    image = content["multiscales"][0]
    units = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "zyx"]
    if version < "0.6":
        image["axes"] = units
    else:
        image["coordinateSystems"][1]["axes"] = units
    group.attrs["ome"] = {**content, "multiscales": [image | changes]}
    return location


@pytest.mark.parametrize(
    ("steps", "words"),
    [
        ([], ["states no scale"]),
        ([MOVE], ["states no scale", "along z (80 nanometer)"]),
        ([{"type": "identity"}], ["states no scale"]),
        ([{"type": "scale", "path": "scales"}], ["a scale without numbers"]),
        ([SCALE, {"type": "wobble"}], ["'wobble'"]),
        ([{"type": "sequence", "transformations": [SCALE, {"type": "wobble"}]}], ["'wobble'"]),
        ([{"scale": [1, 2, 3]}], ["'None'"]),
    ],
)
def test_transformations_that_are_not_understood(steps, words, tmp_path: Path, caplog) -> None:
    with open_volume(with_steps(tmp_path, steps)) as volume:
        assert volume.voxel_size is None
        np.testing.assert_array_equal(volume.read(), VOLUME)
    for word in ["its OME metadata", "its voxel size is taken as unknown", *words]:
        assert word in caplog.text


TURNED = [[0, 0, 1], [1, 0, 0], [0, 1, 0]]


@pytest.mark.parametrize(
    "step",
    [
        {"type": "rotation", "rotation": TURNED},
        {"type": "mapAxis", "mapAxis": [2, 1, 0]},
        {"type": "affine", "affine": [[*row, 0] for row in TURNED]},
        {"type": "affine", "affine": [[40, 0, 1e-3, 0], [0, 4, 0, 0], [0, 0, 5, 0]]},
        {"type": "byDimension"},
        {"type": "displacements", "path": "d"},
    ],
    ids=lambda step: step["type"],
)
@pytest.mark.parametrize("version", ["0.5", "0.6"])
def test_turned_images_are_refused(version: str, step: dict[str, Any], tmp_path: Path) -> None:
    location = with_steps(tmp_path, [step], version)
    with pytest.raises(VolumeError, match=r"OME metadata .*turns"):
        open_volume(location)


@pytest.mark.parametrize(
    "step",
    [
        {"type": "affine", "affine": [[40, 0, 0, 80], [0, 4, 0, 8], [0, 0, 5, 10]]},
        {"type": "affine", "affine": [40, 0, 0, 80, 0, 4, 0, 8, 0, 0, 5, 10]},
        {"type": "sequence", "transformations": [SCALE, MOVE]},
        {
            "type": "sequence",
            "transformations": [{"type": "mapAxis", "mapAxis": [0, 1, 2]}, SCALE, MOVE],
        },
    ],
)
def test_transformations_that_only_scale_and_move(step: dict[str, Any], tmp_path: Path) -> None:
    volume = open_volume(with_steps(tmp_path, [step], "0.6"))
    assert (volume.voxel_size, volume.offset) == ((40, 4, 5), (80, 8, 10))


@pytest.mark.parametrize("version", ["0.7", "0.10", "1.0", "0.60", "latest", "6"])
def test_versions_that_nobody_knows_yet(version: str, tmp_path: Path) -> None:
    location = with_steps(tmp_path, [SCALE])
    group = zarr.open_group(location, mode="r+")
    group.attrs["ome"] = group.attrs["ome"] | {"version": version}
    with pytest.raises(VolumeError, match=f"OME-Zarr version '{version}' is not read, 0.1 to 0.6"):
        open_volume(location)
    assert version in describe(location)["arrays"][0]["unusable"]


@pytest.mark.parametrize("version", [None, "0.5", "0.5.2", "0.5-dev1", "0.4"])
def test_versions_that_are_known(version: str | None, tmp_path: Path) -> None:
    location = with_steps(tmp_path, [SCALE])
    group = zarr.open_group(location, mode="r+")
    group.attrs["ome"] = {**group.attrs["ome"], "version": version}
    assert size_of(location) == (40, 4, 5)


def test_levels_lead_to_one_coordinate_system(tmp_path: Path) -> None:
    for output in ("nowhere", None):
        (tmp_path / str(output)).mkdir()
        step = SCALE | {"input": "0", "output": output}
        location = with_steps(tmp_path / str(output), [SCALE], "0.6")
        group = zarr.open_group(location, mode="r+")
        content = group.attrs["ome"]
        content["multiscales"][0]["datasets"][0]["coordinateTransformations"] = [step]
        group.attrs["ome"] = content
        with pytest.raises(VolumeError, match=r"coordinate systems \['atlas', 'physical'\]"):
            open_volume(location)


def test_two_images_of_one_group(tmp_path: Path) -> None:
    location = with_steps(tmp_path, [SCALE])
    group = zarr.open_group(location, mode="r+")
    group.create_array("other", data=VOLUME.T.copy(), chunks=(7, 6, 5))
    content = group.attrs["ome"]
    axes = [{"name": axis, "type": "space", "unit": "nanometer"} for axis in "xyz"]
    steps = [{"type": "scale", "scale": [5, 4, 40]}]
    level = {"path": "other", "coordinateTransformations": steps}
    content["multiscales"].append({"axes": axes, "datasets": [level]})
    group.attrs["ome"] = content
    for place in (location, f"{location}/other"):
        with open_volume(place, role="raw") as volume:
            assert (volume.shape, volume.voxel_size) == ((5, 6, 7), (40, 4, 5))
            np.testing.assert_array_equal(volume.read(), VOLUME)


def test_coarser_levels_of_counted_voxels_need_no_word(tmp_path: Path, caplog) -> None:
    location = ome("0.5", two_steps)(tmp_path, VOLUME, "zyx")
    group = zarr.open_group(location, mode="r+")
    group.create_array("s1", data=VOLUME[:, ::2, ::2], chunks=(5, 3, 4))
    group.attrs["ome"] = {
        "multiscales": [
            {
                "axes": [{"name": axis, "type": "space"} for axis in "zyx"],
                "datasets": [
                    {
                        "path": f"s{level}",
                        "coordinateTransformations": [{"type": "scale", "scale": scale}],
                    }
                    for level, scale in enumerate(([1, 1, 1], [1, 2, 2]))
                ],
            }
        ]
    }
    for place in (location, f"{location}/s1"):
        assert size_of(place) is None
    assert not caplog.records


def test_positions_in_voxels_where_one_axis_has_no_length() -> None:
    """The size along y is unknown, so all is counted; z has its size in um, its shift in nm."""
    sizes = Spacing("sizes", [0.04, 4, 5], [None] * 3, ["um", "furlong", "nm"], [None] * 3)
    shifts = Spacing("shifts", [None] * 3, [80, 0, 10], [None] * 3, ["nm", "nm", "nm"])
    place = find_place("zyx", [sizes, shifts])
    assert (place.voxel_size, place.offset) == (None, (2, 0, 2))
