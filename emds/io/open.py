"""Opening a volume for reading, whatever it is stored as."""

from __future__ import annotations

import logging
import weakref
from functools import cache
from pathlib import Path
from typing import Any

from emds.errors import VolumeError
from emds.files import hold_input
from emds.io.choose import choose_array
from emds.io.location import Location, parse_location
from emds.io.source import Found, Role, absurd_size, why_not
from emds.io.source_volume import SourceVolume
from emds.io.volume import Volume

logger = logging.getLogger("emds")


def open_volume(
    location: str | Path, *, key: str | None = None, role: Role | None = None
) -> Volume:
    """Open a volume for reading; nothing but metadata is read until a box is asked for.

    Parameters
    ----------
    location : str or Path
        ``path``, ``path.zarr/inner/array`` or ``file.h5:volumes/raw``. Read are zarr (2 and 3,
        OME-Zarr), HDF5, TIFF, PNG, and folders of TIFF or PNG slices.
    key : str, optional
        Array inside the file, added to the one in `location`.
    role : {"raw", "labels", "affinities"}, optional
        What the array is needed for: decides which one is meant where a file holds several,
        and which types and values are accepted.

    Returns
    -------
    Volume
        Close it, or use it in a ``with`` block.

    Raises
    ------
    VolumeError
        If it cannot be found or read, several arrays could be meant, or the array cannot play
        the role (colour images, floats as labels, wrong number of axes, ...).
    """
    place = parse_location(location, key)
    found = find_arrays(place)
    try:
        source = choose_array(_shown(place), found, role)
        reason = absurd_size(source)
        if reason is not None:
            raise VolumeError(f"cannot read {source.location!r}: {reason}.")
    except BaseException:
        found.close()
        raise
    for remark in source.remarks:
        _warn_once(f"{source.location}: {remark}.")
    release = hold_input(place.path)

    def close() -> None:
        release()
        found.close()

    volume = SourceVolume(source, role, close)
    weakref.finalize(volume, release)
    return volume


@cache
def _warn_once(message: str) -> None:
    """Tell the user; a volume is opened many times in a run."""
    logger.warning("%s", message)


def find_arrays(place: Location) -> Found:
    """List the arrays of a file or folder, with the backend that reads its kind."""
    if place.kind == "zarr":
        from emds.io.zarr_volume import find_zarr_arrays

        return find_zarr_arrays(place)
    if place.kind == "hdf5":
        from emds.io.hdf5_volume import find_hdf5_arrays

        return find_hdf5_arrays(place)
    if place.kind == "tiff":
        from emds.io.tiff_volume import find_tiff_arrays

        return find_tiff_arrays(place)
    from emds.io.slices_volume import find_slices

    return find_slices(place)


def describe(location: str | Path, *, key: str | None = None) -> dict[str, Any]:
    """Say what a file or folder holds, without reading voxels.

    Returns
    -------
    dict
        Ready for JSON: ``location``, ``kind``, ``arrays``. Each array has ``location``,
        ``shape`` (z, y, x), ``channels``, ``dtype``, ``chunk_shape``, ``voxel_size_nm``,
        ``offset_nm``, ``nbytes`` and ``attributes``, and ``remarks`` where there is something
        to know of how it is read; one that emds cannot use as a volume has ``shape`` as stored,
        ``dtype`` and ``unusable``, the reason.

    Raises
    ------
    VolumeError
        If it cannot be found or read.
    """
    place = parse_location(location, key)
    found = find_arrays(place)
    arrays: list[dict[str, Any]] = []
    if found.mixed:
        logger.warning("%s: %s", _shown(place), found.mixed)
    try:
        for source in found.sources:
            reason = why_not(source, None, explicit=True) or absurd_size(source)
            if reason is not None:
                arrays.append(
                    {
                        "location": source.location,
                        "shape": list(source.values.shape),
                        "dtype": str(source.values.dtype),
                        "unusable": reason,
                    }
                )
                continue
            remarks = {"remarks": list(source.remarks)} if source.remarks else {}
            arrays.append(_described(SourceVolume(source, None, lambda: None)) | remarks)
    finally:
        found.close()
    return {"location": _shown(place), "kind": found.kind, "arrays": arrays}


def _described(volume: Volume) -> dict[str, Any]:
    return {
        "location": volume.location,
        "shape": list(volume.shape),
        "channels": volume.channels,
        "dtype": str(volume.dtype),
        "chunk_shape": list(volume.chunk_shape),
        "voxel_size_nm": None if volume.voxel_size is None else list(volume.voxel_size),
        "offset_nm": list(volume.offset),
        "nbytes": volume.nbytes,
        "attributes": dict(volume.attributes),
    }


def _shown(place: Location) -> str:
    if not place.key:
        return str(place.path)
    return f"{place.path}{':' if place.kind == 'hdf5' else '/'}{place.key}"
