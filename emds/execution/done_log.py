"""Which blocks are done, on disk: what a run that was killed is resumed from."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
import zlib
from io import FileIO
from pathlib import Path


class DoneLog:
    """A line for each block that is done, in a file for each process that took part.

    A line is written and flushed to disk after all that the block has to write; a process that is
    killed on the way leaves half a line at most, which counts as nothing. Every line has a
    checksum, so a damaged one counts as nothing, too, and its block is done again.

    Parameters
    ----------
    folder : Path
        Shared by all processes; made with the first line.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as folder:
    ...     with DoneLog(Path(folder)) as log:
    ...         log.append(3)
    ...     sorted(DoneLog(Path(folder)).read())
    [3]
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._file: FileIO | None = None
        self._lock = threading.Lock()

    def read(self) -> set[int]:
        """Return the blocks that any process has done."""
        done: set[int] = set()
        for path in sorted(self.folder.glob("done-*.jsonl")):
            for line in path.read_bytes().splitlines():
                try:
                    entry = json.loads(line)
                    if entry["check"] == _checksum(entry["block"]):
                        done.add(entry["block"])
                except (ValueError, KeyError, TypeError):
                    continue
        return done

    def append(self, block: int) -> None:
        """Note that a block is done; returns when that is on disk."""
        line = json.dumps({"block": block, "check": _checksum(block)}) + "\n"
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


def _checksum(block: int) -> int:
    return zlib.crc32(f"block {block}".encode())
