"""Damage on disk is told, never read as if it were data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import pytest
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st
from layouts import (
    ALL,
    example,
    flip_bit,
    png_slices,
    tiff,
    zarr_v3,
)

from emds.errors import VolumeError
from emds.geometry import Roi
from emds.io import open_volume


def reads_right_or_fails(location: str | Path, values: np.ndarray, key: str | None = None) -> bool:
    """Return whether the damage was noticed; fail if it came through as data."""
    try:
        with open_volume(location, role="raw", key=key) as volume:
            box = volume.read()
    except VolumeError:
        return True
    np.testing.assert_array_equal(box, values)
    return False


@contextmanager
def flipped(path: Path, bit: int) -> Iterator[None]:
    """Flip a bit of a file and put it back."""
    assert path.is_file(), "test invalid"
    content = path.read_bytes()
    flip_bit(path, bit)
    try:
        yield
    finally:
        path.write_bytes(content)


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """One file of some kinds; tests put back what they change."""
    kinds = ("emds zarr", "emds zarr 0.4", "zarr v3", "ome-zarr 0.5", "hdf5 cremi", "tiff")
    return {kind: Path(ALL[kind](tmp_path_factory.mktemp("kind"), example())) for kind in kinds}


@settings(max_examples=40, deadline=None)
@given(bit=st.integers(0, 2**20), kind=st.sampled_from(["emds zarr", "emds zarr 0.4"]))
def test_a_flipped_bit_in_a_chunk_is_noticed(bit: int, kind: str, examples) -> None:
    chunk = examples[kind] / ("0/c/1/1/0" if kind == "emds zarr" else "0/1/1/0")
    with flipped(chunk, bit):
        reads_right_or_fails(examples[kind], example())


@pytest.mark.parametrize("kind", ["emds zarr", "emds zarr 0.4"])
def test_flipped_data_names_the_box(kind: str, tmp_path: Path) -> None:
    location = Path(ALL[kind](tmp_path, example()))
    chunk = location / ("0/c/1/1/0" if kind == "emds zarr" else "0/1/1/0")
    flip_bit(chunk, 8 * (chunk.stat().st_size // 2))
    with open_volume(location) as volume:
        volume.read(Roi((0, 0, 0), (2, 33, 26)))
        with pytest.raises(VolumeError, match=r"cannot read box 2:4,16:20,0:5 \(z, y, x\) of"):
            volume.read(Roi((2, 16, 0), (2, 4, 5)))


def test_flipped_data_in_our_hdf5_is_noticed(tmp_path: Path) -> None:
    values = np.random.default_rng(0).integers(0, 256, (4, 16, 16), "u1")
    location = ALL["emds hdf5"](tmp_path, values)
    content = Path(location).read_bytes()
    # Noise does not compress, so its bytes lie in the file as they are: find and change some.
    place = content.find(values[0, 0].tobytes())
    place = place if place > 0 else len(content) - 200
    noticed = 0
    offsets = range(0, 160, 8)
    for offset in offsets:
        flip_bit(Path(location), 8 * (place + offset))
        noticed += reads_right_or_fails(location, values)
        flip_bit(Path(location), 8 * (place + offset))
    assert noticed == len(offsets)
    assert not reads_right_or_fails(location, values), "test invalid"


@pytest.mark.parametrize("kind", ["emds zarr", "emds zarr 0.4"])
def test_a_lost_chunk_is_not_zeros(kind: str, tmp_path: Path) -> None:
    location = Path(ALL[kind](tmp_path, example()))
    lost = location / ("0/c/2/1/1" if kind == "emds zarr" else "0/2/1/1")
    lost.unlink()
    with open_volume(location) as volume:
        np.testing.assert_array_equal(volume.read(Roi((0, 0, 0), (4, 33, 26))), example()[:4])
        with pytest.raises(VolumeError, match=r"(?s)box 3:7,0:33,0:26.*2/1/1.* missing"):
            volume.read(Roi((3, 0, 0), (4, 33, 26)))


def test_chunks_that_others_left_out_are_zeros(tmp_path: Path) -> None:
    # Others may leave out empty chunks: the format allows it.
    location = zarr_v3(tmp_path, example())
    (Path(location) / "volumes" / "raw" / "c" / "0" / "0" / "0").unlink()
    box = open_volume(location, role="raw").read(Roi((0, 0, 0), (3, 10, 10)))
    assert not box.any()


@pytest.mark.parametrize("kind", ["zarr v2", "zarr v3", "zarr sharded", "emds zarr"])
def test_truncated_chunks(kind: str, tmp_path: Path) -> None:
    location = ALL[kind](tmp_path, example())
    chunks = [p for p in Path(location).rglob("*") if p.is_file() and "z" not in p.name]
    for chunk in chunks[:4]:
        chunk.write_bytes(chunk.read_bytes()[:-7])
    assert reads_right_or_fails(location, example())


@pytest.mark.parametrize("kind", ["hdf5 cremi", "hdf5 main", "emds hdf5"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_truncated_hdf5(kind: str, share: float, tmp_path: Path) -> None:
    location = Path(ALL[kind](tmp_path, example()))
    content = location.read_bytes()
    location.write_bytes(content[: int(share * len(content))])
    with pytest.raises(VolumeError, match="truncated"):
        open_volume(location)


@pytest.mark.parametrize(
    "kind",
    [
        "tiff",
        "tiff without metadata",
        "imagej",
        "ome-tiff",
        "bigtiff",
        "tiff lzw",
        "tiff zstd",
        "tiff tiled",
        "tiff pages",
        "emds tiff",
    ],
)
@settings(max_examples=15, deadline=None)
@given(share=st.floats(0.0, 1.0, exclude_max=True))
def test_truncated_tiff(kind: str, share: float, tmp_path_factory) -> None:
    location = Path(ALL[kind](tmp_path_factory.mktemp("cut"), example()))
    content = location.read_bytes()
    location.write_bytes(content[: int(share * len(content))])
    reads_right_or_fails(location, example())
    location.write_bytes(content[: len(content) // 2])
    assert reads_right_or_fails(location, example())


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_tiff_data_cut_short_are_noticed_before_reading(compression, tmp_path: Path) -> None:
    # One page: its directory comes first, so only the end of the voxels is lost.
    tifffile.imwrite(tmp_path / "a.tif", example()[0], compression=compression)
    content = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(content[:-5])
    with pytest.raises(VolumeError, match=r"truncated: its data end at byte \d+, the file at"):
        open_volume(tmp_path / "a.tif")


def test_damaged_compressed_tiff_names_the_box(tmp_path: Path) -> None:
    location = Path(tiff("z", compression="zlib")(tmp_path, example()))
    with tifffile.TiffFile(location) as file:
        page = file.pages[4]
        start, size = page.dataoffsets[0], page.databytecounts[0]
    flip_bit(location, 8 * (start + size - 1))  # the checksum
    flip_bit(location, 8 * (start + size // 2))
    with open_volume(location) as volume:
        volume.read(Roi((0, 0, 0), (4, 33, 26)))
        with pytest.raises(VolumeError, match="box 3:6,0:33,0:26"):
            volume.read(Roi((3, 0, 0), (3, 33, 26)))


def test_damaged_png_slice_is_named(tmp_path: Path) -> None:
    folder = Path(png_slices(tmp_path, example()))
    flip_bit(folder / "10.PNG", 8 * 300)
    with (
        open_volume(folder) as volume,
        pytest.raises(VolumeError, match=r"box 0:7,0:33,0:26.*10\.PNG"),
    ):
        volume.read()
    (folder / "9.PNG").write_bytes(b"")
    with pytest.raises(VolumeError, match=r"9\.PNG.*the file is empty"):
        open_volume(folder)


@settings(max_examples=60, deadline=None)
@given(
    bit=st.integers(0, 2**20),
    kind=st.sampled_from(["zarr v3", "ome-zarr 0.5", "hdf5 cremi", "tiff"]),
)
def test_damaged_metadata_never_crashes(bit: int, kind: str, examples) -> None:
    """A flipped bit gives a volume or an error of ours, no traceback."""
    inner = {"zarr v3": "volumes/raw/zarr.json", "ome-zarr 0.5": "zarr.json"}.get(kind, "")
    if not inner:
        bit %= 8 * 2048  # the start of the file holds its structure rather than voxels
    with (
        flipped(examples[kind] / inner, bit),
        suppress(VolumeError),
        open_volume(examples[kind], role="raw") as volume,
    ):
        if volume.nbytes < 2**20:
            volume.read()
