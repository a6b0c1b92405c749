"""Every page of a TIFF file is read as others read it, or the file is refused or a word is said."""

from __future__ import annotations

import logging
import re
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image, ImageSequence

from emds.errors import VolumeError
from emds.geometry import Roi
from emds.io import describe, open_volume

VOLUME = np.random.default_rng(3).integers(0, 250, (7, 40, 48)).astype("u1")
GREY = {"photometric": "minisblack"}

Odd = tuple[Callable[[np.ndarray], np.ndarray], dict[str, object]]
# How one page of a stack can be unlike the others.
ODD: dict[str, Odd] = {
    "rgb": (lambda page: np.stack([page] * 3, -1), {"photometric": "rgb"}),
    "grey with alpha": (
        lambda page: np.stack([page] * 2, -1),
        {**GREY, "extrasamples": ["unassalpha"]},
    ),
    "float64": (lambda page: page.astype("f8"), GREY),
    "float32": (lambda page: page.astype("f4"), GREY),
    "uint16": (lambda page: page.astype("u2"), GREY),
    "int8": (lambda page: page.astype("i1"), GREY),
    "bool": (lambda page: page > 100, GREY),
    "palette": (
        lambda page: page,
        {"photometric": "palette", "colormap": np.zeros((3, 256), "u2")},
    ),
    "miniswhite": (lambda page: page, {"photometric": "miniswhite"}),
    "one row less": (lambda page: page[:-1], GREY),
    "half the size": (lambda page: page[::2, ::2], GREY),
    "turned": (lambda page: page.T, GREY),
    "upside down": (lambda page: page, {**GREY, "extratags": [(274, 3, 1, 4, True)]}),
    "4 bits": (lambda page: page % 16, {**GREY, "bitspersample": 4}),
    "compressed": (lambda page: page, {**GREY, "compression": "zlib"}),
    "tiled": (lambda page: page, {**GREY, "tile": (16, 16)}),
}


def write_with_odd_page(path: Path, kind: str, place: int, pages: int, **options: object) -> None:
    change, described = ODD[kind]
    with tifffile.TiffWriter(path) as file:
        for number in range(pages):
            page = VOLUME[number % 7]
            if number == place:
                file.write(change(page), **described, **options)
            else:
                file.write(page, **GREY, **options)


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize(("place", "pages"), [(0, 7), (3, 7), (6, 7), (4, 12)])
@pytest.mark.parametrize("described", [True, False])
def test_a_page_of_another_kind_is_named(
    kind: str, place: int, pages: int, described: bool, tmp_path: Path, caplog
) -> None:
    path = tmp_path / "a.tif"
    write_with_odd_page(path, kind, place, pages, **({} if described else {"metadata": None}))
    for role in ("raw", "labels", None):
        with pytest.raises(VolumeError, match=rf"page {place} \(.*\) of {pages} is unlike page"):
            open_volume(path, role=role)
    arrays = describe(path)["arrays"]
    assert len(arrays) > 1
    caplog.clear()
    named = next(array for array in arrays if "unusable" not in array)
    open_volume(named["location"]).close()
    assert f"page {place} " in caplog.text


