"""Whatever happens to a chunk on disk, `check` says so; and it says nothing else."""

import json
import shutil
from pathlib import Path

import h5py
import numpy as np
import pytest

from emds.demo.phantom import make_phantom
from emds.errors import IncompleteError, VolumeError
from emds.geometry import Roi, iter_blocks
from emds.io import create_container, create_volume, open_volume
from emds.io.output import PendingOutput
from emds.io.ownership import write_mark
from emds.stages.check import LISTED, check

CHUNK = (2, 32, 32)


def fill(volume, values):
    for block in iter_blocks(volume.roi, volume.chunk_shape):
        volume.write(block.write_roi, values[(..., *block.write_roi.slices())])


def write_container(path, image, labels, version="0.5"):
    affinities = np.stack([image, image.max() - image])
    with create_container(path, ome_version=version) as container:
        fill(container.create_image(None, image.shape, "u1", chunk_shape=CHUNK), image)
        fill(container.create_labels("neurons", labels.shape, chunk_shape=CHUNK), labels)
        fill(
            container.create_image("affinities", image.shape, "u1", channels=2, chunk_shape=CHUNK),
            affinities,
        )
        container.set_attributes({"command": "run"})


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A container in each version of OME-Zarr."""
    image, labels = make_phantom((5, 80, 70), seed=2)
    folder = tmp_path_factory.mktemp("whole")
    for version in ("0.5", "0.4"):
        write_container(folder / f"{version}.zarr", image, labels.astype("u8"), version)
    return folder


@pytest.fixture(params=["0.5", "0.4"])
def container(whole, tmp_path, request):
    return Path(shutil.copytree(whole / f"{request.param}.zarr", tmp_path / "seg.zarr"))


def chunks_of(folder):
    metadata = {"zarr.json", ".zarray", ".zattrs", ".zgroup"}
    return sorted(p for p in folder.rglob("*") if p.is_file() and p.name not in metadata)


def flip(path, bit):
    content = bytearray(path.read_bytes())
    content[bit // 8] ^= 1 << bit % 8
    path.write_bytes(content)


def test_all_is_read_and_all_is_well(container):
    seen = []
    report = check(container, progress=lambda *step: seen.append(step))
    grid, voxels = 3 * 3 * 3, 5 * 80 * 70
    assert [(a.location, a.chunks, a.bytes) for a in report.arrays] == [
        (f"{container}", grid, voxels),
        (f"{container}/affinities", 2 * grid, 2 * voxels),
        (f"{container}/labels/neurons", grid, 8 * voxels),
    ]
    assert all(array.checksums for array in report.arrays)
    assert report.complaint() is None
    assert report.notes == []
    assert seen[-1] == (4 * grid, 4 * grid, "chunks read")
    assert len(chunks_of(container)) == 4 * grid


def test_forty_flipped_bits_in_real_em_are_all_found(em_data, tmp_path):
    with open_volume(em_data / "flyem_medulla.h5", role="raw") as source:
        values = source.read(Roi((0, 0, 0), (8, 128, 128)))
    with create_volume(
        tmp_path / "raw.zarr", shape=values.shape, dtype=values.dtype, chunk_shape=(4, 64, 64)
    ) as volume:
        fill(volume, values)
    every_bit_is_found(tmp_path / "raw.zarr", 40)


def test_flipped_bits_anywhere_in_a_container_are_found(container):
    every_bit_is_found(container, 6)


def every_bit_is_found(folder, count):
    rng = np.random.default_rng(5)
    chunks = chunks_of(folder)
    for path in rng.choice(np.array(chunks, dtype=object), count):
        content = path.read_bytes()
        flip(path, int(rng.integers(8 * len(content))))
        report = check(folder)
        assert [bad.problem for bad in report.bad_chunks] == ["damaged"], path
        assert ".".join(map(str, report.bad_chunks[0].index)) in ".".join(path.parts)
        path.write_bytes(content)
    assert check(folder).complaint() is None, "test invalid"


@pytest.mark.parametrize("content", [b"", b"\0" * 50])
def test_chunks_of_wrong_bytes_are_damaged(content, container):
    chunks_of(container)[0].write_bytes(content)
    assert check(container).arrays[0].damaged == 1


def test_the_place_of_a_lost_chunk_is_named(container):
    path = container / "labels/neurons/0" / ("c/1/2/0" if is_v3(container) else "1/2/0")
    path.unlink()
    (bad,) = check(container).bad_chunks
    assert (bad.index, bad.begin, bad.end) == ((1, 2, 0), (2, 64, 0), (4, 80, 32))
    assert (
        f"{container}/labels/neurons chunk (1, 2, 0), voxels z 2:4, y 64:80, x 0:32: missing"
        in str(bad)
    )


def is_v3(container):
    return (container / "zarr.json").exists()


def test_twenty_are_listed_and_the_others_counted(container):
    for path in chunks_of(container)[:30]:
        path.unlink()
    report = check(container)
    assert len(report.bad_chunks) == LISTED == 20
    assert report.bad_count == 30
    assert "30 of 108 chunks cannot be read" in report.complaint()
    assert report.complaint().count("\n  ") == 21
    assert "\n  and 10 more" in report.complaint()


def test_a_group_can_be_checked_alone(container):
    chunks_of(container / "affinities")[0].unlink()
    assert check(container / "labels").complaint() is None
    assert check(container, key="affinities").bad_count == 1


def test_labels_that_do_not_fit_the_image(tmp_path):
    image, labels = make_phantom((4, 64, 64), seed=2)
    write_container(tmp_path / "seg.zarr", image, labels[:, :, :-1].astype("u8"))
    complaint = check(tmp_path / "seg.zarr").complaint()
    assert "labels/neurons is (4, 64, 63)" in complaint
    assert "seg.zarr is (4, 64, 64) (z, y, x)" in complaint


def test_labels_that_are_gone(container):
    shutil.rmtree(container / "labels/neurons")
    assert "labels/neurons is not there" in check(container).complaint()


@pytest.mark.parametrize("place", ["0", "labels/neurons/0"])
def test_metadata_that_are_damaged(place, container):
    (container / place / ("zarr.json" if is_v3(container) else ".zarray")).write_text("{")
    report = check(container)
    assert f"{place} cannot be read: its zarr metadata is damaged" in report.complaint()
    assert len(report.arrays) == 2  # the others are checked all the same
    chunks_of(container / "affinities")[0].unlink()
    assert check(container).bad_count == 1


def test_the_metadata_of_the_whole_that_are_damaged(container):
    (container / ("zarr.json" if is_v3(container) else ".zgroup")).write_text("{")
    with pytest.raises(VolumeError, match="metadata"):
        check(container)


@pytest.mark.parametrize("suffix", ["tif", "h5"])
def test_other_files_are_read_to_the_end(suffix, tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (6, 40, 40), "u1")
    with create_volume(
        tmp_path / f"a.{suffix}", shape=values.shape, dtype="u1", chunk_shape=(2, 20, 20)
    ) as volume:
        fill(volume, values)
    report = check(tmp_path / f"a.{suffix}")
    assert report.complaint() is None
    assert report.arrays[0].bytes == values.nbytes
    assert report.arrays[0].checksums == (suffix == "h5")
    assert bool(report.notes) == (suffix == "tif")


def test_damage_in_hdf5_is_found(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (6, 40, 40), "u1")
    with create_volume(
        tmp_path / "a.h5", shape=values.shape, dtype="u1", chunk_shape=(2, 20, 20)
    ) as volume:
        fill(volume, values)
    with h5py.File(tmp_path / "a.h5") as file:
        chunk = file["volumes/raw"].id.get_chunk_info(5)
    flip(tmp_path / "a.h5", 8 * (chunk.byte_offset + chunk.size // 2))
    (bad,) = check(tmp_path / "a.h5").bad_chunks
    assert bad.begin == chunk.chunk_offset
    assert bad.problem == "damaged"


@pytest.mark.parametrize(
    ("filters", "sealed"),
    [
        ({}, False),
        ({"chunks": (2, 20, 20)}, False),
        ({"chunks": (2, 20, 20), "compression": "lzf"}, False),
        ({"chunks": (2, 20, 20), "shuffle": True}, False),
        ({"chunks": (2, 20, 20), "fletcher32": True}, True),
        ({"chunks": (2, 20, 20), "compression": "gzip"}, True),
        ({"chunks": (2, 20, 20), "compression": "lzf", "fletcher32": True}, True),
    ],
)
def test_a_flipped_bit_is_found_in_just_the_hdf5_that_is_said_to_have_checksums(
    filters, sealed, tmp_path
):
    """A bit of the noise in the middle of the data, so that unpacking alone does not stumble."""
    path = tmp_path / "a.h5"
    values = np.random.default_rng(0).integers(0, 255, (6, 40, 40), "u1")
    with h5py.File(path, "w") as file:
        raw = file.create_dataset("volumes/raw", data=values, **filters)
        raw.attrs["resolution"] = (10.0, 10.0, 10.0)
    whole = check(path)
    assert whole.complaint() is None
    assert [array.checksums for array in whole.arrays] == [sealed]
    assert any("no checksums in" in note for note in whole.notes) is not sealed
    with h5py.File(path) as file:
        data = file["volumes/raw"].id
        if "chunks" in filters:
            chunk = data.get_chunk_info(5)
            place, size = chunk.byte_offset, chunk.size
        else:
            place, size = data.get_offset(), values.size
    flip(path, 8 * (place + size // 2))
    assert (check(path).bad_count == 1) is sealed
    if not sealed:
        with h5py.File(path) as file:
            assert (file["volumes/raw"][:] != values).any(), "test invalid"


def test_an_unfinished_output_is_named_as_such(container):
    partial = container.rename(container.with_name("seg.zarr.partial"))
    for place in (container, container / "labels/neurons", partial):
        with pytest.raises(IncompleteError, match=r"seg\.zarr' is unfinished.*--overwrite"):
            check(place)
    write_mark(partial, container)
    (partial / ".emds/run.json").write_text("{}")
    with pytest.raises(IncompleteError, match=r"--resume.*emds merge \S+seg\.zarr\."):
        check(container)


def test_an_output_that_is_being_written_is_named_as_such(tmp_path):
    output = PendingOutput(tmp_path / "a.zarr", overwrite=False, folder=True)
    with pytest.raises(IncompleteError, match="writing it now"):
        check(tmp_path / "a.zarr")
    output.abort()
    with pytest.raises(VolumeError, match="no such file"):
        check(tmp_path / "a.zarr")


def test_a_complete_output_counts_beside_an_unfinished_one(container):
    shutil.copytree(container, container.with_name("seg.zarr.partial"))
    assert check(container).complaint() is None


def test_the_report_is_json(container):
    chunks_of(container)[0].unlink()
    report = json.loads(json.dumps(check(container).to_dict()))
    assert (report["whole"], report["chunks"], report["bad_count"]) == (False, 108, 1)
    assert report["bytes"] == 5 * 80 * 70 * (1 + 2 + 8)
    assert report["bad_chunks"][0]["index"] == [0, 0, 0]
