"""Files of other formats are called by their name, not damaged, with a way to convert them."""

from __future__ import annotations

import gzip
import io
import os
import re
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from emds.errors import VolumeError
from emds.io import open_volume


def at(*parts: tuple[int, bytes]) -> bytes:
    content = bytearray(2000)
    for place, text in parts:
        content[place : place + len(text)] = text
    return bytes(content)


def picture(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.zeros((30, 40), "u1")).save(stream, kind)
    return stream.getvalue()


def npy() -> bytes:
    stream = io.BytesIO()
    np.save(stream, np.zeros((3, 4, 5), "u1"))
    return stream.getvalue()


def archive() -> bytes:
    stream = io.BytesIO()
    np.savez(stream, a=np.zeros(3))
    assert zipfile.is_zipfile(stream)
    return stream.getvalue()


# Starts as the formats' specifications give them: name, content, words of the message.
FOREIGN: dict[str, tuple[str, bytes, str]] = {
    "mrc": ("a.mrc", at((0, struct.pack("<4i", 48, 40, 7, 0)), (208, b"MAP DD\0\0")), "MRC"),
    "mrc of another name": ("a.dat", at((208, b"MAP \x11\x11\0\0")), "MRC"),
    "mrc of old": ("a.rec", at((0, struct.pack("<4i", 48, 40, 7, 0))), "MRC"),
    "nifti": ("a.nii", at((0, struct.pack("<i", 348)), (344, b"n+1\0")), "NIfTI"),
    "nifti 2": ("a.nii", at((0, struct.pack("<i", 540)), (4, b"n+2\0\r\n\x1a\n")), "NIfTI-2"),
    "nifti, gzip": ("a.nii.gz", gzip.compress(at((344, b"n+1\0"))), "gzip"),
    "czi": ("a.czi", at((0, b"ZISRAWFILE\0\0\0\0\0\0")), "CZI"),
    "nd2": ("a.nd2", at((0, bytes.fromhex("dacebe0a"))), "ND2"),
    "dm3": ("a.dm3", at((0, struct.pack(">iii", 3, 1900, 1))), "DM3"),
    "dm4": ("a.dm4", at((0, struct.pack(">iqi", 4, 1900, 1))), "DM4"),
    "lif": ("a.lif", at((0, bytes.fromhex("70000000"))), "LIF"),
    "oib": ("a.oib", at((0, bytes.fromhex("d0cf11e0a1b11ae1"))), "OIB"),
    "ser": ("a.ser", at((0, struct.pack("<HHH", 0x4949, 0x0197, 0x210))), "SER"),
    "jpeg": ("a.jpg", picture("JPEG"), "JPEG"),
    "jpeg called tif": ("a.tif", picture("JPEG"), "JPEG"),
    "jpeg 2000": ("a.jp2", at((0, b"\0\0\0\x0cjP  \r\n\x87\n")), "JPEG 2000"),
    "gif": ("a.gif", picture("GIF"), "GIF"),
    "bmp": ("a.bmp", picture("BMP"), "BMP"),
    "pgm": ("a.pgm", picture("PPM"), "PGM"),
    "webp": ("a.webp", at((0, b"RIFF\x10\0\0\0WEBPVP8 ")), "WebP"),
    "avi": ("a.avi", at((0, b"RIFF\x10\0\0\0AVI LIST")), "AVI"),
    "npy": ("a.npy", npy(), "numpy"),
    "npz": ("a.npz", archive(), "zip"),
    "nrrd": ("a.nrrd", b"NRRD0005\ntype: uchar\n", "NRRD"),
    "metaimage": ("a.mhd", b"ObjectType = Image\nNDims = 3\n", "MetaImage"),
    "amira": ("a.am", b"# AmiraMesh BINARY-LITTLE-ENDIAN 2.1\n", "Amira"),
    "wkw": ("a.wkw", b"WKW\x01\x55\x03\x01\x01", "wkw"),
    "dicom": ("a.dcm", at((128, b"DICM")), "DICOM"),
    "fits": ("a.fits", b"SIMPLE  =                    T", "FITS"),
    "matlab 5": ("a.mat", b"MATLAB 5.0 MAT-file, Platform: GLNXA64", "-v7.3"),
    "netcdf 3": ("a.nc", b"CDF\x01\0\0\0\0", "netCDF-3"),
    "git lfs": ("a.h5", b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    "web page": ("a.tif", b"<!DOCTYPE html><html>404</html>", "web page"),
    "raw": ("a.raw", bytes(range(256)), "raw file"),
    "tar": ("a.tar", at((257, b"ustar\x0000")), "tar"),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_format_that_is_not_read_is_named(kind: str, tmp_path: Path) -> None:
    name, content, word = FOREIGN[kind]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(VolumeError) as caught:
        open_volume(tmp_path / name)
    message = str(caught.value)
    assert word in message.replace(str(tmp_path), "")
    assert "convert it, e.g. by" in message
    assert "damaged" not in message
    assert "\n" not in message


def test_what_is_not_known_is_not_called_damaged(tmp_path: Path) -> None:
    (tmp_path / "a.xyz").write_bytes(b"\x1b[31mwhat")
    with pytest.raises(VolumeError, match=re.escape(r"'\x1b[31mwha'")) as caught:
        open_volume(tmp_path / "a.xyz")
    assert "damaged" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "word"),
    [("attributes.json", "N5"), ("info", "Neuroglancer"), ("s1.jpg", "save them as PNG")],
)
def test_folders_of_other_formats(name: str, word: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("{}")
    with pytest.raises(VolumeError, match=word):
        open_volume(tmp_path)


ADDRESSES = ["s3://b/x.zarr", "gs://b/x", "https://a.org/x.tif", "http:/a.org/x", "zarr://x"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_addresses_are_no_folders(address: str, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    for written in (address, Path(address)) if address[:2] != "za" else (address,):
        with pytest.raises(VolumeError, match=r"is an address .* local files only"):
            open_volume(written)


def test_a_file_address_is_its_path() -> None:
    with pytest.raises(VolumeError, match=r"write its path, '/data/x\.tif'"):
        open_volume("file:///data/x.tif")


def test_keys_with_a_slash_are_no_addresses(tmp_path: Path, monkeypatch) -> None:
    import h5py

    monkeypatch.chdir(tmp_path)
    with h5py.File("s3", "w") as file:
        file["raw"] = np.ones((3, 4, 5), "u1")
    with open_volume("s3:/raw") as volume:
        assert volume.shape == (3, 4, 5)
    with open_volume("s3://raw") as volume:
        assert volume.shape == (3, 4, 5)


@pytest.mark.parametrize("make", ["pipe", "device", "device by link"])
def test_pipes_and_devices_do_not_hang(make: str, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    if make == "pipe":
        os.mkfifo(path)
    elif make == "device":
        path = Path("/dev/zero")
    else:
        path.symlink_to("/dev/zero")
    with pytest.raises(VolumeError, match=f"it is a {make.split()[0]}.* a regular file"):
        open_volume(path)
