"""Names in files reach the terminal without the power to act there; a refusal is one line."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
import yaml
import zarr

# Colours, a cleared screen, a title, a bell, a carriage return, 8-bit control, a turn of direction.
NASTY = [
    "\x1b[31mred\x1b[2J\x1b[H\x1b]0;title\x07a\rb\x9b31m\u202egpj\u2028y\x7f\x08\x08",
    "a\nemds: error: forged",
]
IMAGE = np.random.default_rng(0).integers(0, 250, (5, 40, 48)).astype("u1")


def as_slices(name: str) -> str:
    os.mkdir("slices")
    for place in (1, 2, 4):
        tifffile.imwrite(f"slices/{name}{place}.tif", IMAGE[0])
    return "slices"


def as_slices_that_differ(name: str) -> str:
    os.mkdir("slices")
    tifffile.imwrite(f"slices/{name}1.tif", IMAGE[0])
    tifffile.imwrite(f"slices/{name}2.tif", IMAGE[0, 1:])
    return "slices"


def as_file(name: str) -> str:
    tifffile.imwrite(f"{name}.tif", IMAGE)
    return f"{name}.tif"


def as_nothing(name: str) -> str:
    return f"{name}.tif"


def as_group(name: str) -> str:
    with h5py.File("a.h5", "w") as file:
        file[f"{name}/raw"] = IMAGE
        file[f"{name}/other"] = IMAGE.astype("c8")
        file[f"{name}/away"] = h5py.ExternalLink(name, name)
    return "a.h5"


def as_attribute(name: str) -> str:
    with h5py.File("a.h5", "w") as file:
        file["raw"] = IMAGE
        file["raw"].attrs["units"] = name
        file["raw"].attrs["resolution"] = name
        file["raw"].attrs["emds"] = json.dumps({name: name})
    return "a.h5"


def as_zarr(name: str) -> str:
    group = zarr.create_group("a.zarr")
    array = group.create_array("raw", data=IMAGE)
    array.attrs.update({"units": name, "resolution": [name] * 3})
    group.attrs["emds"] = {name: name}
    return "a.zarr"


def as_description(name: str) -> str:
    text = json.dumps({"shape": IMAGE.shape, "emds": {"made": name}})
    tifffile.imwrite("a.tif", IMAGE, description=text, metadata=None)
    return "a.tif"


CARRIERS = [
    as_slices,
    as_slices_that_differ,
    as_file,
    as_nothing,
    as_group,
    as_attribute,
    as_zarr,
    as_description,
]


@pytest.mark.parametrize("carry", CARRIERS)
@pytest.mark.parametrize("name", NASTY)
def test_nothing_of_a_name_acts(carry, name, emds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    place = carry(name)
    for command in (
        ("info", place),
        ("info", place, "--json"),
        ("estimate-noise", place),
        ("check", place),
        ("denoise", f"{place}/none", "--out", f"{name}/x.zarr"),
        ("evaluate", place, place),
    ):
        outcome = emds(*command)
        said = outcome.stdout + outcome.stderr
        acting = [letter for letter in said if letter != "\n" and not letter.isprintable()]
        assert not acting, (command, outcome)
        assert not [line for line in said.splitlines() if line.startswith("emds: error: forged")]
        assert "bug in emds" not in said, (command, outcome)
        if "--json" in command and outcome.code == 0:
            assert json.loads(outcome.stdout)["location"] == place
        elif command[0] == "info" and outcome.code == 0:
            assert yaml.safe_load(outcome.stdout)["kind"] in ("tiff", "hdf5", "zarr", "slices")


def test_names_that_are_no_text(emds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    name = os.fsdecode(b"\xff\xfe.tif")
    try:
        tifffile.imwrite(name, IMAGE)
    except OSError:
        pytest.skip("this file system takes text only")
    for extra in ((), ("--json",)):
        outcome = emds("info", name, *extra)
        assert outcome.code == 0, outcome
        assert "\\udcff" in outcome.stdout.lower()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def bad_png(path: Path) -> None:
    """Write a PNG at which libpng both warns and fails."""
    head = struct.pack(">IIBBBBB", 64, 64, 8, 0, 0, 0, 0)
    body = chunk(b"iCCP", b"x\0\0nonsense") + chunk(b"IDAT", b"nonsense")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + body)


def make_bad_files(folder: Path) -> list[str]:
    """Write files that libraries complain about in words of their own."""
    bad_png(folder / "a.png")
    tifffile.imwrite(folder / "lzw.tif", IMAGE, compression="lzw")
    content = bytearray((folder / "lzw.tif").read_bytes())
    content[-2000:-500] = bytes(1500)
    (folder / "lzw.tif").write_bytes(content)
    (folder / "tags.tif").write_bytes(b"II*\0\x08\0\0\0\xff\xff" + bytes(range(256)) * 4)
    tifffile.imwrite(folder / "jpeg.tif", IMAGE[0], compression="jpeg")
    content = bytearray((folder / "jpeg.tif").read_bytes())
    content[-300:-200] = b"\xff" * 100
    (folder / "jpeg.tif").write_bytes(content)
    ome = b"<?xml version='1.0'?><OME xmlns='http://www.openmicroscopy.org'><Image></OME>"
    tifffile.imwrite(folder / "ome.tif", IMAGE, description=ome, metadata=None)
    tifffile.imwrite(folder / "ij.tif", IMAGE, description="ImageJ=1\nimages=-3\n", metadata=None)
    tifffile.imwrite(folder / "json.tif", IMAGE, description='{"shape": [9, 9]}', metadata=None)
    with h5py.File(folder / "gzip.h5", "w") as file:
        raw = file.create_dataset("raw", IMAGE.shape, "u1", chunks=IMAGE.shape, compression="gzip")
        raw.id.write_direct_chunk((0, 0, 0), b"nonsense")
    with h5py.File(folder / "cut.h5", "w") as file:
        file["raw"] = IMAGE
    (folder / "cut.h5").write_bytes((folder / "cut.h5").read_bytes()[:3000])
    array = zarr.create_array(str(folder / "a.zarr"), data=IMAGE, chunks=IMAGE.shape)
    assert array.nchunks == 1
    (folder / "a.zarr" / "c" / "0" / "0" / "0").write_bytes(b"nonsense")
    names = ["a.png", "lzw.tif", "tags.tif", "jpeg.tif", "ome.tif", "ij.tif", "json.tif"]
    return [*names, "gzip.h5", "cut.h5", "a.zarr"]


def test_libraries_add_nothing_to_a_refusal(emds, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    failed = 0
    for name in make_bad_files(tmp_path):
        capfd.readouterr()
        outcome = emds("estimate-noise", name)
        assert capfd.readouterr().err == "", name
        lines = outcome.stderr.splitlines()
        assert all(line.startswith("emds: ") for line in lines), (name, outcome)
        assert sum(line.startswith("emds: error: ") for line in lines) == (outcome.code != 0)
        assert "bug in emds" not in outcome.stderr, (name, outcome)
        failed += outcome.code != 0
    assert failed > 4, "test invalid"


def test_nothing_is_said_at_the_end_of_a_process(tmp_path):
    names = make_bad_files(tmp_path)
    script = (
        "import contextlib, logging, sys, emds\n"
        "logging.getLogger('emds').addHandler(logging.NullHandler())\n"  # what emds itself says
        "kept = []\n"
        "for name in sys.argv[1:]:\n"
        "    with contextlib.suppress(emds.EmdsError):\n"
        "        kept.append(emds.open_volume(name, role='raw'))\n"
        "        kept[-1].read()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, *names], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
