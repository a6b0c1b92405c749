"""Reading zarr: versions 2 and 3, sharded arrays, OME-Zarr groups, and what emds wrote."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from typing_extensions import override

from emds.errors import VolumeError
from emds.io.axes import AxisNames
from emds.io.coordinates import Coordinate
from emds.io.location import Location
from emds.io.meant_values import remarks_on_values
from emds.io.multiscale import image_count, level_paths, parse_multiscale
from emds.io.place import Spacing
from emds.io.source import (
    MALFORMED,
    ArraySource,
    Found,
    LazyArray,
    Role,
    role_of_path,
    stored_by_emds,
)
from emds.io.stated import read_stated, remarks_on_groups
from emds.io.webknossos import stated_by_webknossos
from emds.io.zarr_chunks import chunks_remark
from emds.io.zarr_tree import Member, coordinate_paths, find_members

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


class Unreadable(LazyArray):
    """Stands for an array or group that cannot be opened."""

    @property
    @override
    def shape(self) -> tuple[int, ...]:
        return ()

    @property
    @override
    def dtype(self) -> np.dtype[Any]:
        return np.dtype("V0")

    @override
    def __getitem__(self, index: tuple[slice | int, ...], /) -> NDArray[Any]:
        raise AssertionError("nothing of it can be read")


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
        If the key is not there.
    """
    root, key = location.path, location.key
    members = find_members(root, key)
    if members is None:
        held = _sources(find_members(root, "") or {}, root, "", False)
        lines = "\n".join(f"  {source.described()}" for source in held)
        raise VolumeError(
            f"cannot read {f'{root}/{key}'!r}: there is no {key!r} in {str(root)!r}. It holds:\n"
            f"{lines}"
        )
    sources = _sources(members, root, key, all_levels)
    explicit = len(sources) == 1 and sources[0].name == ""
    return Found(sources, "zarr", explicit and (bool(key) or not members[""].is_group))


def _sources(
    members: Mapping[str, Member], root: Path, key: str, all_levels: bool
) -> list[ArraySource]:
    levels, damaged = _levels(members, key)
    remarks = tuple(
        f"what its group {f'{root}/{path}'.rstrip('/')!r} may state of it is unknown: {why}"
        for path, why in ((path, member.problem) for path, member in members.items())
        if why is not None and _lies_in(key, path)
    )
    sources = []
    for path in sorted(path for path in members if _is_below(path, key)):
        member, level = members[path], levels.get(path)
        if member.is_group or (level and level.index and path != key and not all_levels):
            continue
        if level is None and LEVEL in _of_emds(member.attributes):
            continue  # being made, or left by `emds pyramid` when it was stopped
        shown = level.group if level and level.index == level.image == 0 else path
        found = _source(path, members, level, root / path)
        reasons = [why for group, why in damaged.items() if level is None and _lies_in(path, group)]
        sources.append(
            replace(
                found,
                location=f"{root}/{path if member.array is None else shown}".rstrip("/"),
                name=shown.removeprefix(key).strip("/") if path != key else "",
                values=_values(member.array, root / path, _of_emds(member.attributes)),
                meant_as=found.meant_as or role_of_path(shown),
                unusable=found.unusable or next(iter(reasons), None),
                remarks=remarks + found.remarks,
            )
        )
    return sources


@dataclass(frozen=True)
class _Level:
    """Which level of which image of a group an array is."""

    group: str
    image: int
    index: int


def _levels(members: Mapping[str, Member], key: str) -> tuple[dict[str, _Level], dict[str, str]]:
    """Return what OME metadata make of the arrays, and by group why they cannot be understood."""
    levels: dict[str, _Level] = {}
    damaged: dict[str, str] = {}
    for group, attributes in ((p, m.attributes) for p, m in members.items() if m.is_group):
        try:
            for image in range(image_count(attributes)):
                for index, level in enumerate(level_paths(attributes, image)):
                    path = f"{group}/{level}".strip("/")
                    if index == 0 and path not in members and _is_below(group, key):
                        raise KeyError(f"there is no array {path!r}, which they name")
                    levels.setdefault(path, _Level(group, image, index))
        except MALFORMED as error:
            damaged[group] = _damaged(error)
    return levels, damaged


