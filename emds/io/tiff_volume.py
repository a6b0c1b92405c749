"""Reading TIFF: stacks of pages, BigTIFF, ImageJ, OME and compressed files, all lazily."""

from __future__ import annotations

import logging
import math
import struct
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import tifffile
import zarr

from emds.errors import VolumeError
from emds.io.location import Location
from emds.io.ome import in_nanometres
from emds.io.source import MALFORMED, ArraySource, Found, LazyArray, refuse_os_error
from emds.io.tiff_page import grey_step, mirrored_axes, why_not_grey
from emds.io.tiff_pages import find_stacks
from emds.io.views import Mirrored
from emds.io.volume import Nanometres

_FILLERS = "0123456789"
_logger = logging.getLogger("emds")
_Place = tuple[Nanometres | None, Nanometres]


def find_tiff_arrays(location: Location) -> Found:
    """List the image series of a TIFF file; nearly always there is one.

    Raises
    ------
    VolumeError
        If the file is truncated or damaged, or spread over several files.
    """
    path = location.path
    with ExitStack() as held:
        try:
            # Files that an OME header names are not opened: they may lie anywhere.
            tiff = held.enter_context(tifffile.TiffFile(path, _multifile=False))
            _check_chain(tiff, path)
            stacks = find_stacks(tiff, path)
            sources = [_source(tiff, stacks.series, n, path) for n in range(len(stacks.series))]
        except MALFORMED as error:
            refuse_os_error(error, path)
            raise VolumeError(f"cannot read {str(path)!r}: damaged TIFF file: {error}") from error
        if location.key:
            lines = "\n".join(f"  {source.described()}" for source in sources)
            sources = [source for source in sources if source.name == location.key]
            if not sources:
                raise VolumeError(
                    f"cannot read {f'{path}:{location.key}'!r}: there is no series "
                    f"{location.key!r} in it. It holds:\n{lines}"
                )
            if stacks.mixed:
                _logger.warning(
                    "%s is read without the rest: %s", sources[0].location, stacks.mixed
                )
        if stacks.unread:
            _logger.warning(
                "%r holds more, which is not read: %s", str(path), "; ".join(stacks.unread)
            )
        explicit = len(sources) == 1
        if all(isinstance(source.values, np.memmap) for source in sources):
            return Found(sources, "tiff", explicit, mixed=stacks.mixed)  # needs no handle
        return Found(sources, "tiff", explicit, held.pop_all().close, stacks.mixed)


def _check_chain(tiff: tifffile.TiffFile, path: Path) -> None:
    """Refuse a file whose list of pages breaks off: tifffile would give the pages before."""
    end = tiff.pages.next_page_offset
    handle, form = tiff.filehandle, tiff.tiff
    if end is not None:
        handle.seek(end)
        last = handle.read(form.offsetsize)
        if len(last) < form.offsetsize or struct.unpack(form.offsetformat, last)[0] != 0:
            raise VolumeError(
                f"cannot read {str(path)!r}: the TIFF file is truncated: its list of pages breaks "
                f"off after {len(tiff.pages)}. Restore it from a copy."
            )


def _source(
    tiff: tifffile.TiffFile, all_series: Sequence[tifffile.TiffPageSeries], number: int, path: Path
) -> ArraySource:
    series = all_series[number]
    name = str(number) if len(all_series) > 1 else ""
    axes, keyframe = series.get_axes(False), series.keyframe
    dtype = np.dtype(series.dtype)
    _check_data(tiff, series, path)
    voxel_size, offset = _place(tiff, number)
    values: LazyArray = _values(tiff, series, path)
    mirrored = tuple(axes.index(axis) for axis in mirrored_axes(keyframe))
    if mirrored:
        values = Mirrored(values, mirrored)
    return ArraySource(
        location=f"{path}:{name}" if name else str(path),
        name=name,
        values=values,
        axes=stack_axes(axes, values.shape),
        chunk_shape=tuple(
            size if axis in "YXS" else 1 for axis, size in zip(axes, values.shape, strict=True)
        ),
        decoded_bytes=math.prod(keyframe.chunks) * dtype.itemsize,
        voxel_size=voxel_size,
        offset=offset,
        attributes=_described(tiff).get("emds", {}),
        unusable=why_not_grey(keyframe),
        grey_step=grey_step(keyframe),
    )


def _check_data(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, path: Path) -> None:
    if tiff.is_ome and series.kind != "ome":
        raise VolumeError(
            f"cannot read {str(path)!r}: its OME metadata do not fit the pages in it: they are "
            "damaged, or the image is spread over several files. Combine those into one."
        )
    size = tiff.filehandle.size
    if series.dataoffset is not None:
        end = series.dataoffset + series.nbytes
    else:
        end = 0
        for number, page in enumerate(series.pages):
            if page is None or 0 in page.databytecounts:
                raise VolumeError(
                    f"cannot read {str(path)!r}: page {number} has no data. The file is "
                    "incomplete; restore it from a copy."
                )
            end = max(end, *map(sum, zip(page.dataoffsets, page.databytecounts, strict=True)))
    if end > size:
        raise VolumeError(
            f"cannot read {str(path)!r}: the TIFF file is truncated: its data end at byte {end}, "
            f"the file at {size}. Restore it from a copy."
        )


