"""Outputs that appear whole or not at all: written beside the target, renamed at the end."""

from __future__ import annotations

import errno
import fcntl
import itertools
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

from emds.errors import OutputExistsError, UsageError
from emds.io.mark import is_written_by_emds

_SYNC_AT_ONCE = 16
_SYNC_BATCH = 1024
_PATIENCE_S = 60.0

WORK_FOLDER = ".emds"
RUN_FILE = "run.json"

Claim = Literal["new", "resume", "share", "help"]
"""How a process takes hold of an output: see `PendingOutput`."""


class PendingOutput:
    """The unfinished form of an output, ``<target>.partial``.

    Made at once, so that a second run on the same target is refused before any work. `commit`
    puts it in the target's place; `abort` removes it; `leave` keeps it for another process to go
    on with. Whatever lay at the target stays until then. The partial output is locked while its
    process lives.

    Parameters
    ----------
    target : Path
        Where the output shall be.
    overwrite : bool
        An existing target, or the partial output of a run that was killed, may be replaced. A
        folder is replaced only if emds wrote it; a single file (TIFF, HDF5) whoever wrote it.
    folder : bool
        The output is a folder (zarr).
    claim : {"new", "resume", "share", "help"}
        ``new`` makes the partial output. ``resume`` takes over the one of a process that is no
        more. ``share`` makes it or joins others that share it, each writing its own part; as long
        as any of them lives, nobody else gets hold of it. ``help`` writes to what another process
        holds.

    Raises
    ------
    OutputExistsError
        If the target or (for ``new``) its partial form exists and `overwrite` is false, or a
        process that still runs is writing it.
    UsageError
        If the target's folder is missing or cannot be written to, or the target is a folder
        that emds did not write; if there is nothing to resume.
    """

    def __init__(
        self, target: Path, *, overwrite: bool, folder: bool, claim: Claim = "new"
    ) -> None:
        self.target = target
        self.partial = partial_of(target)
        self._claim = claim
        self._lock: int | None = None
        self._open = False
        if not target.parent.is_dir():
            raise UsageError(
                f"cannot write {str(target)!r}: the folder {str(target.parent)!r} does not exist. "
                "Make it first, or choose another place with --out."
            )
        try:
            if claim == "new":
                left = self._take_lock()
                try:
                    self._put_back_replaced()
                    self._check_replaceable(overwrite)
                    self._make(overwrite, folder)
                finally:
                    _close(left)
            elif claim == "resume":
                self._resume()
            elif claim == "share":
                self._share()
            self._open = True
        except OSError as error:
            self.abort()
            raise UsageError(f"cannot write {str(target)!r}: {error.strerror}.") from error
        except BaseException:
            self.abort()
            raise

    def _resume(self) -> None:
        self._lock = self._take_lock()
        if self._lock is None:
            remove(self.target / WORK_FOLDER)  # left by a commit that was killed at its end
            there = "it is complete" if self.target.exists() else "there is no unfinished output"
            raise UsageError(
                f"nothing to resume at {str(self.target)!r}: {there}. Leave out --resume."
            )

    def _share(self) -> None:
        """Join those who write the output, or be the one who sets it up.

        Whoever finds it set up shares the lock; whoever does not keeps all others out until
        `set_up`, or waits for the one who does.
        """
        self._check_replaceable(overwrite=False)
        self.partial.mkdir(exist_ok=True)
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                self._lock = self._take_lock(fcntl.LOCK_SH if self.is_set_up else fcntl.LOCK_EX)
                return
            except OutputExistsError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)

    @property
    def work_folder(self) -> Path:
        """Where a run keeps what is no part of the output; gone after `commit`."""
        return self.partial / WORK_FOLDER

    @property
    def is_set_up(self) -> bool:
        """Whether all arrays have been made, as the record of the run says."""
        return (self.work_folder / RUN_FILE).is_file()

    def set_up(self) -> None:
        """Let others in who share the output, if this process does."""
        if self._lock is not None and self._claim == "share":
            fcntl.flock(self._lock, fcntl.LOCK_SH)

    def _take_lock(self, kind: int = fcntl.LOCK_EX) -> int | None:
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
            fcntl.flock(handle, kind | fcntl.LOCK_NB)
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

    def _make(self, overwrite: bool, folder: bool) -> None:
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
                "Continue a run with --resume, or pass --overwrite to start anew."
            ) from None
        self._lock = self._take_lock()

    def commit(self) -> None:
        """Put the finished output in the target's place, on disk to stay.

        What a run needs to go on is removed last, so that a commit that is killed can be resumed.
        """
        sync_all(self.partial)
        if self.target.is_dir():
            # A folder that is not empty cannot be replaced in one step.
            self.target.rename(self.target.with_name(f"{self.target.name}.replaced.{os.getpid()}"))
        elif self.partial.is_dir():
            remove(self.target)
        self.partial.replace(self.target)
        sync(self.target.parent)
        if self.target.is_dir():
            remove(self.target / WORK_FOLDER)
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

    def leave(self) -> None:
        """Keep what was written, for another process to go on with."""
        self._open = False
        self._unlock()

    def _unlock(self) -> None:
        _close(self._lock)
        self._lock = None


def partial_of(target: Path) -> Path:
    """Return where the unfinished form of an output lies."""
    return target.with_name(target.name + ".partial")


def run_file_of(target: Path) -> Path:
    """Return where the record of the run lies that has begun an output."""
    return partial_of(target) / WORK_FOLDER / RUN_FILE


def _close(handle: int | None) -> None:
    if handle is not None:
        os.close(handle)


def remove(path: Path) -> None:
    """Remove a file or a whole folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync_all(path: Path) -> None:
    """Make sure that a file, or a folder with all in it, outlives a crash of the machine."""
    # Many at a time: the file system then gathers them into few journal commits.
    files = _files_below(path)
    with ThreadPoolExecutor(max_workers=_SYNC_AT_ONCE) as pool:
        while batch := list(itertools.islice(files, _SYNC_BATCH)):
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