def _damaged(error: Exception) -> str:
    line = " ".join(str(error).split()) or type(error).__name__
    return f"its OME metadata is damaged or of an unknown kind: {line:.300}"


def _is_below(path: str, key: str) -> bool:
    return not key or path == key or path.startswith(f"{key}/")


def _lies_in(path: str, group: str) -> bool:
    return path != group and _is_below(path, group)


def _source(
    path: str, members: Mapping[str, Member], level: _Level | None, folder: Path
) -> ArraySource:
    """Describe an array, but for where it lies."""
    member = members[path]
    array = member.array
    if array is None:
        return ArraySource("", "", Unreadable(), "", (), 0, unusable=member.problem)
    marker, attributes = _of_emds(member.attributes), member.attributes
    role: Role | None = None
    dimension_names = getattr(array.metadata, "dimension_names", None) or ()
    names = [AxisNames("its dimension_names", dimension_names)] if any(dimension_names) else []
    spacings: tuple[Spacing, ...] = ()
    unusable = "a chunk of it has no voxels" if 0 in array.chunks and 0 not in array.shape else None
    if level is not None:
        group = members[level.group].attributes
        try:
            image = parse_multiscale(group, level.index, array.ndim, level.image)
            names, spacings = [*image.names, *names], image.spacings
            role = "labels" if image.is_labels else marker.get("role")
        except MALFORMED as error:
            unusable = _damaged(error)
    above = stated_by_webknossos(folder, array.ndim)
    names, spacings = [*names, *above.names], (*spacings, *above.spacings)
    coordinates = _coordinates(path, members) if level is None else ()
    stated = read_stated(attributes, array.shape, names, spacings, coordinates)
    remarks = [*above.remarks, *stated.remarks, *remarks_on_values(attributes)]
    if stated.voxel_size is None:
        groups = {group: m.attributes for group, m in members.items() if _lies_in(path, group)}
        remarks += remarks_on_groups(groups) if level is None else []
    if 0 not in array.shape and not marker.get(WRITTEN_WHOLE):
        missing = chunks_remark(array, folder)
        remarks += [missing] if missing else []
    return ArraySource(
        location="",
        name="",
        values=Unreadable(),
        axes=stated.axes,
        chunk_shape=array.shards or array.chunks,
        decoded_bytes=_chunk_bytes(array),
        voxel_size=stated.voxel_size,
        offset=stated.offset,
        attributes=marker if level is None else _of_emds(members[level.group].attributes),
        meant_as=role,
        unusable=unusable or stated.unusable,
        remarks=tuple(remarks),
    )


def _coordinates(path: str, members: Mapping[str, Member]) -> list[Coordinate | None]:
    """Return the arrays beside one that are named after its axes, as xarray writes them."""
    found: list[Coordinate | None] = []
    for beside in coordinate_paths(path, members[path]):
        member = members.get(beside)
        if member is None or member.array is None or beside == path:
            found.append(None)
        else:
            values, unit = _values(member.array, Path(), {}), member.attributes.get("units")
            found.append(Coordinate(beside.rpartition("/")[2], values, unit))
    return found


def _values(array: zarr.Array[Any] | None, folder: Path, marker: Mapping[str, Any]) -> LazyArray:
    if array is None:
        return Unreadable()
    if marker.get(WRITTEN_WHOLE):
        return WholeZarrArray(array, folder)
    values: LazyArray = array  # type: ignore[assignment]
    return values


def _of_emds(attributes: Mapping[str, Any]) -> dict[str, Any]:
    return stored_by_emds(attributes.get("emds"))


def _chunk_bytes(array: zarr.Array[Any]) -> int:
    nbytes = int(np.dtype(array.dtype).itemsize)
    for size in array.chunks:
        nbytes *= size
    return nbytes
