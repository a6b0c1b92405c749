"""Reading TIFF: stacks of pages, BigTIFF, ImageJ, OME and compressed files, all lazily."""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
import zarr

from emds.errors import VolumeError
from emds.io.location import Location
from emds.io.source import MALFORMED, ArraySource, Found, LazyArray, refuse_os_error, stored_by_emds
from emds.io.tiff_page import grey_step, mirrored_axes, why_not_grey
from emds.io.tiff_pages import find_stacks
from emds.io.tiff_place import described_by_emds, stack_axes, stack_place
from emds.io.views import Mirrored


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
        remarks = [f"the file holds more, which is not read: {what}" for what in stacks.unread]
        if location.key:
            lines = "\n".join(f"  {source.described()}" for source in sources)
            sources = [source for source in sources if source.name == location.key]
            if not sources:
                raise VolumeError(
                    f"cannot read {f'{path}:{location.key}'!r}: there is no series "
                    f"{location.key!r} in it. It holds:\n{lines}"
                )
            if stacks.mixed:
                remarks.append(f"it is read without the rest of the file: {stacks.mixed}")
        if remarks:
            sources = [replace(source, remarks=(*source.remarks, *remarks)) for source in sources]
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
    values: LazyArray = _values(tiff, series, path)
    mirrored = tuple(axes.index(axis) for axis in mirrored_axes(keyframe))
    if mirrored:
        values = Mirrored(values, mirrored)
    named = stack_axes(axes, values.shape)
    depth = dict(zip(named.letters, values.shape, strict=True)).get("z", 1)
    place = stack_place(tiff, number, depth)
    return ArraySource(
        location=f"{path}:{name}" if name else str(path),
        name=name,
        values=values,
        axes=named.letters,
        chunk_shape=tuple(
            size if axis in "YXS" else 1 for axis, size in zip(axes, values.shape, strict=True)
        ),
        decoded_bytes=math.prod(keyframe.chunks) * dtype.itemsize,
        voxel_size=place.voxel_size,
        offset=place.offset,
        attributes=stored_by_emds(described_by_emds(tiff).get("emds")),
        unusable=why_not_grey(keyframe),
        grey_step=grey_step(keyframe),
        remarks=named.remarks + place.remarks,
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
