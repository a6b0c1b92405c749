"""The metadata of a container: kept aside while it is written, sealed when it is whole.

Chunks have checksums; what zarr keeps in JSON has none, and a wrong bit there makes another volume
of the same chunks. So a run keeps a copy, by which damage is mended when the run goes on. In the
finished output every group and array carries a hash of its own metadata in the attribute
``emds_seal``, and the root lists all that must have one. It covers what emds wrote: what viewers
add beside it (other attributes, ``omero``, colours of labels) breaks no seal.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from emds.errors import OutputExistsError
from emds.io.location import ZARR_METADATA
from emds.io.multiscale import level_paths

logger = logging.getLogger("emds")

SEAL = "emds_seal"
KEPT = "metadata.json"

_OURS = ("emds", "ome", "multiscales", "labels", "image-label", SEAL)
_OF_VIEWERS = ("omero", "colors", "properties")
_FILES = (*ZARR_METADATA, ".zattrs")


def keep_metadata(root: Path, folder: Path) -> None:
    """Keep a copy of all metadata of a container that is set up.

    Parameters
    ----------
    root : Path
        The container.
    folder : Path
        Where to: the work folder.
    """
    files = {
        path.relative_to(root).as_posix(): path.read_text(encoding="utf-8")
        for node in _nodes(root)
        for path in (node / name for name in _FILES)
        if path.is_file()
    }
    folder.mkdir(parents=True, exist_ok=True)
    _write(folder / KEPT, {"files": files, "sha256": _hash(files)})


def mend_metadata(root: Path, folder: Path, *, absent: bool) -> None:
    """Write what `keep_metadata` kept over metadata that are not like it, and warn of it.

    Parameters
    ----------
    root, folder : Path
        As for `keep_metadata`.
    absent : bool
        Whether to make again the metadata of what is not there at all.

    Raises
    ------
    OutputExistsError
        If what was kept is damaged itself.
    """
    try:
        kept = json.loads((folder / KEPT).read_bytes())
        files: dict[str, str] = kept["files"]
        if kept["sha256"] != _hash(files):
            raise ValueError
    except (OSError, ValueError, KeyError, TypeError):
        raise OutputExistsError(
            f"{folder / KEPT} is lost or damaged, so the run it belongs to cannot be continued. "
            "Start anew with --overwrite."
        ) from None
    for name, text in files.items():
        path = root / name
        is_there = path.parent.is_dir()
        if _unsealed(_content(path)) == json.loads(text) or not (absent or is_there):
            continue
        if is_there:  # else a commit may have removed it that was killed after that
            logger.warning("%s was lost or damaged and is mended from a copy", path)
        path.parent.mkdir(parents=True, exist_ok=True)
        _write(path, json.loads(text))


def seal(root: Path) -> None:
    """Seal all that a container holds; the last thing that is written of it."""
    nodes = list(_nodes(root))
    for node in nodes:
        names = sorted(n.relative_to(root).as_posix() for n in nodes)
        seal_node(node, {"nodes": names} if node == root else {})


def seal_node(folder: Path, more: Mapping[str, Any] | None = None) -> None:
    """Seal one group or array; `more` stands beside the hash."""
    document = _document(folder)
    attributes = document["attributes"] | {SEAL: dict(more or {})}
    attributes[SEAL]["sha256"] = _digest(document | {"attributes": attributes})
    if (folder / "zarr.json").is_file():
        _write(folder / "zarr.json", document | {"attributes": attributes})
    else:
        _write(folder / ".zattrs", attributes)


def resealed(folder: Path, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return changes of a group's attributes together with the seal they ask for.

    A group without a seal gets none, and one whose seal is broken keeps it.
    """
    document = _document(folder)
    attributes = document["attributes"]
    if not is_sealed(folder) or _digest(document) != _seal_of(document).get("sha256"):
        return dict(changes)
    changed = document | {"attributes": attributes | changes}
    return {**changes, SEAL: attributes[SEAL] | {"sha256": _digest(changed)}}


def is_sealed(folder: Path) -> bool:
    """Say whether a group or array has a seal."""
    return bool(_seal_of(_document(folder)))


def broken_seals(root: Path) -> list[str]:
    """Say what of a container's metadata is not as emds wrote it; nothing where none is sealed.

    Returns
    -------
    list of str
        A sentence each.
    """
    documents = {node.relative_to(root).as_posix(): _document(node) for node in _nodes(root)}
    sealed = {name for name, document in documents.items() if _seal_of(document)}
    if not sealed:
        return []
    listed = _seal_of(documents.get(".", {})).get("nodes")
    if not isinstance(listed, list):
        return [f"the metadata of {root} are not as emds wrote them: their seal is lost"]
    needed = sealed | {str(name) for name in listed}
    for name in sorted(needed):
        needed |= {
            f"{name}/{level}".removeprefix("./") for level in _levels(documents.get(name, {}))
        }
    complaints = []
    for name in sorted(needed):
        document = documents.get(name)
        if document is None:
            complaints.append(f"{root / name} is not there, or its metadata cannot be read")
        elif _seal_of(document).get("sha256") != _digest(document):
            complaints.append(f"the metadata of {root / name} are not as emds wrote them")
    return complaints


def _nodes(folder: Path) -> Iterator[Path]:
    """Yield the groups and arrays of a container, itself first; nothing lies within an array."""
    if not any((folder / name).is_file() for name in _FILES):
        return
    yield folder
    is_array = _content(folder / "zarr.json").get("node_type") == "array"
    if not is_array and not (folder / ".zarray").is_file():
        for child in sorted(folder.iterdir()):
            if child.is_dir() and not child.name.startswith("."):
                yield from _nodes(child)


def _document(folder: Path) -> dict[str, Any]:
    """Return all metadata of a node, of either version of zarr."""
    document = _content(folder / "zarr.json")
    if not document:
        document = {n: _content(folder / n) for n in (".zarray", ".zgroup")}
        document["attributes"] = _content(folder / ".zattrs")
    attributes = document.get("attributes")
    return document | {"attributes": attributes if isinstance(attributes, dict) else {}}


def _seal_of(document: Mapping[str, Any]) -> dict[str, Any]:
    found = document.get("attributes", {}).get(SEAL)
    return found if isinstance(found, dict) else {}


def _levels(document: Mapping[str, Any]) -> list[str]:
    try:
        return level_paths(document.get("attributes", {}))
    except (LookupError, TypeError, ValueError, AttributeError):
        return []


def _digest(document: Mapping[str, Any]) -> str:
    """Return the hash of what emds wrote of a node, but for the hash itself."""
    attributes = document["attributes"]
    ours = {name: _without_viewers(attributes[name]) for name in _OURS if name in attributes}
    if isinstance(ours.get(SEAL), dict):
        ours[SEAL] = {name: value for name, value in ours[SEAL].items() if name != "sha256"}
    others = {k: v for k, v in document.items() if k != "consolidated_metadata"}
    return _hash(others | {"attributes": ours})


def _without_viewers(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    return {k: _without_viewers(v) for k, v in value.items() if k not in _OF_VIEWERS}


def _hash(content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _unsealed(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return metadata, of a node or of its attributes alone, without a seal."""
    without = {name: value for name, value in document.items() if name != SEAL}
    attributes = without.get("attributes")
    if isinstance(attributes, dict):
        without["attributes"] = {n: v for n, v in attributes.items() if n != SEAL}
    return without


def _content(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


def _write(path: Path, content: Mapping[str, Any]) -> None:
    """Write JSON whole or not at all, on disk to stay."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.partial")
    with temporary.open("w", encoding="utf-8") as file:
        json.dump(content, file, indent=2)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)
