"""What emds writes is read back whole, and an output is there complete or not at all."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import OFFSET, SHAPE, VOXEL_SIZE, example

from emds.errors import OutputExistsError, UsageError
from emds.geometry import Roi, iter_blocks
from emds.io import create_container, create_volume, open_volume
from emds.io.output import PendingOutput

TARGETS = ["out.zarr", "out.tif", "out.h5"]


def write_all(location: Path, values: np.ndarray, block=(2, 16, 16), **options: object) -> None:
    channels = len(values) if values.ndim == 4 else None
    with create_volume(
        location,
        shape=values.shape[-3:],
        dtype=values.dtype,
        channels=channels,
        chunk_shape=block,
        **options,
    ) as volume:
        for part in iter_blocks(volume.roi, block):
            volume.write(part.write_roi, values[(..., *part.write_roi.slices())])


@pytest.fixture(params=TARGETS)
def target(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / request.param


@pytest.mark.parametrize("dtype", ["uint8", "uint16", "int16", "float32", "uint64"])
def test_round_trip_of_everything(target: Path, dtype: str) -> None:
    values = example(dtype) if dtype != "uint64" else example(dtype) + np.uint64(2**60)
    # More than HDF5's 64 KiB for an attribute, and what JSON makes of other types.
    attributes = {"sections": [{"sigma": k / 7, "text": "é µ", "n": None} for k in range(3000)]}
    write_all(target, values, voxel_size=VOXEL_SIZE, offset=OFFSET, attributes=attributes)
    with open_volume(target) as volume:
        np.testing.assert_array_equal(volume.read(), values)
        assert volume.dtype == np.dtype(dtype)
        assert volume.voxel_size == VOXEL_SIZE
        assert volume.offset == OFFSET
        assert volume.attributes == attributes
    assert os.listdir(target.parent) == [target.name]


@pytest.mark.parametrize("channels", [1, 3])
def test_round_trip_of_affinities(target: Path, channels: int) -> None:
    values = example("uint8", (channels, *SHAPE))
    write_all(target, values, role="affinities", voxel_size=VOXEL_SIZE)
    with open_volume(target, role="affinities") as volume:
        assert volume.channels == channels
        assert volume.shape == SHAPE
        np.testing.assert_array_equal(volume.read(), values)
        roi = Roi((1, 2, 3), (2, 3, 4))
        np.testing.assert_array_equal(volume.read(roi), values[(..., *roi.slices())])


def test_without_a_voxel_size_none_is_read(target: Path) -> None:
    write_all(target, example(), offset=(1, 2, 3))
    with open_volume(target) as volume:
        assert volume.voxel_size is None
        assert volume.offset == (1, 2, 3)


@settings(max_examples=15, deadline=None)
@given(
    shape=st.tuples(*[st.integers(1, 9)] * 3),
    chunks=st.tuples(*[st.integers(1, 5)] * 3),
    suffix=st.sampled_from([".zarr", ".tif", ".h5"]),
)
def test_any_shape_and_chunks(tmp_path_factory, shape, chunks, suffix) -> None:
    values = example("uint8", shape)
    target = tmp_path_factory.mktemp("any") / f"out{suffix}"
    write_all(target, values, block=chunks)
    with open_volume(target) as volume:
        np.testing.assert_array_equal(volume.read(), values)
        assert volume.shape == shape


def test_attributes_may_be_set_late(target: Path) -> None:
    with create_volume(target, shape=SHAPE, dtype="u1", attributes={"a": 1}) as volume:
        volume.write(volume.roi, example())
        volume.set_attributes({"b": (1, 2)})
        assert volume.attributes == {"b": [1, 2]}
    assert open_volume(target).attributes == {"b": [1, 2]}


@pytest.mark.parametrize("name", ["out.zarr", "out.h5"])
def test_what_was_written_can_be_read_before_the_end(name: str, tmp_path: Path) -> None:
    with create_volume(tmp_path / name, shape=SHAPE, dtype="u1") as volume:
        volume.write(volume.roi, example())
        np.testing.assert_array_equal(volume.read(), example())


def test_other_programs_read_the_files(tmp_path: Path) -> None:
    values = example()
    for name in TARGETS:
        write_all(tmp_path / name, values, voxel_size=VOXEL_SIZE, offset=OFFSET)
    np.testing.assert_array_equal(tifffile.imread(tmp_path / "out.tif"), values)
    with tifffile.TiffFile(tmp_path / "out.tif") as file:
        assert file.series[0].axes == "ZYX"
        assert file.series[0].dataoffset is not None, "readers cannot map the file"
        per_cm, unit = file.pages[0].tags["XResolution"].value, file.pages[0].tags["ResolutionUnit"]
        assert per_cm[0] / per_cm[1] == pytest.approx(1e7 / VOXEL_SIZE[2])
        assert unit.value == 3
    with h5py.File(tmp_path / "out.h5") as file:
        raw = file["volumes/raw"]
        np.testing.assert_array_equal(raw[:], values)
        assert raw.attrs["resolution"].tolist() == list(VOXEL_SIZE)
        assert raw.attrs["offset"].tolist() == list(OFFSET)
    array = zarr.open_array(str(tmp_path / "out.zarr"), path="0", mode="r")
    np.testing.assert_array_equal(array[:], values)
    assert array.metadata.dimension_names == ("z", "y", "x")


def test_hdf5_labels_lie_where_cremi_puts_them(tmp_path: Path) -> None:
    write_all(tmp_path / "out.h5", example("uint64"), role="labels")
    assert open_volume(tmp_path / "out.h5", role="labels").location.endswith(
        "out.h5:volumes/labels/neuron_ids"
    )


def test_chunks_are_clipped_to_the_volume(tmp_path: Path) -> None:
    with create_volume(tmp_path / "a.zarr", shape=(20, 100, 300), dtype="u1") as volume:
        assert volume.chunk_shape == (16, 100, 256)
        volume.write(volume.roi, example("uint8", (20, 100, 300)))


def test_chunks_of_zeros_are_stored(tmp_path: Path) -> None:
    write_all(tmp_path / "a.zarr", np.zeros((4, 16, 16), "u1"))
    assert len(list((tmp_path / "a.zarr" / "0" / "c").rglob("[0-9]*/[0-9]*/[0-9]*"))) == 2


# Outputs appear whole or not at all.


def snapshot(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def fail_halfway(location: Path, **options: object) -> None:
    with create_volume(location, shape=SHAPE, dtype="u1", chunk_shape=(1, 64, 64), **options) as v:
        v.write(Roi((0, 0, 0), (1, *SHAPE[1:])), example()[:1])
        assert Path(f"{location}.partial").exists()
        raise KeyboardInterrupt


def test_an_exception_leaves_nothing(target: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        fail_halfway(target)
    assert os.listdir(target.parent) == []


def test_the_output_has_its_name_only_at_the_end(target: Path) -> None:
    with create_volume(target, shape=SHAPE, dtype="u1") as volume:
        volume.write(volume.roi, example())
        assert os.listdir(target.parent) == [f"{target.name}.partial"]
    assert os.listdir(target.parent) == [target.name]


def test_an_existing_output_is_refused_and_untouched(target: Path) -> None:
    write_all(target, example())
    before = snapshot(target.parent)
    with pytest.raises(OutputExistsError, match=r"exists.*--overwrite"):
        create_volume(target, shape=SHAPE, dtype="u1")
    assert snapshot(target.parent) == before


def test_a_failed_overwrite_keeps_the_old_output(target: Path) -> None:
    write_all(target, example())
    before = snapshot(target.parent)
    with pytest.raises(KeyboardInterrupt):
        fail_halfway(target, overwrite=True)
    assert snapshot(target.parent) == before


def test_overwrite_replaces_the_old_output(target: Path) -> None:
    write_all(target, example())
    write_all(target, 255 - example()[:3], overwrite=True)
    np.testing.assert_array_equal(open_volume(target).read(), 255 - example()[:3])
    assert os.listdir(target.parent) == [target.name]


def test_a_partial_output_blocks_a_second_run(target: Path) -> None:
    first = create_volume(target, shape=SHAPE, dtype="u1")
    for overwrite in (False, True):
        with pytest.raises(OutputExistsError, match="another emds is writing it now"):
            create_volume(target, shape=SHAPE, dtype="u1", overwrite=overwrite)
    first.close()
    write_all(target, example())


def test_the_partial_output_of_a_killed_process_is_no_running_one(target: Path) -> None:
    program = (
        "import os, sys; from emds.io import create_volume; "
        "v = create_volume(sys.argv[1], shape=(2, 16, 16), dtype='u1'); os._exit(9)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(target)]).returncode == 9
    assert os.listdir(target.parent) == [f"{target.name}.partial"]
    with pytest.raises(OutputExistsError, match=r"(?s)unfinished.*--overwrite"):
        create_volume(target, shape=SHAPE, dtype="u1")
    write_all(target, example(), overwrite=True)
    assert os.listdir(target.parent) == [target.name]


def leave_partial(target: Path) -> Path:
    """Leave what a process leaves that is killed as it writes."""
    output = PendingOutput(target, overwrite=False, folder=target.suffix == ".zarr")
    if target.suffix == ".zarr":
        (output.content / "zarr.json").write_text("{")
    else:
        output.content.write_text("half of it")
    output.leave()
    return output.partial


def test_overwrite_replaces_the_partial_output_of_a_killed_run(target: Path) -> None:
    leave_partial(target)
    write_all(target, example(), overwrite=True)
    np.testing.assert_array_equal(open_volume(target).read(), example())
    assert os.listdir(target.parent) == [target.name]


def test_an_old_output_of_another_kind_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a.zarr").write_text("a file")
    write_all(tmp_path / "a.zarr", example(), overwrite=True)
    np.testing.assert_array_equal(open_volume(tmp_path / "a.zarr").read(), example())


def test_a_folder_of_other_things_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "photos.zarr").mkdir()
    (tmp_path / "photos.zarr" / "holiday.jpg").write_text("dear")
    with pytest.raises(UsageError, match="never overwritten"):
        create_volume(tmp_path / "photos.zarr", shape=SHAPE, dtype="u1", overwrite=True)
    assert (tmp_path / "photos.zarr" / "holiday.jpg").read_text() == "dear"


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_zarr_of_others_is_never_overwritten(zarr_format: int, tmp_path: Path) -> None:
    target = tmp_path / "theirs.zarr"
    group = zarr.create_group(str(target), zarr_format=zarr_format)
    for name in ("volumes/raw", "more"):
        group.create_array(name, shape=(2, 3, 4), dtype="u1")[:] = 7
    # An image of emds does not make everything beside it an output of emds.
    write_all(target / "image.zarr", example())
    before = snapshot(tmp_path)
    with pytest.raises(UsageError, match="never overwritten"):
        create_volume(target, shape=SHAPE, dtype="u1", overwrite=True)
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_a_container_without_root_image_is_replaced(version: str, tmp_path: Path) -> None:
    for step in range(2):
        with create_container(
            tmp_path / "a.zarr", overwrite=step > 0, ome_version=version
        ) as container:
            labels = container.create_labels("neurons", SHAPE)
            labels.write(labels.roi, example("uint64"))
    assert os.listdir(tmp_path) == ["a.zarr"]


@pytest.mark.parametrize(
    ("name", "maker"),
    [
        ("out.zarr", "zarr.open_group"),
        ("out.zarr", "zarr.Group.create_array"),
        ("out.tif", "tifffile.TiffWriter"),
        ("out.h5", "h5py.File"),
        ("out.h5", "h5py.Group.create_dataset"),
    ],
)
def test_an_output_that_cannot_be_started_leaves_nothing(
    name: str, maker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **options: object) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(maker, fail)
        with pytest.raises(OSError, match="disk full"):
            create_volume(tmp_path / name, shape=SHAPE, dtype="u1")
    assert os.listdir(tmp_path) == []
    write_all(tmp_path / name, example())


def test_the_claimed_folder_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed: list[object] = []
    monkeypatch.setattr("shutil.rmtree", lambda path, *rest, **options: removed.append(path))
    with create_volume(tmp_path / "out.zarr", shape=SHAPE, dtype="u1") as volume:
        volume.write(volume.roi, example())
    assert removed == []


def test_an_output_with_holes_is_not_committed(target: Path) -> None:
    volume = create_volume(target, shape=SHAPE, dtype="u1", chunk_shape=(2, 64, 64))
    with pytest.raises(RuntimeError, match="not written everywhere"), volume:
        volume.write(Roi((0, 0, 0), (2, *SHAPE[1:])), example()[:2])
    assert os.listdir(target.parent) == []


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("out.png", r"must end in \.zarr"),
        ("out", r"must end in \.zarr"),
        ("nowhere/out.zarr", "does not exist"),
        ("nowhere/out.tif", "does not exist"),
    ],
)
def test_places_that_cannot_be_written(name: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=message):
        create_volume(tmp_path / name, shape=SHAPE, dtype="u1")
    with pytest.raises(UsageError):
        create_container(tmp_path / name.replace(".tif", ".zarr"))
    assert os.listdir(tmp_path) == []


# Mistakes of our own code are caught where they are made.


def test_two_writers_cannot_share_a_chunk(tmp_path: Path) -> None:
    volume = create_volume(tmp_path / "a.zarr", shape=SHAPE, dtype="u1", chunk_shape=(2, 16, 16))
    for roi in (Roi((1, 0, 0), (1, 16, 16)), Roi((0, 0, 0), (1, 16, 16))):
        with pytest.raises(AssertionError, match="inside a chunk"):
            volume.write(roi, np.zeros(roi.shape, "u1"))
    volume.close()


def test_values_must_fit_box_and_type(target: Path) -> None:
    volume = create_volume(target, shape=SHAPE, dtype="u1")
    with pytest.raises(AssertionError, match="float32"):
        volume.write(volume.roi, example("float32"))
    with pytest.raises(AssertionError, match="values for a box"):
        volume.write(volume.roi, example()[:1])
    with pytest.raises(AssertionError, match="leaves"):
        volume.write(volume.roi.shift((1, 0, 0)), example())
    volume.close()


def test_tiff_sections_come_in_order_parts_in_any(tmp_path: Path) -> None:
    values = example()
    z, y, x = SHAPE
    with create_volume(tmp_path / "a.tif", shape=SHAPE, dtype="u1") as volume:
        for begin, end in ((0, 3), (3, z)):
            for low, high in ((10, y), (0, 10)):
                roi = Roi((begin, low, 0), (end - begin, high - low, x))
                volume.write(roi, values[roi.slices()])
        with pytest.raises(AssertionError, match="already written"):
            volume.write(Roi((0, 0, 0), (1, y, x)), values[:1])
    np.testing.assert_array_equal(open_volume(tmp_path / "a.tif").read(), values)


def test_attributes_without_a_json_form_are_refused(target: Path) -> None:
    volume = create_volume(target, shape=SHAPE, dtype="u1")
    for value in (float("nan"), np.zeros(3)):
        with pytest.raises((TypeError, ValueError)):
            volume.set_attributes({"value": value})
    volume.close()


@pytest.mark.parametrize("version", ["0.5", "0.4"])
def test_to_other_readers_a_lost_chunk_is_background(tmp_path, version):
    values = np.full((4, 8, 8), 7, np.uint64)
    with create_volume(
        tmp_path / "a.zarr",
        shape=values.shape,
        dtype=values.dtype,
        chunk_shape=(2, 8, 8),
        role="labels",
        ome_version=version,
    ) as volume:
        volume.write(volume.roi, values)
    (chunk,) = (
        tmp_path.glob("a.zarr/0/c/1/0/0") if version == "0.5" else tmp_path.glob("a.zarr/0/1/0/0")
    )
    chunk.unlink()
    found = zarr.open_array(tmp_path / "a.zarr/0", mode="r")[:]
    np.testing.assert_array_equal(found, np.repeat([7, 7, 0, 0], 64).reshape(4, 8, 8))
