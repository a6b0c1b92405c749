"""Folders of sections: in the order that people mean, with a word on what speaks against it."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile
from layouts import example
from PIL import Image

from emds.errors import VolumeError
from emds.io import open_volume
from emds.io.slice_names import natural_order, remarks


def in_folder(folder: Path, names: list[str]) -> Path:
    """Write sections of which each holds its place in `names`."""
    folder.mkdir(exist_ok=True)
    for place, name in enumerate(names):
        tifffile.imwrite(folder / name, np.full((8, 9), place, "u1"), metadata=None)
    return folder


# The right order; files are written the other way round.
ORDERS: dict[str, list[str]] = {
    "two digits": ["z2", "z9", "z10"],
    "leading zeros": ["z008", "z009", "z010"],
    "below zero": ["z-10", "z-3", "z0", "z3", "z10"],
    "below zero, unicode": ["z−3", "z−2", "z0", "z1"],
    "plus and minus": ["z-2", "z-1", "z+0", "z+1", "z+2"],
    "below zero in the middle": ["a-1_x", "a0_x", "a1_x"],
    "dashes": ["slice-1", "slice-2", "slice-10"],
    "dates": ["2021-03-05_9", "2021-03-05_10", "2021-12-01_1"],
    "two numbers": ["c1_z9", "c1_z10", "c2_z1"],
    "superscript before": ["²0", "²1", "²10"],
    "superscripts": ["z⁰", "z¹", "z²", "z¹⁰"],
    "subscripts": ["z₈", "z₉", "z₁₀"],
    "circled": ["①", "②", "③", "④"],
    "arabic": ["z٨", "z٩", "z١٠"],
    "devanagari": ["z८", "z९", "z१०"],
    "full width": ["z８", "z９", "z１０"],
    "upper case": ["A1", "a2", "A3"],
    "greek": ["α1", "α2", "β1"],
    "chinese": ["切片8", "切片9", "切片10"],
    "only numbers": ["8", "9", "10", "11"],
    "very long": ["9", "1" + "0" * 30, "1" + "0" * 29 + "1"],
    "decomposed": ["e\u03011", "\u00e92", "e\u03013"],
    "spaces": ["s 1", "s 2", "s 10"],
    "emoji": ["🧠1", "🧠2", "🧠10"],
}


@pytest.mark.parametrize("kind", ORDERS)
def test_order(kind: str, tmp_path: Path) -> None:
    names = [f"{name}.tif" for name in ORDERS[kind]]
    assert natural_order(reversed(names)) == names
    with open_volume(in_folder(tmp_path / "a", names), role="raw") as volume:
        np.testing.assert_array_equal(volume.read()[:, 0, 0], range(len(names)))


# Names, and words of what is said of them; none where there is nothing to say.
SAID: dict[str, tuple[list[str], list[str]]] = {
    "no gap": ([f"s{n}" for n in range(12)], []),
    "every tenth": (["s0", "s10", "s20"], []),
    "one": (["s7"], []),
    "date and counter": ([f"2021-03-05_{n}" for n in range(5)], []),
    "two runs of one count": (["a1_s1", "a1_s2", "a2_s3", "a2_s4"], []),
    "below zero": ([f"s{n}" for n in range(-3, 4)], []),
    "counter and time": (["s1_t83", "s2_t97", "s3_t131"], []),
    "a gap": (["s000", "s001", "s002", "s004"], ["number 3 is missing between s002", "s004"]),
    "a gap of tens": (["s0", "s10", "s20", "s40"], ["number 30 is missing"]),
    "a gap below zero": (["s-3", "s-1", "s0", "s1"], ["number -2 is missing between s-3"]),
    "a gap at zero": (["s-2", "s-1", "s1", "s2"], ["number 0 is missing"]),
    "gaps": ([f"s{n}" for n in (1, 2, 5, 6, 7, 9)], ["numbers 3 to 4, 8 are missing"]),
    "a gap with superscripts": (["z¹", "z²", "z⁴"], ["number 3 is missing"]),
    "two channels": (
        [f"c{c}_z{z}" for c in (1, 2) for z in range(4)],
        ["2 series", "c1_z0.tif to c1_z3.tif (4)", "c2_z0.tif to c2_z3.tif (4)"],
    ),
    "two channels, z first": ([f"z{z}_c{c}" for z in range(4) for c in (1, 2)], ["4 series"]),
    "two channels, one with a gap": (
        ["c1_z0", "c1_z1", "c1_z2", "c2_z0", "c2_z1", "c2_z3"],
        ["2 series", "number 2 is missing between c2_z1"],
    ),
    "two names": (["raw_1", "raw_2", "mask_1", "mask_2"], ["2 patterns", "mask_1.tif to mask_2"]),
    "an overview": (["s1", "s2", "s3", "overview"], ["2 patterns", "overview.tif"]),
    "a copy": (["s1", "s2", "s2 copy"], ["2 patterns", "s2 copy.tif"]),
    "twice": (["1", "01"], ["01.tif and 1.tif have the same number"]),
    "no numbers": (["red", "green", "blue"], ["3 patterns"]),
    "times": (["t83", "t97", "t131"], ["do not follow one another"]),
    "fractions": (["z0.5", "z0.25"], ["z0.5.tif comes before z0.25.tif"]),
}


@pytest.mark.parametrize("kind", SAID)
def test_what_is_said(kind: str, tmp_path: Path, caplog) -> None:
    names, words = SAID[kind]
    with open_volume(in_folder(tmp_path / "a", [f"{name}.tif" for name in names])) as volume:
        assert volume.shape[0] == len(names)
    assert bool(words) == bool(caplog.records), caplog.text
    assert all(word in caplog.text for word in words), caplog.text


def test_any_names_have_an_order() -> None:
    letters = "a-−+0٣²①. _½Ⅷ\ud800\x1b\u202e"
    names = [a + b + c for a in letters for b in letters for c in letters]
    assert sorted(natural_order(names)) == sorted(names)
    assert natural_order(reversed(names)) == natural_order(names)
    remarks(names)


def test_other_images_in_the_folder_are_told(tmp_path: Path, caplog) -> None:
    folder = in_folder(tmp_path / "a", ["s1.tif", "s2.tif"])
    (folder / "s3.jpg").write_bytes(b"")
    open_volume(folder).close()
    assert "s3.jpg, which is not read" in caplog.text


@pytest.mark.parametrize("suffix", [".tif", ".png"])
def test_slices_that_are_no_files(suffix: str, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    folder.mkdir()
    for place in range(3):
        Image.fromarray(example()[place]).save(folder / f"{place}{suffix}")
    odd = folder / f"3{suffix}"
    for make, word in (
        (os.mkfifo, "pipe"),
        (lambda path: path.symlink_to("/dev/zero"), "device"),
        (lambda path: path.symlink_to(tmp_path / "none"), "no such file"),
        (lambda path: path.mkdir(), "folder"),
    ):
        make(odd)
        with pytest.raises(VolumeError, match=word):
            open_volume(folder)
        with pytest.raises(VolumeError):
            open_volume(odd)
        odd.rmdir() if odd.is_dir() else odd.unlink()


def test_the_content_counts_not_the_suffix(tmp_path: Path) -> None:
    Image.fromarray(example()[0]).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "b.tif", example()[0])
    Image.fromarray(example()[0]).save(tmp_path / "c.jpg")
    folder = tmp_path / "slices"
    for name in ("a.png", "b.tif"):
        folder.mkdir()
        odd = (tmp_path / name).with_suffix(".tif" if name == "a.png" else ".png")
        (tmp_path / name).rename(odd)
        odd.rename(folder / odd.name)
        for place in (folder, folder / odd.name):
            with open_volume(place, role="raw") as volume:
                np.testing.assert_array_equal(volume.read()[0], example()[0])
        (folder / odd.name).unlink()
        folder.rmdir()
    folder.mkdir()
    (tmp_path / "c.jpg").rename(folder / "c.png")
    with pytest.raises(VolumeError, match="it is a JPEG image"):
        open_volume(folder)


# PNG.


def png(path: Path, bits: int, colour: int, *, interlaced: bool = False, **more: bytes) -> Path:
    """Write a PNG file as its specification says, with chunks of one's own before the pixels."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        checksum = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", checksum)

    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    side = 16
    values = np.random.default_rng(5).integers(0, 2**bits, (side, side, samples))
    planes = (values[..., None] >> np.arange(bits - 1, -1, -1)) & 1

    def rows(part: np.ndarray) -> bytes:
        if not part.size:
            return b""
        flat = part.reshape(part.shape[0], -1).astype("u1")
        return b"".join(b"\0" + np.packbits(row).tobytes() for row in flat)

    adam7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2)]
    adam7.append((1, 0, 2, 1))
    pixels = (
        b"".join(rows(planes[y::step_y, x::step_x]) for y, x, step_y, step_x in adam7)
        if interlaced
        else rows(planes)
    )
    head = struct.pack(">IIBBBBB", side, side, bits, colour, 0, 0, interlaced)
    if colour == 3:
        more = {"PLTE": bytes(range(3 * 2**bits)) if bits < 7 else bytes(768), **more}
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", head)
        + b"".join(chunk(kind.encode(), body) for kind, body in more.items())
        + chunk(b"IDAT", zlib.compress(pixels))
        + chunk(b"IEND", b"")
    )
    return path


