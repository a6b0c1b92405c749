"""Reading HDF5: the CREMI layout and any other, nothing outside the file itself."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from emds.errors import VolumeError
from emds.io.axes import default_axes
from emds.io.hdf5_axes import read_hdf5_stated
from emds.io.hdf5_tree import Unreadable, groups_above, members, why_untyped
from emds.io.hdf5_values import values_of, why_packed
from emds.io.location import Location
from emds.io.meant_values import remarks_on_values
from emds.io.source import (
    MALFORMED,
    ArraySource,
    Found,
    refuse_os_error,
    role_of_path,
    stored_by_emds,
)
from emds.io.stated import remarks_on_groups

_LONGEST_LINK_CHAIN = 16
_BIG_DATA_VIEWER = re.compile(r"/t\d{5,}/s\d{2,}/\d+/cells")


def find_hdf5_arrays(location: Location) -> Found:
    """List the arrays of an HDF5 file, or the one that the key names.

    External links, external storage and virtual data sets are refused: a file from elsewhere
    could make emds read (and copy into its output) any file of the user.

    Raises
    ------
    VolumeError
        If the file is damaged, the key is not there, or it leads out of the file.
    """
    path = location.path
    with ExitStack() as held:
        try:
            file = held.enter_context(h5py.File(path, "r"))
        except OSError as error:
            refuse_os_error(error, path)
            raise VolumeError(
                f"cannot read {str(path)!r}: damaged, truncated or locked HDF5 file: {error}"
            ) from error
        try:
            sources, explicit = _find(file, location)
        except MALFORMED as error:
            raise VolumeError(f"cannot read {str(path)!r}: damaged HDF5 file: {error}") from error
        return Found(sources, "hdf5", explicit, held.pop_all().close)


def _find(file: h5py.File, location: Location) -> tuple[list[ArraySource], bool]:
    path, key = location.path, location.key
    node = file
    if key:
        resolved = _resolve(file, key, path)
        if resolved is None:
            lines = "\n".join(f"  {source.described()}" for source in _below(file, path, ""))
            raise VolumeError(
                f"cannot read {f'{path}:{key}'!r}: there is no {key!r} in it. It holds:\n{lines}"
            )
        node = resolved
    if isinstance(node, h5py.Dataset):
        return [_source(node, path, key, "")], True
    if not isinstance(node, h5py.Group):
        raise VolumeError(
            f"cannot read {f'{path}:{key}'!r}: it is a named type, an array or group is expected."
        )
    return _below(node, path, key), False


def _resolve(file: h5py.File, key: str, path: Path, depth: int = 0) -> Any | None:
    """Walk to a key link by link, so that none on the way leads out of the file."""
    node: Any = file
    parts = [part for part in key.split("/") if part]
    for place, part in enumerate(parts):
        link = node.get(part, getlink=True) if isinstance(node, h5py.Group) else None
        if link is None:
            return None
        if isinstance(link, h5py.ExternalLink):
            raise VolumeError(
                f"cannot read {f'{path}:{key}'!r}: {'/'.join(parts[: place + 1])!r} is an external "
                f"link to {link.filename!r}, which emds does not follow. Open that file itself."
            )
        if isinstance(link, h5py.SoftLink):
            target = link.path if link.path.startswith("/") else f"{node.name}/{link.path}"
            if depth >= _LONGEST_LINK_CHAIN:
                raise VolumeError(f"cannot read {f'{path}:{key}'!r}: its links form a circle.")
            node = _resolve(file, target, path, depth + 1)
            if node is None:
                return None
        else:
            node = node[part]
    return node


def _below(group: Any, path: Path, key: str) -> list[ArraySource]:
    sources = []
    for member in members(group):
        full = "/".join(part for part in (key, member.name) if part)
        if member.dataset is None:
            sources.append(_unreadable(path, full, member.name, (), 0, member.reason))
        else:
            sources.append(_source(member.dataset, path, full, member.name))
    return sources


def _unreadable(
    path: Path, key: str, name: str, shape: tuple[int, ...], itemsize: int, reason: str
) -> ArraySource:
    return ArraySource(
        location=f"{path}:{key}",
        name=name,
        values=Unreadable(shape, itemsize),
        axes=default_axes(len(shape)),
        chunk_shape=shape,
        decoded_bytes=0,
        meant_as=role_of_path(key),
        unusable=reason,
    )


def _why_outside(dataset: Any) -> str | None:
    if dataset.external:
        return (
            f"its values lie in other files (external storage: {dataset.external[0][0]!r}), which "
            "emds does not follow. Copy it into one file"
        )
    if dataset.is_virtual:
        return (
            "it is a virtual data set that points to other files, which emds does not follow. "
            "Copy it into one file"
        )
    return None


def _source(dataset: Any, path: Path, key: str, name: str) -> ArraySource:
    location = f"{path}:{key}"
    try:
        reason = why_untyped(dataset)
        values = values_of(dataset) if reason is None else None
    except MALFORMED as error:
        reason, values = f"its metadata are damaged: {error}", None
    if reason is not None or values is None:
        itemsize = dataset.id.get_type().get_size()
        return _unreadable(path, key, name, dataset.shape or (), itemsize, str(reason))
    stated, attributes = read_hdf5_stated(dataset)
    remarks = [*stated.remarks, *remarks_on_values(dataset.attrs)]
    if stated.voxel_size is None and stated.unusable is None:
        remarks += remarks_on_groups(groups_above(dataset))
    if _BIG_DATA_VIEWER.fullmatch(dataset.name or "") and dataset.dtype == np.int16:
        remarks.append(
            "BigDataViewer stores unsigned 16-bit numbers as signed ones, so values above 32767 "
            "are read as negative; the voxel size in its .xml file is not read"
        )
    shape, chunks = values.shape, dataset.chunks
    decoded = int(np.prod(chunks, dtype=object)) * dataset.dtype.itemsize if chunks else 0
    return ArraySource(
        location=location,
        name=name,
        values=values,
        axes=stated.axes,
        chunk_shape=chunks or (1,) * max(0, len(shape) - 2) + shape[-2:],
        decoded_bytes=decoded,
        voxel_size=stated.voxel_size,
        offset=stated.offset,
        attributes=_of_emds(attributes),
        meant_as=role_of_path(key),
        unusable=_why_outside(dataset) or why_packed(dataset) or stated.unusable,
        remarks=tuple(remarks),
    )


def _of_emds(attributes: Mapping[str, Any]) -> dict[str, Any]:
    stored = attributes.get("emds")
    if not isinstance(stored, str):
        return {}
    try:
        return stored_by_emds(json.loads(stored))
    except (ValueError, RecursionError):
        return {}