def _values(tiff: tifffile.TiffFile, series: tifffile.TiffPageSeries, path: Path) -> LazyArray:
    if series.dataoffset is not None:
        return np.memmap(
            path,
            dtype=np.dtype(series.dtype).newbyteorder(tiff.byteorder),
            mode="r",
            offset=series.dataoffset,
            shape=series.get_shape(False),
        )
    array: Any = zarr.open_array(series.aszarr(level=0, squeeze=False), mode="r")
    values: LazyArray = array
    return values


def stack_axes(axes: str, shape: Sequence[int]) -> str:
    """Translate the axes of a TIFF series to those of a volume.

    A lone time, sequence or unnamed axis is taken as z, as stacks are often saved that way; two
    unnamed ones are channels and z.

    Examples
    --------
    >>> stack_axes("IYX", (30, 512, 512)), stack_axes("TZCYXS", (30, 1, 1, 512, 512, 1))
    ('zyx', 'z1cyxs')
    >>> stack_axes("QQYX", (3, 30, 512, 512))
    'czyx'
    """
    letters = list(axes.lower())
    lengths = dict(zip(letters, shape, strict=True))
    spare = [
        place for place, size in enumerate(shape) if letters[place] not in "zcyxs" and size > 1
    ]
    targets = "z" if len(spare) == 1 else "cz" if len(spare) == 2 else ""
    if targets and all(lengths.get(axis, 1) == 1 for axis in targets):
        letters = ["?" if letter in targets else letter for letter in letters]
        for place, target in zip(spare, targets, strict=True):
            letters[place] = target
    for place, size in enumerate(shape):
        if letters[place] not in "zcyxs" and size == 1:
            letters[place] = _FILLERS[place % len(_FILLERS)]
    return "".join(letters)


def _described(tiff: tifffile.TiffFile) -> Mapping[str, Any]:
    """Return the JSON that emds (or tifffile) put into the description of the first page."""
    if not tiff.is_shaped or not tiff.shaped_metadata:
        return {}
    return tiff.shaped_metadata[0]


def _place(tiff: tifffile.TiffFile, number: int) -> _Place:
    nowhere = (0.0, 0.0, 0.0)
    described = _described(tiff)
    if "voxel_size_nm" in described:
        size = described["voxel_size_nm"]
        z, y, x = map(float, described["offset_nm"])
        return (None if size is None else (float(size[0]), float(size[1]), float(size[2]))), (
            z,
            y,
            x,
        )
    if tiff.is_imagej:
        return _imagej_voxel_size(tiff), nowhere
    if tiff.is_ome and tiff.ome_metadata:
        return _ome_voxel_size(tiff.ome_metadata, number), nowhere
    return None, nowhere


def _imagej_voxel_size(tiff: tifffile.TiffFile) -> Nanometres | None:
    """Read ``spacing`` and ``unit`` of ImageJ; its resolution tags count pixels per unit."""
    metadata = tiff.imagej_metadata or {}
    unit = str(metadata.get("unit", "")).replace("\\u00B5", "µ")
    tags = tiff.pages.first.tags
    lengths = [metadata.get("spacing", 1.0)]  # ImageJ leaves a spacing of 1 out
    for name in ("YResolution", "XResolution"):
        pixels, per = tags[name].value if name in tags else (0, 1)
        if not pixels or not per:
            return None
        lengths.append(per / pixels)
    z, y, x = (in_nanometres(abs(float(length)), unit) for length in lengths)
    return (z, y, x) if z and y and x else None


def _ome_voxel_size(xml: str, index: int) -> Nanometres | None:
    pixels = ElementTree.fromstring(xml).findall(".//{*}Image/{*}Pixels")
    if index >= len(pixels):
        return None
    values = pixels[index].attrib
    lengths = [_ome_length(values, axis) for axis in "ZYX"]
    if lengths[0] is None and values.get("SizeZ", "1") == "1":
        lengths[0] = lengths[1]  # one section has no thickness of its own: as much as it is wide
    z, y, x = lengths
    return (z, y, x) if z and y and x else None


def _ome_length(values: Mapping[str, str], axis: str) -> float | None:
    text = values.get(f"PhysicalSize{axis}")
    if not text:
        return None
    length = in_nanometres(float(text), values.get(f"PhysicalSize{axis}Unit", "µm"))
    return length if length and length > 0 else None
