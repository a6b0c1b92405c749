"""Every kind of file gives the voxels and the place that were put into it."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import (
    ALL,
    BARE,
    OFFSET,
    PLACED,
    SHAPE,
    SIZED,
    VOXEL_SIZE,
    example,
    hdf5_cremi,
    ome_zarr_04,
)

from emds.geometry import Roi
from emds.io import open_volume


@st.composite
def boxes(draw: st.DrawFn) -> Roi:
    begin = tuple(draw(st.integers(0, n - 1)) for n in SHAPE)
    end = tuple(draw(st.integers(b + 1, n)) for b, n in zip(begin, SHAPE, strict=True))
    return Roi.between(begin, end)


@pytest.fixture(scope="module", params=ALL)
def stored(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory):
    values = example("uint16")
    location = ALL[request.param](tmp_path_factory.mktemp("layout"), values)
    with open_volume(location, role="raw") as volume:
        yield request.param, values, volume


@settings(max_examples=25)
@given(roi=boxes())
def test_any_box_is_what_numpy_cuts_out(stored, roi: Roi) -> None:
    _, values, volume = stored
    box = volume.read(roi)
    np.testing.assert_array_equal(box, values[roi.slices()])
    assert box.flags.c_contiguous
    assert box.dtype == np.dtype("uint16") == volume.dtype


def test_the_whole_and_the_place(stored) -> None:
    kind, values, volume = stored
    assert volume.shape == SHAPE
    assert volume.channels is None
    np.testing.assert_array_equal(volume.read(), values)
    if kind in PLACED:
        assert volume.voxel_size == pytest.approx(VOXEL_SIZE, rel=1e-12)
        assert volume.offset == pytest.approx(OFFSET, rel=1e-12)
    elif kind in SIZED:
        assert volume.voxel_size == pytest.approx(VOXEL_SIZE, rel=1e-6)  # TIFF stores fractions
    else:
        assert kind in BARE
        assert volume.voxel_size is None
        assert volume.offset == (0, 0, 0)


def test_what_is_read_is_ours_to_change(stored) -> None:
    _, values, volume = stored
    volume.read()[:] = 0
    np.testing.assert_array_equal(volume.read(), values)


def test_sharded_zarr_reports_whole_shards_to_writers(tmp_path: Path) -> None:
    assert open_volume(ALL["zarr sharded"](tmp_path, example())).chunk_shape == (4, 10, 20)


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32"])
@pytest.mark.parametrize("kind", ["zarr v2", "hdf5 main", "bigtiff", "tiff zstd", "emds tiff"])
def test_raw_types_survive(kind: str, dtype: str, tmp_path: Path) -> None:
    values = example(dtype)
    with open_volume(ALL[kind](tmp_path, values), role="raw") as volume:
        assert volume.dtype == np.dtype(dtype)
        np.testing.assert_array_equal(volume.read(), values)


@pytest.mark.parametrize("kind", ["tiff", "png", "hdf5", "zarr"])
def test_2d_is_depth_one(kind: str, tmp_path: Path) -> None:
    page = example()[0]
    path = tmp_path / f"page.{kind}"
    if kind == "tiff":
        tifffile.imwrite(path, page)
    elif kind == "png":
        import imagecodecs

        path.write_bytes(imagecodecs.png_encode(page))
    elif kind == "hdf5":
        with h5py.File(path, "w") as file:
            file["main"] = page
    else:
        zarr.save(str(path), page)
    with open_volume(path, role="raw") as volume:
        assert volume.shape == (1, *page.shape)
        np.testing.assert_array_equal(volume.read(), page[None])
        roi = Roi((0, 3, 4), (1, 5, 6))
        np.testing.assert_array_equal(volume.read(roi), page[None][roi.slices()])


def test_channels_come_first_whatever_their_place_on_disk(tmp_path: Path) -> None:
    # OME-TIFF of microscopes: z outside, channels inside.
    values = example("uint8", (5, 2, 12, 13))
    tifffile.imwrite(tmp_path / "zc.ome.tif", values, metadata={"axes": "ZCYX"}, ome=True)
    with open_volume(tmp_path / "zc.ome.tif") as volume:
        assert volume.shape == (5, 12, 13)
        assert volume.channels == 2
        roi = Roi((1, 2, 3), (3, 4, 5))
        expected = values.transpose(1, 0, 2, 3)[(..., *roi.slices())]
        np.testing.assert_array_equal(volume.read(roi), expected)


def test_one_channel_counts_for_affinities_only(tmp_path: Path) -> None:
    location = ome_zarr_04(tmp_path, example())
    assert open_volume(location).channels is None
    assert open_volume(location, role="affinities").channels == 1


def test_locations_name_arrays_with_slash_colon_or_key(tmp_path: Path) -> None:
    file = hdf5_cremi(tmp_path, example())
    inner = "volumes/labels/neuron_ids"
    for location, key in [
        (f"{file}:{inner}", None),
        (f"{file}:/{inner}", None),
        (f"{file}/{inner}", None),
        (file, inner),
        (Path(file), inner),
        (f"{file}:volumes/labels", "neuron_ids"),
    ]:
        with open_volume(location, key=key) as volume:
            assert volume.location == f"{file}:{inner}"
            assert volume.dtype == np.uint64
    folder = ALL["zarr v3"](tmp_path, example())
    for location in (f"{folder}/volumes/raw", f"{folder}:volumes/raw", f"{folder}/volumes"):
        assert open_volume(location).location == f"{folder}/volumes/raw"


def test_relative_locations_inside_a_container(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(ALL["zarr v3"](tmp_path, example()))
    monkeypatch.chdir(folder)
    np.testing.assert_array_equal(open_volume("volumes/raw").read(), example())
    np.testing.assert_array_equal(open_volume(".", role="raw").read(), example())


def test_a_coarser_level_has_its_own_voxel_size(tmp_path: Path) -> None:
    location = ome_zarr_04(tmp_path, example())
    coarse = open_volume(f"{location}/s1")
    assert coarse.shape == (3, 16, 13)
    assert coarse.voxel_size == pytest.approx(tuple(2 * v for v in VOXEL_SIZE))
    assert open_volume(f"{location}/s0").voxel_size == pytest.approx(VOXEL_SIZE)


def ome_group(path: Path, axes: list[dict[str, str]], scale, translation) -> Path:
    group = zarr.create_group(str(path))
    group.create_array("0", shape=(4,) * len(axes), dtype="u1")
    moves = [
        {"type": "scale", "scale": scale},
        {"type": "translation", "translation": translation},
    ]
    level = {"path": "0", "coordinateTransformations": moves}
    group.attrs["ome"] = {"multiscales": [{"axes": axes, "datasets": [level]}]}
    return path


def test_without_units_the_offset_counts_voxels(tmp_path: Path) -> None:
    axes = [{"name": name, "type": "space"} for name in "zyx"]
    volume = open_volume(ome_group(tmp_path / "a.zarr", axes, [10, 2, 4], [20, 30, -8]))
    assert (volume.voxel_size, volume.offset) == (None, (2, 15, -2))


def test_a_section_is_nominally_as_thick_as_its_pixels_are_high(tmp_path: Path) -> None:
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "yx"]
    flat = ome_group(tmp_path / "a.zarr", axes, [0.004, 0.005], [0.04, 0.1])
    with open_volume(flat) as volume:
        assert volume.shape == (1, 4, 4)
        assert (volume.voxel_size, volume.offset) == ((4, 4, 5), (0, 40, 100))
    sizes = {"PhysicalSizeX": 5e-3, "PhysicalSizeY": 4e-3}
    for name, axes_of, shape in (("b.ome.tif", "YX", (8, 9)), ("c.ome.tif", "ZYX", (5, 8, 9))):
        metadata = {"axes": axes_of, **sizes}
        tifffile.imwrite(tmp_path / name, np.zeros(shape, "u1"), ome=True, metadata=metadata)
    assert open_volume(tmp_path / "b.ome.tif").voxel_size == (4, 4, 5)
    assert open_volume(tmp_path / "c.ome.tif").voxel_size is None


def test_labels_are_unsigned_and_bool_is_one_byte(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "labels.h5", "w") as file:
        file["signed"] = example("int64")
        file["mask"] = example() > 100
    with open_volume(tmp_path / "labels.h5", key="signed", role="labels") as volume:
        assert volume.dtype == np.uint64 == volume.read().dtype
        np.testing.assert_array_equal(volume.read(), example())
    with open_volume(tmp_path / "labels.h5", key="mask", role="labels") as volume:
        assert volume.dtype == np.uint8 == volume.read().dtype
        np.testing.assert_array_equal(volume.read(), example() > 100)


@pytest.mark.parametrize("name", ["a.h5", "a.tif"])
@pytest.mark.parametrize("dtype", [">i2", ">i4", ">i8"])
def test_signed_labels_of_other_byte_order(name: str, dtype: str, tmp_path: Path) -> None:
    values = np.arange(2 * 5 * 6).reshape(2, 5, 6) + 5
    if name == "a.h5":
        with h5py.File(tmp_path / name, "w") as file:
            file["main"] = values.astype(dtype)
    else:
        tifffile.imwrite(tmp_path / name, values.astype(dtype[1:]), byteorder=">")
    with open_volume(tmp_path / name, role="labels") as volume:
        assert volume.dtype == np.dtype(f"u{np.dtype(dtype).itemsize}")
        np.testing.assert_array_equal(volume.read(), values)


def test_soft_links_inside_a_file_are_followed(tmp_path: Path) -> None:
    location = hdf5_cremi(tmp_path, example())
    with h5py.File(location, "a") as file:
        file["volumes/link"] = h5py.SoftLink("raw")
        file["absolute"] = h5py.SoftLink("/volumes/link")
    np.testing.assert_array_equal(open_volume(location, key="absolute").read(), example())


def test_reading_a_box_takes_memory_for_the_box_alone(tmp_path: Path) -> None:
    import tracemalloc

    shape = (64, 512, 512)  # 16 MiB; a box of 64 KiB is asked for
    with h5py.File(tmp_path / "big.h5", "w") as file:
        file.create_dataset("main", shape=shape, dtype="u1", chunks=(8, 64, 64))
    zarr.create_array(str(tmp_path / "big.zarr"), shape=shape, dtype="u1", chunks=(8, 64, 64))
    tifffile.imwrite(tmp_path / "big.tif", shape=shape, dtype="u1")
    tifffile.imwrite(tmp_path / "z.tif", np.zeros(shape, "u1"), compression="zlib")
    for name in ("big.h5", "big.zarr", "big.tif", "z.tif"):
        with open_volume(tmp_path / name, role="raw") as volume:
            tracemalloc.start()
            volume.read(Roi((8, 64, 64), (16, 64, 64)))
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
        assert peak < 6e6, name
