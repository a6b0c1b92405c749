"""Reading zarr: versions 2 and 3, sharded arrays, OME-Zarr groups, and what emds wrote."""

from __future__ import annotations

import itertools
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
import zarr.errors
from numpy.typing import NDArray
from typing_extensions import override

from emds.errors import VolumeError
from emds.io.location import Location
from emds.io.ome import Multiscale, level_paths, parse_multiscale
from emds.io.place import place_or_reason
from emds.io.source import (
    MALFORMED,
    ArraySource,
    Found,
    LazyArray,
    default_axes,
    refuse_os_error,
    role_of_path,
)

# On an array: emds wrote it and stored every chunk, so one that is not there was lost.
WRITTEN_WHOLE = "every_chunk_written"
# On an array: the lower resolution of an image that it holds, once the OME metadata name it.
LEVEL = "level"


class WholeZarrArray(LazyArray):
    """A zarr array of which every chunk must exist, so that a lost one is not read as zeros."""

    def __init__(self, array: zarr.Array[Any], folder: Path) -> None:
        self._array = array
        self._folder = folder

    @property
    @override
    def shape(self) -> tuple[int, ...]:
        return self._array.shape

    @property
    @override
    def dtype(self) -> np.dtype[Any]:
        return np.dtype(self._array.dtype)

    @override
    def __getitem__(self, index: tuple[slice | int, ...], /) -> NDArray[Any]:
        for path in chunk_files(self._array, self._folder, index):
            if not path.exists():
                raise FileNotFoundError(f"the chunk {path.relative_to(self._folder)} is missing")
        return np.asarray(self._array[index])


