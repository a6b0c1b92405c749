"""Making sure that what was written outlives a crash of the machine."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

_AT_ONCE = 16
_BATCH = 1024


def sync_all(path: Path) -> None:
    """Make sure that a file, or a folder with all in it, outlives a crash of the machine."""
    # Many at a time: the file system then gathers them into few journal commits.
    files = _files_below(path)
    with ThreadPoolExecutor(max_workers=_AT_ONCE) as pool:
        while batch := list(itertools.islice(files, _BATCH)):
            for _ in pool.map(sync, batch):
                pass


def _files_below(path: Path) -> Iterator[Path]:
    if path.is_dir():
        for folder, _, names in os.walk(path):
            yield Path(folder)
            yield from (Path(folder, name) for name in names)
    else:
        yield path


def sync(path: Path) -> None:
    """Make sure that a file, or the list of a folder's files, outlives a crash of the machine."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
