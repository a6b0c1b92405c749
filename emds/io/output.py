"""Outputs that appear whole or not at all: written beside the target, renamed at the end."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from emds.errors import OutputExistsError, UsageError
from emds.io.mark import is_written_by_emds

_SYNC_AT_ONCE = 16
_SYNC_BATCH = 1024


class PendingOutput:
    """The unfinished form of an output, ``<target>.partial``.

    Made at once, so that a second run on the same target is refused before any work. `commit`
    puts it in the target's place; `abort` removes it. Whatever lay at the target stays until
    then. The partial output is locked while its process lives.

    Parameters
    ----------
    target : Path
        Where the output shall be.
    overwrite : bool
        An existing target, or the partial output of a run that was killed, may be replaced. A
        folder is replaced only if emds wrote it; a single file (TIFF, HDF5) whoever wrote it.
    folder : bool
        The output is a folder (zarr).

    Raises
    ------
    OutputExistsError
        If the target or its partial form exists and `overwrite` is false, or a process that
        still runs is writing it.
    UsageError
        If the target's folder is missing or cannot be written to, or the target is a folder
        that emds did not write.
    """

    def __init__(self, target: Path, *, overwrite: bool, folder: bool) -> None:
        self.target = target
        self.partial = target.with_name(target.name + ".partial")
        self._lock: int | None = None
        self._open = False
        if not target.parent.is_dir():
            raise UsageError(
                f"cannot write {str(target)!r}: the folder {str(target.parent)!r} does not exist. "
                "Make it first, or choose another place with --out."
            )
        try:
            left = self._take_lock()
            try:
                self._put_back_replaced()
                self._check_replaceable(overwrite)
                self._claim(overwrite, folder)
            finally:
                _close(left)
        except OSError as error:
            self.abort()
            raise UsageError(f"cannot write {str(target)!r}: {error.strerror}.") from error
        except BaseException:
            self.abort()
            raise

    def _take_lock(self) -> int | None:
        """Lock the partial output that is there and return its handle; None where there is none.

        Raises
        ------
        OutputExistsError
            If the process that writes it still runs.
        """
        try:
            handle = os.open(self.partial, os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                return handle  # a file system without locks
            os.close(handle)
            raise OutputExistsError(
                f"{str(self.partial)!r} exists: another emds is writing it now. Wait until it "
                "ends, or choose another --out."
            ) from None
        return handle

    def _put_back_replaced(self) -> None:
        """Undo a commit that was killed after it had moved the old output away."""
        replaced = self._replaced()
        if replaced and not os.path.lexists(self.target):
            replaced[-1].rename(self.target)

    def _replaced(self) -> list[Path]:
        """List what commits moved away and did not live to remove, the newest last."""
        start = f"{self.target.name}.replaced."
        found = [
            path
            for path in self.target.parent.iterdir()
            if path.name.startswith(start) and path.name.removeprefix(start).isdigit()
        ]
        return sorted(found, key=lambda path: path.lstat().st_ctime_ns)

    def _check_replaceable(self, overwrite: bool) -> None:
        if not self.target.exists():
            return
        if not overwrite:
            raise OutputExistsError(
                f"{str(self.target)!r} exists. Choose another --out, or pass --overwrite to "
                "replace it."
            )
        if self.target.is_dir() and not is_written_by_emds(self.target):
            raise UsageError(
                f"{str(self.target)!r} is a folder that emds did not write; it is never "
                "overwritten. Choose another --out, or move it away yourself."
            )

    def _claim(self, overwrite: bool, folder: bool) -> None:
        if overwrite:
            remove(self.partial)
        try:
            if folder:
                self.partial.mkdir()
            else:
                self.partial.touch(exist_ok=False)
        except FileExistsError:
            raise OutputExistsError(
                f"{str(self.partial)!r} exists: an unfinished output of a run that was killed. "
                "Pass --overwrite to replace it."
            ) from None
        self._lock = self._take_lock()
        self._open = True

    def commit(self) -> None:
        """Put the finished output in the target's place, on disk to stay."""
        _sync_all(self.partial)
        if self.target.is_dir():
            # A folder that is not empty cannot be replaced in one step.
            self.target.rename(self.target.with_name(f"{self.target.name}.replaced.{os.getpid()}"))
        elif self.partial.is_dir():
            remove(self.target)
        self.partial.replace(self.target)
        _sync(self.target.parent)
        for replaced in self._replaced():
            remove(replaced)
        self._open = False
        self._unlock()

    def abort(self) -> None:
        """Remove what was written; does nothing after `commit`."""
        if self._open:
            remove(self.partial)
            self._open = False
        self._unlock()

    def _unlock(self) -> None:
        _close(self._lock)
        self._lock = None


def _close(handle: int | None) -> None:
    if handle is not None:
        os.close(handle)


def remove(path: Path) -> None:
    """Remove a file or a whole folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync_all(path: Path) -> None:
    # Many at a time: the file system then gathers them into few journal commits.
    files = _files_below(path)
    with ThreadPoolExecutor(max_workers=_SYNC_AT_ONCE) as pool:
        while batch := list(itertools.islice(files, _SYNC_BATCH)):
            for _ in pool.map(_sync, batch):
                pass


def _files_below(path: Path) -> Iterator[Path]:
    if path.is_dir():
        for folder, _, names in os.walk(path):
            yield Path(folder)
            yield from (Path(folder, name) for name in names)
    else:
        yield path


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
