"""How a zarr folder shows that emds wrote it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from emds.io.location import ZARR_METADATA


def is_written_by_emds(folder: Path) -> bool:
    """Say whether a zarr folder is an output of emds.

    It is if its root has the attribute ``emds``, or every array in it has: a container that holds
    but one image of emds among others is somebody else's.

    Parameters
    ----------
    folder : Path
        Any folder.
    """
    if not _is_zarr(folder):
        return False
    if "emds" in attributes_of(folder):
        return True
    arrays = list(_arrays(folder))
    return bool(arrays) and all("emds" in attributes_of(array) for array in arrays)


def _is_zarr(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ZARR_METADATA)


def _arrays(folder: Path) -> Iterator[Path]:
    if is_zarr_array(folder):
        yield folder
        return
    for child in folder.iterdir():
        if child.is_dir() and _is_zarr(child):
            yield from _arrays(child)


def is_zarr_array(folder: Path) -> bool:
    """Say whether a folder holds a zarr array of either version."""
    is_array = (folder / ".zarray").is_file()
    return is_array or _content(folder / "zarr.json").get("node_type") == "array"


def attributes_of(folder: Path) -> Mapping[str, Any]:
    """Return the attributes of a zarr node of either version; empty where there are none."""
    inside = _content(folder / "zarr.json").get("attributes")
    return {**_content(folder / ".zattrs"), **(inside if isinstance(inside, dict) else {})}


def _content(file: Path) -> dict[str, Any]:
    if not file.is_file():  # a pipe would be read for ever
        return {}
    try:
        content = json.loads(file.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}
