"""What a plan writes down of a task, as JSON that knows its own hash."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emds.errors import DataError
from emds.files import write_text
from emds.networks.archive import HASH, content_hash


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all."""
    write_text(path, json.dumps(content, indent=2, allow_nan=False, default=str) + "\n")


def write_record(path: Path, content: Mapping[str, Any]) -> None:
    """Write a JSON file whole or not at all, with the hash of its content in it."""
    plain = json.loads(json.dumps(content, default=str))
    write_json(path, {**plain, HASH: content_hash(plain)})


def read_record(path: Path) -> dict[str, Any]:
    """Read what `write_record` wrote; one of an older emds has no hash.

    Raises
    ------
    DataError
        If it is damaged or was changed.
    """
    content: dict[str, Any] = {}
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        stored = content.pop(HASH, None)
        sound = stored is None or stored == content_hash(content)
    except (ValueError, AttributeError, TypeError, RecursionError):
        sound = False
    if not sound:
        raise DataError(
            f"{path} is damaged, or was changed: its content does not have the hash that is stored "
            "with it. Remove it, and the same command does that task again."
        )
    return content
