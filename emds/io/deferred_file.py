"""A file to hand to libraries that do not survive a disk that is full."""

from __future__ import annotations

import io
import os
from pathlib import Path

from typing_extensions import Buffer, override


class DeferredFile(io.RawIOBase):
    """A new file whose errors are raised by `check`, not by `write`.

    HDF5 ends the process with a segmentation fault, and tifffile fails with an assertion, when a
    write fails under them. Here every write succeeds for them: what did not get to disk is kept in
    memory, so that they can read it back, until somebody looks, which should be soon.

    Parameters
    ----------
    path : Path
        What is there is replaced.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o666)
        self._error: OSError | None = None
        self._unwritten: list[tuple[int, bytes]] = []
        self._at = self._size = 0

    def check(self) -> None:
        """Raise the error that a write has met, if any has."""
        if self._error is not None:
            code = self._error.errno or 0
            raise OSError(code, os.strerror(code), str(self._path)) from self._error

    @override
    def write(self, data: Buffer, /) -> int:
        content = memoryview(data).cast("B")
        done = 0
        try:
            while done < len(content) and self._error is None:
                done += os.pwrite(self._handle, content[done:], self._at + done)
        except OSError as error:
            self._error = error
        if done < len(content):
            self._unwritten.append((self._at + done, bytes(content[done:])))
        self._at += len(content)
        self._size = max(self._size, self._at)
        return len(content)

    @override
    def readinto(self, buffer: Buffer, /) -> int:
        room = memoryview(buffer).cast("B")
        begin, end = self._at, max(self._at, min(self._at + len(room), self._size))
        found = bytearray(os.pread(self._handle, end - begin, begin).ljust(end - begin, b"\0"))
        for start, content in self._unwritten:
            low, high = max(begin, start), min(end, start + len(content))
            if low < high:
                found[low - begin : high - begin] = content[low - start : high - start]
        room[: len(found)] = found
        self._at = end
        return len(found)

    @override
    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: self._size}[whence]
        return self._at

    @override
    def tell(self) -> int:
        return self._at

    @override
    def truncate(self, size: int | None = None, /) -> int:
        self._size = self._at if size is None else size
        try:
            os.ftruncate(self._handle, self._size)
        except OSError as error:
            self._error = self._error or error
        return self._size

    @override
    def readable(self) -> bool:
        return True

    @override
    def writable(self) -> bool:
        return True

    @override
    def seekable(self) -> bool:
        return True

    @override
    def close(self) -> None:
        if not self.closed:
            os.close(self._handle)
        super().close()
