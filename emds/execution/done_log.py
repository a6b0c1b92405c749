"""Which blocks are done, on disk: what a run that was killed is resumed from."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import zlib
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import NamedTuple


class Done(NamedTuple):
    """What is noted of a block.

    Attributes
    ----------
    block : int
        Its number.
    read : str
        A hash of what was read of the inputs to make it; empty where nothing was.
    files : str
        A hash of what was known of the files of the inputs then: their sizes and times.
    """

    block: int
    read: str = ""
    files: str = ""

    @property
    def check(self) -> int:
        """A checksum of it all."""
        return zlib.crc32(f"block {self.block} {self.read} {self.files}".encode())


class DoneLog:
    """A line for each block that is done, in a file for each process that took part.

    A line is written and flushed to disk after all that the block has to write; a process that is
    killed on the way leaves half a line at most, which counts as nothing. Every line has a
    checksum, so a damaged one counts as nothing, too, and its block is done again.

    A line also tells what the block was made from: see `Done`.

    Parameters
    ----------
    folder : Path
        Shared by all processes; made with the first line.
    made_from : callable
        Asked for what to note of a block that is done: `Done.read` and `Done.files`.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with DoneLog(Path(folder)) as log:
    ...         log.append(3)
    ...     sorted(DoneLog(Path(folder)).read())
    [3]
    """

    def __init__(
        self, folder: Path, made_from: Callable[[int], tuple[str, str]] = lambda block: ("", "")
    ) -> None:
        self.folder = folder
        self._made_from = made_from
        self._file: FileIO | None = None
        self._lock = threading.Lock()

    def read(self) -> set[int]:
        """Return the blocks that any process has done."""
        return {entry.block for entry in self.entries()}

    def entries(self) -> list[Done]:
        """Return all that any process has noted; a block may be there twice."""
        found: list[Done] = []
        for path in sorted(self.folder.glob("done-*.jsonl")):
            for line in path.read_bytes().splitlines():
                try:
                    told = json.loads(line)
                    check = told.pop("check")
                    entry = Done(**told)
                except (ValueError, KeyError, TypeError, AttributeError):
                    continue
                if check == entry.check:
                    found.append(entry)
        return found

    def append(self, block: int) -> None:
        """Note that a block is done; returns when that is on disk."""
        entry = Done(block, *self._made_from(block))
        line = json.dumps(entry._asdict() | {"check": entry.check}) + "\n"
        with self._lock:
            if self._file is None:
                self.folder.mkdir(parents=True, exist_ok=True)
                name = f"done-{socket.gethostname()}-{os.getpid()}-{time.time_ns()}.jsonl"
                self._file = FileIO(self.folder / name, "x")
            self._file.write(line.encode())
            os.fsync(self._file.fileno())

    def clear(self) -> None:
        """Forget all blocks, of all processes."""
        self.close()
        for path in self.folder.glob("done-*.jsonl"):
            path.unlink()

    def close(self) -> None:
        """Close this process's file."""
        if self._file is not None:
            self._file.close()
            self._file = None

    def __enter__(self) -> DoneLog:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
