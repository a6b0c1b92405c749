"""The arrays and groups of a zarr folder, each opened by itself.

What a group says of its members (consolidated metadata) may be older than they are, so nobody
asks it; and a member that cannot be opened leaves the others as they are.
"""

from __future__ import annotations

import json
import os
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numcodecs  # type: ignore[import-untyped]
import zarr
import zarr.errors

from emds.errors import VolumeError
from emds.io.location import ZARR_METADATA
from emds.io.source import MALFORMED, refuse_os_error
from emds.io.zarr_store import GuardedStore

# Of an array that may lie beside another.
_NAME = re.compile(r"\w[\w. -]*")
NOT_INSTALLED = "which is not installed"
# Files of more bytes than this are no metadata.
_LARGEST_METADATA = 2**28


@dataclass(frozen=True)
class Member:
    """An array or a group.

    Attributes
    ----------
    node : zarr.Array, zarr.Group or None
        None where it cannot be opened.
    attributes : dict
        Attributes of the node.
    problem : str or None
        Why it cannot be opened, as a clause.
    """

    node: zarr.Array[Any] | zarr.Group | None
    attributes: dict[str, Any] = field(default_factory=dict)
    problem: str | None = None

    @property
    def array(self) -> zarr.Array[Any] | None:
        """The node, where it is an array."""
        return self.node if isinstance(self.node, zarr.Array) else None

    @property
    def is_group(self) -> bool:
        """Whether the node is a group."""
        return isinstance(self.node, zarr.Group)


def find_members(root: Path, key: str) -> dict[str, Member] | None:
    """Open the nodes on the way to a key and all below it.

    Parameters
    ----------
    root : Path
        A zarr folder.
    key : str
        Path of a node in it, or empty for the root.

    Returns
    -------
    dict or None
        By path, with what `coordinate_paths` says of an array that is the key; None if the key
        is not there.
    """
    store = GuardedStore(root, read_only=True)
    parts = key.split("/") if key else []
    if {"", ".", ".."} & set(parts):
        return None
    paths = ["/".join(parts[:depth]) for depth in range(len(parts) + 1)]
    members: dict[str, Member] = {}
    for path in paths:
        if any(member.array is not None for member in members.values()):
            return None  # nothing lies below an array
        if not _has_metadata(root / path):
            return None
        members[path] = _open(store, root / path, path)
    for path in coordinate_paths(key, members[key]):
        if path not in members and _has_metadata(root / path):
            members[path] = _open(store, root / path, path)
    waiting: list[tuple[str, tuple[str, ...]]] = []
    if members[key].is_group:
        waiting.append((key, (os.path.realpath(root / key),)))
    while waiting:
        group, above = waiting.pop()
        for path, folder in _folders_in(root, group):
            real = os.path.realpath(folder)
            if real in above:
                continue  # a link back to a group that it lies in
            members[path] = _open(store, folder, path)
            if members[path].is_group:
                waiting.append((path, (*above, real)))
    return members


def coordinate_paths(path: str, member: Member) -> list[str]:
    """Return where the coordinates of an array would lie: beside it, named after its axes."""
    if member.array is None or not path:
        return []
    names = getattr(member.array.metadata, "dimension_names", None)
    names = names or member.attributes.get("_ARRAY_DIMENSIONS")
    if not isinstance(names, list | tuple) or len(names) != member.array.ndim:
        return []
    group = path.rpartition("/")[0]
    plain = [name if isinstance(name, str) and _NAME.fullmatch(name) else "?" for name in names]
    return [f"{group}/{name}".strip("/") for name in plain]


def _folders_in(root: Path, group: str) -> Iterator[tuple[str, Path]]:
    try:
        names = sorted(entry.name for entry in os.scandir(root / group) if entry.is_dir())
    except OSError as error:
        refuse_os_error(error, root / group)
        return
    for name in names:
        path = f"{group}/{name}".strip("/")
        if _has_metadata(root / path):
            yield path, root / path


def _has_metadata(folder: Path) -> bool:
    """Say whether there is any of the files, whatever kind of file it is."""
    return any(os.path.lexists(folder / name) for name in ZARR_METADATA)


def _open(store: GuardedStore, folder: Path, path: str) -> Member:
    try:
        with warnings.catch_warnings():
            # Of specifications that are not final, and of both versions side by side.
            warnings.simplefilter("ignore")
            node = _node(store, folder, path)
            return Member(node, dict(node.attrs))
    except (zarr.errors.UnknownCodecError, numcodecs.errors.UnknownCodecError) as error:
        named = re.search(r"'+([^']+)'+", str(error))
        return Member(
            None,
            problem=f"its chunks are packed with the codec {named[1] if named else error!r}, "
            f"{NOT_INSTALLED}. Install the package that brings it, or write the array again, "
            "e.g. with zstd",
        )
    except (VolumeError, *MALFORMED) as error:
        return Member(None, problem=_why(error, folder))


def _why(error: Exception, folder: Path) -> str:
    try:
        refuse_os_error(error, folder)
    except VolumeError as of_system:
        error = of_system
    line = " ".join(str(error).split()) or type(error).__name__
    if isinstance(error, VolumeError):
        return line.removeprefix("cannot read ").removesuffix(".")
    return f"its zarr metadata is damaged or of an unknown kind: {line:.300}"


def _node(store: GuardedStore, folder: Path, path: str) -> zarr.Array[Any] | zarr.Group:
    sizes = [(folder / name).stat().st_size for name in _files(folder)]
    if max(sizes, default=0) > _LARGEST_METADATA:
        raise ValueError(f"a metadata file of {max(sizes)} bytes")
    if os.path.lexists(folder / "zarr.json"):
        content = store.get_sync(f"{path}/zarr.json".strip("/"))
        described = None if content is None else json.loads(content.to_bytes())
        if not isinstance(described, dict):
            raise ValueError("zarr.json holds no mapping")
        if described.get("node_type") == "array":
            return zarr.open_array(store=store, path=path, mode="r", zarr_format=3)
        return zarr.open_group(
            store=store, path=path, mode="r", zarr_format=3, use_consolidated=False
        )
    if os.path.lexists(folder / ".zarray"):
        return zarr.open_array(store=store, path=path, mode="r", zarr_format=2)
    return zarr.open_group(store=store, path=path, mode="r", zarr_format=2, use_consolidated=False)


def _files(folder: Path) -> list[str]:
    return [name for name in (*ZARR_METADATA, ".zattrs") if (folder / name).is_file()]
