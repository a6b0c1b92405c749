"""Reading a folder of sections: one greyscale TIFF or PNG file each, in natural order."""

from __future__ import annotations

import re
import struct
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
import tifffile
from numpy.typing import NDArray
from typing_extensions import override

from emds.errors import VolumeError
from emds.io.location import SLICE_SUFFIXES, Location
from emds.io.source import MALFORMED, ArraySource, Found, LazyArray, refuse_os_error
from emds.io.tiff_volume import why_not_greyscale

_CACHE_BYTES = 2**27
_LISTED = 5

# Greyscale is colour type 0; the number is the third byte field of a PNG header.
_PNG_COLOURS = {2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}


def natural_key(name: str) -> list[str | int]:
    """Sort key that puts ``z2`` before ``z10``.

    Examples
    --------
    >>> sorted(["z10.png", "z2.png", "z1.png"], key=natural_key)
    ['z1.png', 'z2.png', 'z10.png']
    """
    return [int(part) if part.isdigit() else part.lower() for part in re.split(r"(\d+)", name)]


def find_slices(location: Location) -> Found:
    """Take a folder of slices, or a single PNG file, as one array.

    Raises
    ------
    VolumeError
        If the files differ in shape or type, are of both kinds, or one is not greyscale.
    """
    path = location.path
    if location.key:
        raise VolumeError(f"cannot read {str(path)!r}: slices have no key {location.key!r}.")
    files = slice_files(path) if path.is_dir() else [path]
    headers = [_header(file) for file in files]
    odd = [
        f"  {file.name}: {dtype} {shape}"
        for file, (shape, dtype) in zip(files, headers, strict=True)
        if (shape, dtype) != headers[0]
    ]
    if odd:
        shape, dtype = headers[0]
        more = f"\n  and {len(odd) - _LISTED} more" if len(odd) > _LISTED else ""
        raise VolumeError(
            f"cannot read {str(path)!r}: all slices must have the shape and type of the first, "
            f"{files[0].name}: {dtype} {shape}. These differ:\n" + "\n".join(odd[:_LISTED]) + more
        )
    stack = SliceStack(files, *headers[0])
    source = ArraySource(
        location=str(path),
        name="",
        values=stack,
        axes="zyx",
        chunk_shape=(1, *stack.shape[1:]),
        decoded_bytes=stack.section_bytes,
    )
    return Found([source], "slices", True)


class SliceStack(LazyArray):
    """Sections in files of their own, decoded when they are needed.

    The last few are kept, since neighbouring tiles read the same sections.
    """

    def __init__(
        self, files: Sequence[Path], section_shape: tuple[int, int], dtype: np.dtype[Any]
    ) -> None:
        self._files = files
        self._shape = (len(files), *section_shape)
        self._dtype = dtype
        self._kept: OrderedDict[int, NDArray[Any]] = OrderedDict()
        self._lock = threading.Lock()

    @property
    @override
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    @override
    def dtype(self) -> np.dtype[Any]:
        return self._dtype

    @property
    def section_bytes(self) -> int:
        """Size of a section in memory."""
        return self._shape[1] * self._shape[2] * self._dtype.itemsize

    @override
    def __getitem__(self, index: tuple[slice | int, ...], /) -> NDArray[Any]:
        z, y, x = index
        assert isinstance(z, slice)
        places = range(*z.indices(self._shape[0]))
        return np.stack([self._section(place)[y, x] for place in places])

    def _section(self, place: int) -> NDArray[Any]:
        with self._lock:
            if place in self._kept:
                self._kept.move_to_end(place)
                return self._kept[place]
            file = self._files[place]
            section = _decode(file)
            if (section.shape, section.dtype) != (self._shape[1:], self._dtype):
                raise ValueError(f"{file.name} is not what its header says")
            self._kept[place] = section
            while len(self._kept) > max(1, _CACHE_BYTES // max(1, self.section_bytes)):
                self._kept.popitem(last=False)
            return section


def slice_files(folder: Path) -> list[Path]:
    """Return the slices of a folder in natural order; refuses a folder of both kinds."""
    files = [
        file
        for file in folder.iterdir()
        if file.suffix.lower() in SLICE_SUFFIXES and not file.name.startswith(".")
    ]
    kinds = {"PNG" if file.suffix.lower() == ".png" else "TIFF" for file in files}
    if len(kinds) != 1:
        raise VolumeError(
            f"cannot read {str(folder)!r}: it must hold slices of one kind, it holds "
            f"{' and '.join(sorted(kinds)) or 'none'}. Move the others away."
        )
    return sorted(files, key=lambda file: natural_key(file.name))


def _header(file: Path) -> tuple[tuple[int, int], np.dtype[Any]]:
    try:
        if file.suffix.lower() == ".png":
            return _png_header(file)
        with tifffile.TiffFile(file) as tiff:
            if len(tiff.pages) != 1:
                raise VolumeError(
                    f"cannot read {str(file)!r} as a slice: it holds {len(tiff.pages)} pages, one "
                    "is expected. Open it as a volume by itself."
                )
            page = tiff.pages.first
            shape, dtype, reason = page.shape, page.dtype, why_not_greyscale(page)
            if reason is not None:
                raise VolumeError(f"cannot read {str(file)!r} as a slice: {reason}.")
    except MALFORMED as error:
        refuse_os_error(error, file)
        raise VolumeError(f"cannot read {str(file)!r}: damaged slice: {error}") from error
    if len(shape) != 2 or dtype is None:
        raise VolumeError(
            f"cannot read {str(file)!r} as a slice: it is a colour image (RGB) of shape {shape}; "
            "save it as greyscale."
        )
    return (shape[0], shape[1]), np.dtype(dtype)


def _png_header(file: Path) -> tuple[tuple[int, int], np.dtype[Any]]:
    with file.open("rb") as stream:
        start = stream.read(26)
    if len(start) < 26 or start[:8] != b"\x89PNG\r\n\x1a\n":
        raise ValueError("it does not start like a PNG file")
    width, height, bits, colour = struct.unpack(">IIBB", start[16:26])
    if colour in _PNG_COLOURS:
        raise VolumeError(
            f"cannot read {str(file)!r} as a slice: it is a colour image "
            f"({_PNG_COLOURS[colour]}); save it as greyscale."
        )
    if colour != 0 or bits not in (8, 16):
        raise VolumeError(
            f"cannot read {str(file)!r} as a slice: PNG slices must be greyscale of 8 or 16 bits, "
            f"not {bits}."
        )
    return (height, width), np.dtype(f"u{bits // 8}")


def _decode(file: Path) -> NDArray[Any]:
    try:
        if file.suffix.lower() == ".png":
            return np.asarray(imagecodecs.png_decode(file.read_bytes()))
        with tifffile.TiffFile(file) as tiff:
            section = np.asarray(tiff.pages.first.asarray())
            return section.astype(section.dtype.newbyteorder("="), copy=False)
    except MALFORMED as error:
        refuse_os_error(error, file)
        raise ValueError(f"damaged slice {file.name}: {error}") from error