def test_pages_without_a_majority(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in (VOLUME[0], VOLUME[1, :-1], VOLUME[2]):
            file.write(page, **GREY)
        file.write(VOLUME[3, :-1], **GREY)
    with pytest.raises(VolumeError, match=r"pages 1, 3 .* are unlike page 0"):
        open_volume(tmp_path / "a.tif", role="raw")


# Written section by section.

APPENDED: dict[str, dict[str, object]] = {
    "as it is": {},
    "without metadata": {"metadata": None},
    "compressed": {"compression": "zlib", "predictor": True},
    "tiled": {"tile": (16, 16)},
    "strips": {"rowsperstrip": 7},
    "with a description": {"description": "a section"},
    "not contiguous": {"contiguous": False},
}


@pytest.mark.parametrize("kind", APPENDED)
@pytest.mark.parametrize("bigtiff", [False, True])
@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("dtype", ["u1", "u2"])
def test_a_stack_written_section_by_section_is_one(
    kind: str, bigtiff: bool, byteorder: str, dtype: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    values = VOLUME.astype(dtype) * np.dtype(dtype).type(np.dtype(dtype).itemsize)
    with tifffile.TiffWriter(path, bigtiff=bigtiff, byteorder=byteorder) as file:
        for section in values:
            file.write(section, **GREY, **APPENDED[kind])
    same_as_pillow(path, values)


def test_a_stack_written_by_appending_is_one(tmp_path: Path) -> None:
    for section in VOLUME:
        tifffile.imwrite(tmp_path / "a.tif", section, append=True, **GREY)
        tifffile.imwrite(tmp_path / "b.tif", section[None], append=True, **GREY)
    same_as_pillow(tmp_path / "a.tif", VOLUME)
    same_as_pillow(tmp_path / "b.tif", VOLUME)


def test_two_stacks_in_a_file_are_two(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(VOLUME[:3], **GREY)
        file.write(VOLUME[3:6], **GREY)
    with pytest.raises(VolumeError, match="written as several stacks"):
        open_volume(tmp_path / "a.tif", role="raw")
    with open_volume(f"{tmp_path}/a.tif:1", role="raw") as volume:
        np.testing.assert_array_equal(volume.read(), VOLUME[3:6])


def same_as_pillow(path: Path, values: np.ndarray | None = None) -> None:
    with path.open("rb") as file:
        pillow_can = file.read(4) != b"MM\0+"  # it reads no BigTIFF of that byte order
    if pillow_can:
        with Image.open(path) as image:
            pages = np.stack([np.array(page) for page in ImageSequence.Iterator(image)])
    else:
        with tifffile.TiffFile(path) as tiff:
            pages = np.stack([page.asarray() for page in tiff.pages])
    with open_volume(path, role="raw") as volume:
        box = volume.read()
        roi = Roi((0, 3, 5), (len(pages), 20, 30))
        if volume.shape[1:] == VOLUME.shape[1:]:
            np.testing.assert_array_equal(volume.read(roi), box[roi.slices()])
    np.testing.assert_array_equal(box, pages)
    if values is not None:
        np.testing.assert_array_equal(box, values)


# Kinds of storage, read as Pillow reads them.

STORED: dict[str, dict[str, object]] = {
    "plain": {},
    "big endian": {"byteorder": ">"},
    "bigtiff": {"bigtiff": True},
    "strips": {"rowsperstrip": 3},
    "lzw": {"compression": "lzw"},
    "lzw, predictor": {"compression": "lzw", "predictor": True},
    "deflate": {"compression": "zlib"},
    "packbits": {"compression": "packbits"},
    "tiles": {"tile": (16, 32)},
    "tiles, deflate": {"tile": (16, 32), "compression": "zlib", "predictor": True},
    "imagej": {"imagej": True, "metadata": {"axes": "ZYX"}},
    "ome": {"ome": True, "metadata": {"axes": "ZYX"}},
    "no metadata": {"metadata": None},
}


@pytest.mark.parametrize("kind", STORED)
@pytest.mark.parametrize("dtype", ["u1", "u2"])
@pytest.mark.parametrize("pages", [1, 7])
def test_storage(kind: str, dtype: str, pages: int, tmp_path: Path) -> None:
    values = VOLUME[:pages].astype(dtype)
    metadata = {"photometric": "minisblack"} if kind != "imagej" else {}
    tifffile.imwrite(tmp_path / "a.tif", values, **metadata, **STORED[kind])
    same_as_pillow(tmp_path / "a.tif", values)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("folder", [False, True])
def test_orientation(
    orientation: int, compression: str | None, folder: bool, tmp_path: Path
) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path,
        VOLUME[:1] if folder else VOLUME,
        compression=compression,
        extratags=[(274, 3, 1, orientation, False)],
        metadata=None,
        **GREY,
    )
    place = tmp_path if folder else path
    if orientation > 4:
        with pytest.raises(VolumeError, match=f"stored turned .*orientation {orientation}"):
            open_volume(place, role="raw")
        return
    with Image.open(path) as image:
        first = np.array(image)
    # Pillow turns the first page only, so the rest is turned here.
    turn = {1: np.s_[:, :], 2: np.s_[:, ::-1], 3: np.s_[::-1, ::-1], 4: np.s_[::-1]}[orientation]
    expected = np.stack([page[turn] for page in (VOLUME[:1] if folder else VOLUME)])
    np.testing.assert_array_equal(first, expected[0])
    with open_volume(place, role="raw") as volume:
        np.testing.assert_array_equal(volume.read(), expected)
        roi = Roi((0, 30, 1), (1, 9, 20))
        np.testing.assert_array_equal(volume.read(roi), expected[roi.slices()])


def few_bits(path: Path, codes: np.ndarray, bits: int) -> None:
    """Write packed grey values as the TIFF specification says, without any library."""
    height, width = codes.shape
    planes = (codes[..., None] >> np.arange(bits - 1, -1, -1)) & 1
    packed = np.packbits(planes.reshape(height, -1).astype("u1"), axis=1).tobytes()
    tags = [
        (256, 3, width),
        (257, 3, height),
        (258, 3, bits),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (277, 3, 1),
        (278, 3, height),
        (279, 4, len(packed)),
    ]
    packed += b"\0" * (len(packed) % 2)
    body = b"II*\0" + struct.pack("<I", 8 + len(packed)) + packed + struct.pack("<H", len(tags))
    for tag, kind, value in tags:
        body += struct.pack("<HHII", tag, kind, 1, value)
    path.write_bytes(body + struct.pack("<I", 0))


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("folder", [False, True])
def test_grey_of_few_bits_is_stretched_and_labels_are_not(
    bits: int, folder: bool, tmp_path: Path
) -> None:
    codes = (np.arange(12 * 18).reshape(12, 18) % 2**bits).astype("u1")
    few_bits(tmp_path / "a.tif", codes, bits)
    place = tmp_path if folder else tmp_path / "a.tif"
    with Image.open(tmp_path / "a.tif") as image, open_volume(place, role="raw") as volume:
        np.testing.assert_array_equal(volume.read()[0], np.array(image))
        assert volume.read().max() == 255
    with open_volume(place, role="labels") as volume:
        np.testing.assert_array_equal(volume.read()[0], codes)


@pytest.mark.parametrize("bits", [1, 3, 5, 6, 7])
def test_other_bits_are_refused(bits: int, tmp_path: Path) -> None:
    few_bits(tmp_path / "a.tif", np.zeros((8, 8), "u1"), bits)
    with pytest.raises(VolumeError, match=f"{bits} bits" if bits > 1 else "not bool"):
        open_volume(tmp_path / "a.tif", role="raw")


def test_twelve_bits_are_what_they_are(tmp_path: Path) -> None:
    codes = (np.arange(12 * 18).reshape(12, 18) * 17 % 4096).astype("u2")
    few_bits(tmp_path / "a.tif", codes, 12)
    with open_volume(tmp_path / "a.tif", role="raw") as volume:
        np.testing.assert_array_equal(volume.read()[0], codes)


# Pages that are not sections.


def test_reduced_pages_are_not_sections(tmp_path: Path, caplog) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in VOLUME:
            file.write(page, metadata=None, **GREY)
            file.write(page[::2, ::2], metadata=None, subfiletype=1, **GREY)
    with open_volume(tmp_path / "a.tif", role="raw") as volume:
        np.testing.assert_array_equal(volume.read(), VOLUME)
    assert "pages 1, 3, 5, 7, 9, 11 and 1 more" in caplog.text
    assert "reduced image" in caplog.text


@pytest.mark.parametrize("described", [True, False])
@pytest.mark.parametrize("same_size", [True, False])
def test_subifds_are_not_sections(described: bool, same_size: bool, tmp_path: Path, caplog) -> None:
    options = {} if described else {"metadata": None}
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for page in VOLUME[:3]:
            file.write(page, subifds=1, **GREY, **options)
            file.write(page if same_size else page[::2, ::2], subfiletype=1, **GREY, **options)
    with open_volume(tmp_path / "a.tif", role="raw") as volume:
        np.testing.assert_array_equal(volume.read(), VOLUME[:3])
    assert "subIFD" in caplog.text


def test_levels_of_an_ome_pyramid_are_told(tmp_path: Path, caplog) -> None:
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        file.write(VOLUME, subifds=1, metadata={"axes": "ZYX"}, **GREY)
        file.write(VOLUME[:, ::2, ::2], subfiletype=1, **GREY)
    with open_volume(tmp_path / "a.ome.tif", role="raw") as volume:
        np.testing.assert_array_equal(volume.read(), VOLUME)
    assert "1 subIFD of a page" in caplog.text


def ome_with(path: Path, change: Callable[[str], str]) -> None:
    """Write an OME-TIFF whose metadata are changed, padded to their length."""
    tifffile.imwrite(path, VOLUME, ome=True, metadata={"axes": "ZYX"}, compression="zlib", **GREY)
    content = path.read_bytes()
    found = re.search(rb"<\?xml.*</OME>", content, re.DOTALL)
    assert found, "test invalid"
    new = change(found[0].decode()).encode()
    assert new != found[0], "test invalid"
    assert len(new) <= len(found[0])
    path.write_bytes(content.replace(found[0], new + b" " * (len(found[0]) - len(new))))


def test_pages_that_ome_metadata_leave_out_are_told(tmp_path: Path, caplog) -> None:
    path = tmp_path / "a.ome.tif"
    ome_with(
        path,
        lambda xml: xml.replace('SizeZ="7"', 'SizeZ="5"').replace(
            'PlaneCount="7"', 'PlaneCount="5"'
        ),
    )
    with open_volume(path, role="raw") as volume:
        np.testing.assert_array_equal(volume.read(), VOLUME[:5])
    assert "pages 5 to 6" in caplog.text


def test_planes_that_ome_metadata_promise_must_be_there(tmp_path: Path) -> None:
    ome_with(tmp_path / "a.ome.tif", lambda xml: xml.replace('SizeZ="7"', 'SizeZ="9"'))
    with pytest.raises(VolumeError):
        open_volume(tmp_path / "a.ome.tif", role="raw")


def test_an_image_of_ome_metadata_that_cannot_be_found(tmp_path: Path) -> None:
    def second_is_empty(xml: str) -> str:
        image = '<Image ID="Image:1"><Pixels DimensionOrder="XYZCT" ID="Pixels:1" SizeC="1" '
        image += 'SizeT="1" SizeX="8" SizeY="8" SizeZ="1" Type="uint8"></Pixels></Image></OME>'
        schema = re.search(r' xsi:schemaLocation="[^"]*"', xml)
        assert schema, "test invalid"
        return re.sub(
            r" Creator=\"[^\"]*\"| UUID=\"[^\"]*\"", "", xml.replace(schema[0], "")
        ).replace("</OME>", image)

    ome_with(tmp_path / "a.ome.tif", second_is_empty)
    with pytest.raises(VolumeError, match=r"describe 2 images, the pages of 1"):
        open_volume(tmp_path / "a.ome.tif", role="raw")


@pytest.mark.parametrize("slices", [3, 9])
def test_imagej_counts_that_do_not_fit(slices: int, tmp_path: Path) -> None:
    text = f"ImageJ=1.54f\nimages={slices}\nslices={slices}\n"
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for place, page in enumerate(VOLUME):
            described = {"description": text} if place == 0 else {}
            file.write(page, metadata=None, compression="zlib", **GREY, **described)
    with pytest.raises(VolumeError, match=f"describe {slices} planes, the file holds 7"):
        open_volume(tmp_path / "a.tif", role="raw")


def test_an_odd_page_below_imagej_metadata(tmp_path: Path) -> None:
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        for place, page in enumerate(VOLUME):
            described = {"description": "ImageJ=1.54f\nimages=7\nslices=7\n"} if place == 0 else {}
            kind = {"photometric": "miniswhite" if place == 4 else "minisblack"}
            file.write(page, metadata=None, **kind, **described)
    with pytest.raises(VolumeError, match=r"page 4 \(.*MINISWHITE\) of 7 is unlike page 0"):
        open_volume(tmp_path / "a.tif", role="raw")


@pytest.mark.parametrize("compression", [34676, 65000, 50000, 4242])
def test_a_compression_that_is_not_known_is_not_damage(compression: int, tmp_path: Path) -> None:
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, VOLUME[0], **GREY)
    with tifffile.TiffFile(path) as file:
        place = file.pages[0].tags[259].valueoffset
    content = bytearray(path.read_bytes())
    content[place : place + 2] = struct.pack("<H", compression)
    path.write_bytes(content)
    if compression == 50000:  # Zstandard is known, so here the data are wrong
        with open_volume(path, role="raw") as volume, pytest.raises(VolumeError, match="damaged"):
            volume.read()
        return
    with pytest.raises(VolumeError, match="cannot be unpacked here") as caught:
        open_volume(path, role="raw")
    assert "damaged" not in str(caught.value)


@pytest.fixture(autouse=True)
def warnings_are_seen(caplog) -> None:
    caplog.set_level(logging.WARNING, logger="emds")
