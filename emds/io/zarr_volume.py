"""Reading zarr: versions 2 and 3, sharded arrays, OME-Zarr groups, and what emds wrote."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
import zarr.errors
from numpy.typing import NDArray
from typing_extensions import override

from emds.errors import VolumeError
from emds.io.location import Location
from emds.io.ome import Multiscale, ome_attributes, parse_multiscale
from emds.io.place import place_from_attributes
from emds.io.source import ArraySource, Found, LazyArray, Role, default_axes

# On an array: emds wrote it and stored every chunk, so one that is not there was lost.
WRITTEN_WHOLE = "every_chunk_written"

# What zarr raises on metadata that is not what its version prescribes.
_MALFORMED = (OSError, ValueError, TypeError, KeyError, AttributeError, IndexError, RuntimeError)


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


def chunk_files(array: zarr.Array[Any], folder: Path, index: tuple[slice | int, ...]) -> list[Path]:
    """Return the files that hold a box of an array that lies in `folder`."""
    chunk_shape = array.shards or array.chunks
    ranges = []
    for part, size, chunk in zip(index, array.shape, chunk_shape, strict=True):
        begin, end, _ = part.indices(size) if isinstance(part, slice) else (part, part + 1, 1)
        ranges.append(range(begin // chunk, -(-end // chunk)))
    return [folder / array.metadata.encode_chunk_key(place) for place in itertools.product(*ranges)]


def find_zarr_arrays(location: Location) -> Found:
    """List the arrays of a zarr array or group; of an OME-Zarr image, its level 0 alone.

    Raises
    ------
    VolumeError
        If the key is not there, or the metadata is damaged.
    """
    shown = "/".join([str(location.path), location.key]).rstrip("/")
    try:
        node = zarr.open(str(location.path), mode="r")
        sources = _sources(node, location)
    except (VolumeError, MemoryError):
        raise
    except _MALFORMED as error:
        raise VolumeError(
            f"cannot read {shown!r}: its zarr metadata is damaged or of an unknown kind: {error}"
        ) from error
    if sources is None:
        held = _sources(node, Location(location.path, "zarr", "")) or []
        lines = "\n".join(f"  {source.described()}" for source in held)
        raise VolumeError(
            f"cannot read {shown!r}: there is no {location.key!r} in {str(location.path)!r}. "
            f"It holds:\n{lines}"
        )
    explicit = len(sources) == 1 and sources[0].name == ""
    explicit = explicit and (bool(location.key) or isinstance(node, zarr.Array))
    return Found(sources, "zarr", explicit)


def _sources(node: Any, location: Location) -> list[ArraySource] | None:
    """List the arrays at or below a key; None where nothing has that key."""
    if isinstance(node, zarr.Array):
        if location.key:
            return None
        return [_plain_source(node, location.path, "", "")]
    key, root = location.key, location.path
    members: dict[str, Any] = dict(node.members(max_depth=None))
    members[""] = node
    if key not in members:
        return None
    images, levels = _images(members)
    if key in levels:
        image = images[levels[key]]
        if image.path == key.removeprefix(levels[key]).strip("/"):
            return [_image_source(members, root, levels[key], image, "")]
    if isinstance(members[key], zarr.Array):
        return [_plain_source(members[key], root, key, "")]
    sources = []
    for path in sorted(members):
        if key and path != key and not path.startswith(f"{key}/"):
            continue
        name = path.removeprefix(key).strip("/")
        if path in images:
            sources.append(_image_source(members, root, path, images[path], name))
        elif isinstance(members[path], zarr.Array) and path not in levels:
            sources.append(_plain_source(members[path], root, path, name))
    return sources


def _images(members: Mapping[str, Any]) -> tuple[dict[str, Multiscale], dict[str, str]]:
    """Find the OME-Zarr images: their metadata by group, and the group of every level."""
    images, levels = {}, {}
    for path, member in members.items():
        if isinstance(member, zarr.Array):
            continue
        attributes = dict(member.attrs)
        listed = ome_attributes(attributes).get("multiscales")
        if not listed:
            continue
        prefix = f"{path}/" if path else ""
        below = {
            inner.removeprefix(prefix): array.ndim
            for inner, array in members.items()
            if isinstance(array, zarr.Array) and inner.startswith(prefix)
        }
        images[path] = parse_multiscale(attributes, below)
        for image in listed:
            for level in image["datasets"]:
                levels[prefix + str(level["path"]).strip("/")] = path
    return images, levels


def _image_source(
    members: Mapping[str, Any], root: Path, path: str, image: Multiscale, name: str
) -> ArraySource:
    inner = "/".join(part for part in (path, image.path) if part)
    array = members[inner]
    location = f"{root}/{path}".rstrip("/")
    marker, attributes = _of_emds(array), _of_emds(members[path])
    role = marker.get("role")
    return ArraySource(
        location=location,
        name=name,
        values=_values(array, root / inner, marker),
        axes=image.axes,
        chunk_shape=array.shards or array.chunks,
        decoded_bytes=_chunk_bytes(array),
        voxel_size=image.voxel_size,
        offset=image.offset,
        attributes=attributes,
        meant_as="labels" if image.is_labels else role or role_of_path(path),
    )


def _plain_source(array: zarr.Array[Any], root: Path, inner: str, name: str) -> ArraySource:
    location = f"{root}/{inner}".rstrip("/")
    attributes = dict(array.attrs)
    voxel_size, offset = place_from_attributes(attributes, location)
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


def role_of_path(path: str) -> Role | None:
    """Guess what an array holds from where it lies.

    Examples
    --------
    >>> [role_of_path(p) for p in ("volumes/labels/clefts", "volumes/raw", "affinities", "main")]
    ['labels', 'raw', 'affinities', None]
    """
    parts = path.lower().split("/")
    if "labels" in parts:
        return "labels"
    last: dict[str, Role] = {"raw": "raw", "affinities": "affinities"}
    return last.get(parts[-1])