def chunk_files(
    array: zarr.Array[Any], folder: Path, index: tuple[slice | int, ...]
) -> Iterator[Path]:
    """Yield the files that hold a box of an array that lies in `folder`."""
    chunk_shape = array.shards or array.chunks
    ranges = []
    for part, size, chunk in zip(index, array.shape, chunk_shape, strict=True):
        begin, end, _ = part.indices(size) if isinstance(part, slice) else (part, part + 1, 1)
        ranges.append(range(begin // chunk, -(-end // chunk)))
    for place in itertools.product(*ranges):
        yield folder / array.metadata.encode_chunk_key(place)


def find_zarr_arrays(location: Location, *, all_levels: bool = False) -> Found:
    """List the arrays of a zarr array or group; of an OME-Zarr image, its level 0 alone.

    Parameters
    ----------
    location : Location
        A zarr folder, and perhaps a key in it.
    all_levels : bool
        Of an OME-Zarr image, list the lower resolutions as well.

    Raises
    ------
    VolumeError
        If the key is not there, or the metadata is damaged.
    """
    root, key = location.path, location.key
    shown = f"{root}/{key}".rstrip("/")
    try:
        with warnings.catch_warnings():
            # Of files that are no part of the hierarchy, such as .DS_Store.
            warnings.simplefilter("ignore", zarr.errors.ZarrUserWarning)
            node = zarr.open(str(root), mode="r")
            members = _members(node, key)
            sources = None if members is None else _sources(members, root, key, all_levels)
            held = _sources(_members(node, "") or {}, root, "", False) if sources is None else []
    except MALFORMED as error:
        refuse_os_error(error, shown)
        raise VolumeError(
            f"cannot read {shown!r}: its zarr metadata is damaged or of an unknown kind: {error}"
        ) from error
    if sources is None:
        lines = "\n".join(f"  {source.described()}" for source in held)
        raise VolumeError(
            f"cannot read {shown!r}: there is no {key!r} in {str(root)!r}. It holds:\n{lines}"
        )
    explicit = len(sources) == 1 and sources[0].name == ""
    return Found(sources, "zarr", explicit and (bool(key) or isinstance(node, zarr.Array)))


def _members(root: Any, key: str) -> dict[str, Any] | None:
    """Return the nodes on the way to a key and all below it, by path; None if it is not there."""
    members, node, path = {"": root}, root, ""
    for part in key.split("/") if key else ():
        if isinstance(node, zarr.Array) or part not in node:
            return None
        node, path = node[part], f"{path}/{part}".strip("/")
        members[path] = node
    if not isinstance(node, zarr.Array):
        for inner, member in node.members(max_depth=None):
            members[f"{path}/{inner}".strip("/")] = member
    return members


def _sources(
    members: Mapping[str, Any], root: Path, key: str, all_levels: bool
) -> list[ArraySource]:
    groups = {p: dict(m.attrs) for p, m in members.items() if not isinstance(m, zarr.Array)}
    levels: dict[str, tuple[str, int]] = {}
    for group, attributes in groups.items():
        for index, level in enumerate(level_paths(attributes)):
            path = f"{group}/{level}".strip("/")
            levels[path] = (group, index)
            if index == 0 and path not in members and _is_below(group, key):
                raise KeyError(f"there is no array {path!r}, which the OME metadata name")
    sources = []
    for path in sorted(members):
        if isinstance(members[path], zarr.Array) and _is_below(path, key):
            if path not in levels:
                if LEVEL in _of_emds(members[path]):
                    continue  # being made, or left by `emds pyramid` when it was stopped
                name = path.removeprefix(key).strip("/")
                sources.append(_plain_source(members[path], root, path, name))
                continue
            group, index = levels[path]
            if index == 0 or path == key or all_levels:
                image = parse_multiscale(groups[group], index, members[path].ndim)
                shown = group if index == 0 else path
                name = shown.removeprefix(key).strip("/") if path != key else ""
                of_group = _of_emds(members[group])
                sources.append(
                    _image_source(members[path], root, path, shown, name, image, of_group)
                )
    return sources


def _is_below(path: str, key: str) -> bool:
    return not key or path == key or path.startswith(f"{key}/")


def _image_source(
    array: zarr.Array[Any],
    root: Path,
    path: str,
    shown: str,
    name: str,
    image: Multiscale,
    attributes: Mapping[str, Any],
) -> ArraySource:
    marker = _of_emds(array)
    return ArraySource(
        location=f"{root}/{shown}".rstrip("/"),
        name=name,
        values=_values(array, root / path, marker),
        axes=image.axes,
        chunk_shape=array.shards or array.chunks,
        decoded_bytes=_chunk_bytes(array),
        voxel_size=image.voxel_size,
        offset=image.offset,
        attributes=attributes,
        meant_as="labels" if image.is_labels else marker.get("role") or role_of_path(shown),
    )


def _plain_source(array: zarr.Array[Any], root: Path, inner: str, name: str) -> ArraySource:
    location = f"{root}/{inner}".rstrip("/")
    attributes = dict(array.attrs)
    voxel_size, offset, misplaced = place_or_reason(attributes, location)
    marker = _of_emds(array)
    named = [
        str(axis or "?").lower() for axis in getattr(array.metadata, "dimension_names", ()) or ()
    ]
    axes = "".join(named)
    if len(axes) != array.ndim or not {"y", "x"} <= set(axes):
        axes = default_axes(array.ndim)
    return ArraySource(
        location=location,
        name=name,
        values=_values(array, root / inner, marker),
        axes=axes,
        chunk_shape=array.shards or array.chunks,
        decoded_bytes=_chunk_bytes(array),
        voxel_size=voxel_size,
        offset=offset,
        attributes=marker,
        meant_as=role_of_path(inner),
        unusable=misplaced,
    )


def _values(array: zarr.Array[Any], folder: Path, marker: Mapping[str, Any]) -> LazyArray:
    if marker.get(WRITTEN_WHOLE):
        return WholeZarrArray(array, folder)
    values: LazyArray = array  # type: ignore[assignment]
    return values


def _of_emds(node: Any) -> dict[str, Any]:
    stored = dict(node.attrs).get("emds", {})
    return dict(stored) if isinstance(stored, Mapping) else {}


def _chunk_bytes(array: zarr.Array[Any]) -> int:
    nbytes = int(np.dtype(array.dtype).itemsize)
    for size in array.chunks:
        nbytes *= size
    return nbytes