CHUNKS = {
    "none": {},
    "tRNS": {"tRNS": struct.pack(">H", 7)},
    "gAMA": {"gAMA": struct.pack(">I", 100000)},
    "odd gAMA": {"gAMA": struct.pack(">I", 22000)},
    "text": {"tEXt": b"Title\0x"},
    "broken profile": {"iCCP": b"x\0\0nonsense"},
    "background": {"bKGD": struct.pack(">H", 1)},
}


@pytest.mark.parametrize("chunks", CHUNKS)
@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 16])
def test_grey_png(bits: int, interlaced: bool, chunks: str, tmp_path: Path) -> None:
    path = png(tmp_path / "a.png", bits, 0, interlaced=interlaced, **CHUNKS[chunks])
    if bits < 8:
        with pytest.raises(VolumeError, match=f"8 or 16 bits, not {bits}"):
            open_volume(path, role="raw")
        return
    with Image.open(path) as image, open_volume(path, role="raw") as volume:
        np.testing.assert_array_equal(volume.read()[0], np.array(image))


@pytest.mark.parametrize(
    ("colour", "bits"), [(2, 8), (2, 16), (3, 1), (3, 4), (3, 8), (4, 8), (4, 16), (6, 8), (6, 16)]
)
def test_colour_png(colour: int, bits: int, tmp_path: Path) -> None:
    with pytest.raises(VolumeError, match="colour image"):
        open_volume(png(tmp_path / "a.png", bits, colour), role="raw")


def test_animated_png(tmp_path: Path) -> None:
    pages = [Image.fromarray(page) for page in example()]
    pages[0].save(tmp_path / "a.png", save_all=True, append_images=pages[1:])
    with pytest.raises(VolumeError, match=f"animated PNG of {len(pages)} images"):
        open_volume(tmp_path / "a.png")
