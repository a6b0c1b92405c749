"""Reading a folder of sections: one greyscale TIFF or PNG file each, in natural order."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tifffile
from numpy.typing import NDArray
from typing_extensions import override

from emds.errors import VolumeError
from emds.io.location import SLICE_SUFFIXES, Location, kind_of_file
from emds.io.png import decode_png, png_header
from emds.io.runs import one_line
from emds.io.slice_names import natural_order, remarks
from emds.io.source import MALFORMED, ArraySource, Found, LazyArray, refuse_os_error
from emds.io.tiff_page import grey_step, mirrored_axes, why_not_grey

_CACHE_BYTES = 2**27
_LISTED = 5

# Images of which those that lie beside the slices are mentioned.
_OTHER_IMAGES = {".jpg", ".jpeg", ".jp2", ".bmp", ".gif", ".webp", ".mrc", ".dm3", ".dm4", ".npy"}


class _Header(NamedTuple):
    """What all slices of a stack must have in common."""

    shape: tuple[int, int]
    dtype: np.dtype[Any]
    grey_step: int = 1

    def __str__(self) -> str:
        step = f" in steps of {self.grey_step}" if self.grey_step > 1 else ""
        return f"{self.dtype} {self.shape}{step}"


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
        f"  {one_line(file.name)}: {header}"
        for file, header in zip(files, headers, strict=True)
        if header != headers[0]
    ]
    if odd:
        more = f"\n  and {len(odd) - _LISTED} more" if len(odd) > _LISTED else ""
        raise VolumeError(
            f"cannot read {str(path)!r}: all slices must have the shape and type of the first, "
            f"{one_line(files[0].name)}: {headers[0]}. These differ:\n"
            + "\n".join(odd[:_LISTED])
            + more
        )
    stack = SliceStack(files, headers[0].shape, headers[0].dtype)
    source = ArraySource(
        location=str(path),
        name="",
        values=stack,
        axes="zyx",
        chunk_shape=(1, *stack.shape[1:]),
        decoded_bytes=stack.section_bytes,
        grey_step=headers[0].grey_step,
        remarks=_remarks(path, files),
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
    slices = {
        file.name: file
        for file in folder.iterdir()
        if file.suffix.lower() in SLICE_SUFFIXES and not file.name.startswith(".")
    }
    kinds = {"PNG" if file.suffix.lower() == ".png" else "TIFF" for file in slices.values()}
    if len(kinds) != 1:
        raise VolumeError(
            f"cannot read {str(folder)!r}: it must hold slices of one kind, it holds "
            f"{' and '.join(sorted(kinds)) or 'none'}. Move the others away."
        )
    return [slices[name] for name in natural_order(slices)]


def _remarks(path: Path, files: Sequence[Path]) -> tuple[str, ...]:
    """Say what speaks against one stack, and which images of the folder are not read."""
    said = [f"it is read as one stack, but {text}" for text in remarks(f.name for f in files)]
    names = [file.name for file in path.iterdir()] if path.is_dir() else []
    others = sorted(name for name in names if Path(name).suffix.lower() in _OTHER_IMAGES)
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        said.append(f"beside it is {others[0]}{more}, which is not read")
    return tuple(said)


def _header(file: Path) -> _Header:
    kind = kind_of_file(file)
    if kind == "hdf5":
        raise VolumeError(
            f"cannot read {str(file)!r} as a slice: it is an HDF5 file. Open it as a volume."
        )
    try:
        if kind == "png":
            return _Header(*png_header(file))
        with tifffile.TiffFile(file) as tiff:
            if len(tiff.pages) != 1:
                raise VolumeError(
                    f"cannot read {str(file)!r} as a slice: it holds {len(tiff.pages)} pages, one "
                    "is expected. Open it as a volume by itself."
                )
            page = tiff.pages.first
            shape, dtype, reason = page.shape, page.dtype, why_not_grey(page)
            if reason is not None:
                raise VolumeError(f"cannot read {str(file)!r} as a slice: {reason}.")
            step = grey_step(page)
    except MALFORMED as error:
        refuse_os_error(error, file)
        raise VolumeError(f"cannot read {str(file)!r}: damaged slice: {error}") from error
    if len(shape) != 2 or dtype is None:
        raise VolumeError(
            f"cannot read {str(file)!r} as a slice: it is a colour image (RGB) of shape {shape}; "
            "save it as greyscale."
        )
    return _Header((shape[0], shape[1]), np.dtype(dtype), step)


def _decode(file: Path) -> NDArray[Any]:
    try:
        if kind_of_file(file) == "png":
            return decode_png(file)
        with tifffile.TiffFile(file) as tiff:
            page = tiff.pages.first
            section = np.asarray(page.asarray())
            section = np.flip(section, tuple("YX".index(axis) for axis in mirrored_axes(page)))
            native: NDArray[Any] = section.astype(section.dtype.newbyteorder("="), copy=False)
            return native
    except MALFORMED as error:
        refuse_os_error(error, file)
        raise ValueError(f"damaged slice {file.name}: {error}") from error
