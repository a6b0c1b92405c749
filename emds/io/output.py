"""Outputs that appear whole or not at all: written beside the target, renamed at the end."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import time
from pathlib import Path
from typing import Any, Literal

from emds.errors import MACHINE_ERRORS, OutputExistsError, UsageError
from emds.files import identity_of, refuse_inputs
from emds.io.locks import close, lock, open_folder
from emds.io.ownership import (
    REPLACED,
    WORK_FOLDER,
    first_foreign,
    holds_only_mark,
    holds_work,
    passing_name,
    read_mark,
    remove,
    remove_contents,
    remove_mark,
    remove_marked,
    sweep_passing,
    why_not_replaceable,
    write_mark,
)
from emds.io.sync import sync, sync_all

logger = logging.getLogger("emds")

_PATIENCE_S = 60.0

RUN_FILE = "run.json"

Claim = Literal["new", "resume", "share", "help"]
"""How a process takes hold of an output: see `PendingOutput`."""


class _HeldError(OutputExistsError):
    """Another process has the lock."""


class PendingOutput:
    """The unfinished form of an output, the folder ``<target>.partial``.

    Made at once, so that a second run on the same target is refused before any work. `commit`
    puts its content in the target's place; `abort` removes it; `leave` keeps it for another process
    to go on with. Whatever lay at the target stays until then. The partial output is locked while
    its process lives, and carries a mark that says which output it is of (`emds.io.ownership`).
    What stands at its place without that mark is left alone.

    Parameters
    ----------
    target : Path
        Path of the output.
    overwrite : bool
        An existing target, or the partial output of a run that was killed, may be replaced. A
        folder is replaced only if emds wrote all that is in it; a single file (TIFF, HDF5) whoever
        wrote it.
    folder : bool
        The output is a folder (zarr).
    claim : {"new", "resume", "share", "help"}
        ``new`` makes the partial output. ``resume`` takes over the one of a process that is no
        more. ``share`` makes it or joins others that share it, each writing its own part; as long
        as any of them lives, nobody else gets hold of it. ``help`` writes to what another process
        holds.

    Attributes
    ----------
    content : Path
        What becomes the target: the partial folder itself, or the file in it.

    Raises
    ------
    OutputExistsError
        If the target or (for ``new``) its partial form exists and `overwrite` is false, a process
        that still runs is writing it, or what stands in the place of the partial form is not ours.
    UsageError
        If the target's folder is missing or cannot be written to; if the target is a link, an
        input, or a folder with something in it that emds did not write; if there is nothing to
        resume.
    """

    def __init__(
        self, target: Path, *, overwrite: bool, folder: bool, claim: Claim = "new"
    ) -> None:
        self.target = target
        self.partial = partial_of(target)
        self.content = self.partial if folder else self.partial / target.name
        self._claim = claim
        self._lock: int | None = None
        self._open = False
        if not target.parent.is_dir():
            raise UsageError(
                f"cannot write {str(target)!r}: the folder {str(target.parent)!r} does not exist. "
                "Make it first, or choose another place with --out."
            )
        refuse_inputs(target)
        refuse_inputs(self.partial)
        try:
            if claim != "help":
                self._tidy()
            if claim == "new":
                self._begin(overwrite)
            elif claim == "resume":
                self._resume()
            elif claim == "share":
                self._share()
            self._open = True
        except OSError as error:
            self.abort()
            if error.errno in MACHINE_ERRORS:
                raise
            raise UsageError(f"cannot write {str(target)!r}: {error.strerror}.") from error
        except BaseException:
            self.abort()
            raise

    def _begin(self, overwrite: bool) -> None:
        left = self._take_lock()
        try:
            if left is not None:
                self._put_back_replaced()
            self._check_replaceable(overwrite)
            if left is not None and not (overwrite or holds_only_mark(self.partial)):
                raise OutputExistsError(
                    f"{str(self.partial)!r} exists: an unfinished output of a run that was killed. "
                    "Continue a run with --resume, or pass --overwrite to start anew."
                )
            if left is not None:
                self._discard()
        finally:
            close(left)
        if not self._make():
            raise self._held()

    def _resume(self) -> None:
        self._lock = self._take_lock()
        if self._lock is None:
            there = "it is complete" if self.target.exists() else "there is no unfinished output"
            raise UsageError(
                f"nothing to resume at {str(self.target)!r}: {there}. Leave out --resume."
            )
        self._refuse_unexpected()

    def _share(self) -> None:
        """Join those who write the output, or be the one who sets it up.

        Whoever finds it set up shares the lock; whoever does not keeps all others out until
        `set_up`, or waits for the one who does.
        """
        self._check_replaceable(overwrite=False)
        deadline = time.monotonic() + _PATIENCE_S
        while True:
            try:
                self._lock = self._take_lock(fcntl.LOCK_SH if self.is_set_up else fcntl.LOCK_EX)
                if self._lock is not None or self._make():
                    return
            except _HeldError:
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

    def clear(self) -> None:
        """Throw away what was left by a process that was killed before everything was set up.

        Raises
        ------
        OutputExistsError
            If work was done, so that the record of it must have been lost since.
        """
        if self._claim == "help" or holds_work(self.partial):
            raise OutputExistsError(
                f"{str(self.partial)!r} holds work that was done, and the record of the run, "
                f"{WORK_FOLDER}/{RUN_FILE}, is lost, so it cannot be continued. Put that file back "
                "if you can; pass --overwrite, without --resume or --shard, to discard the work."
            )
        remove_contents(self.partial)

    def set_up(self) -> None:
        """Let others in who share the output, if this process does."""
        if self._lock is not None and self._claim == "share":
            fcntl.flock(self._lock, fcntl.LOCK_SH)

    def _take_lock(self, kind: int = fcntl.LOCK_EX) -> int | None:
        """Lock the partial output that is there and return its handle; None where there is none.

        Raises
        ------
        OutputExistsError
            If the process that writes it still runs, or it is not ours.
        """
        while True:
            handle = open_folder(self.partial)
            if handle is None and not os.path.lexists(self.partial):
                return None
            if handle is None or read_mark(self.partial, self.target) is None:
                close(handle)
                if os.path.lexists(self.partial):
                    raise self._not_ours()
                continue  # it was finished or removed just now
            if not lock(handle, kind):
                os.close(handle)
                raise self._held()
            found = os.fstat(handle)
            if identity_of(self.partial) == (found.st_dev, found.st_ino):
                return handle
            os.close(handle)

    def _held(self) -> _HeldError:
        return _HeldError(
            f"{str(self.partial)!r} exists: another emds is writing it now. Wait until it ends, or "
            "choose another --out."
        )

    def _not_ours(self) -> OutputExistsError:
        return OutputExistsError(
            f"{str(self.partial)!r} is in the way: it has no mark that says that emds made it for "
            f"{str(self.target)!r}, so it is left alone. Move it away, or choose another --out."
        )

    def _make(self) -> bool:
        """Make the partial output, marked and locked; False if something stands there by now."""
        passing = passing_name(self.partial)
        passing.mkdir()
        try:
            self._lock = open_folder(passing)
            assert self._lock is not None
            lock(self._lock, fcntl.LOCK_EX)
            write_mark(passing, self.target, replaces=_inode(self.target))
            if os.path.lexists(self.partial):
                raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
            passing.rename(self.partial)
        except BaseException as error:
            remove(passing)
            self._unlock()
            there = (errno.EEXIST, errno.ENOTEMPTY, errno.ENOTDIR)
            if isinstance(error, OSError) and error.errno in there:
                return False
            raise
        return True

    def _put_back_replaced(self) -> None:
        """Undo a commit that was killed after it had moved the old output away."""
        replaced = self.work_folder / REPLACED
        if os.path.lexists(replaced) and not os.path.lexists(self.target):
            replaced.rename(self.target)

    def _tidy(self) -> None:
        """Remove what processes have left that were killed at the very begin or end of a commit."""
        sweep_passing(self.partial)
        for folder, clean in ((self.target, remove_mark), (self.partial, remove_marked)):
            mark = read_mark(folder, self.target)
            if mark is not None and mark.get("becomes") == _inode(self.target) is not None:
                handle = open_folder(folder)
                if handle is not None and lock(handle, fcntl.LOCK_EX):
                    clean(folder)
                close(handle)

    def _check_replaceable(self, overwrite: bool) -> None:
        if not os.path.lexists(self.target):
            return
        if not overwrite:
            raise OutputExistsError(
                f"{str(self.target)!r} exists. Choose another --out, or pass --overwrite to "
                "replace it."
            )
        refuse_inputs(self.target)
        reason = why_not_replaceable(self.target)
        if reason is not None:
            raise UsageError(
                f"{str(self.target)!r} {reason}; it is never overwritten. Choose another --out, or "
                "move it away yourself."
            )

    def _refuse_unexpected(self) -> None:
        """Refuse to replace what was not at the target when the run was told to replace it."""
        mark: dict[str, Any] = read_mark(self.partial, self.target) or {}
        found = _inode(self.target)
        if found is not None and found != mark.get("replaces"):
            raise OutputExistsError(
                f"{str(self.target)!r} exists, and {str(self.partial)!r} was not begun to replace "
                "it. Move one of them away."
            )

    def commit(self) -> None:
        """Put the finished output in the target's place, on disk to stay.

        What a run needs to go on is removed last, so that a commit that is killed can be resumed.

        Raises
        ------
        OutputExistsError, UsageError
            If something was put at the target meanwhile; the finished output stays at `content`.
        """
        sync_all(self.partial)
        try:
            self._refuse_unexpected()
            self._check_replaceable(overwrite=True)
        except BaseException:
            self.leave()
            raise
        mark = read_mark(self.partial, self.target) or {}
        write_mark(self.partial, self.target, **(mark | {"becomes": _inode(self.content)}))
        is_folder = self.content == self.partial
        if self.target.is_dir() or (is_folder and os.path.lexists(self.target)):
            # It cannot be replaced in one step; a file by a file can.
            self.target.rename(self.work_folder / REPLACED)
        self.content.replace(self.target)
        self._open = False
        sync(self.target.parent)
        if is_folder:
            remove_mark(self.target)
        else:
            remove_marked(self.partial)
            sync(self.target.parent)
        self._unlock()

    def abort(self) -> None:
        """Remove what was written, if it was begun here; does nothing after `commit`."""
        if self._open and self._claim == "new":
            self.discard()
        self.leave()

    def discard(self) -> None:
        """Remove what was written, whoever began it; does nothing after `commit`."""
        if self._open:
            self._put_back_replaced()
            try:
                self._discard()
            except OutputExistsError as error:
                logger.warning("%s", error)
        self.leave()

    def _discard(self) -> None:
        """Remove the partial output, if nothing in it is somebody else's.

        Raises
        ------
        OutputExistsError
            If something is.
        """
        refuse_inputs(self.partial)
        foreign = first_foreign(self.partial, unfinished=True, but_for=self._file)
        if foreign is None and os.path.lexists(self.work_folder / REPLACED):
            foreign = self.work_folder / REPLACED
        if foreign is not None:
            raise OutputExistsError(
                f"{str(self.partial)!r} is not removed, for it holds {str(foreign)!r}, which this "
                "run did not write. Move that away."
            )
        remove_marked(self.partial)

    @property
    def _file(self) -> str | None:
        """Name of the file in the partial folder."""
        return None if self.content == self.partial else self.content.name

    def leave(self) -> None:
        """Keep what was written, so that another process can continue it."""
        self._open = False
        self._unlock()

    def _unlock(self) -> None:
        close(self._lock)
        self._lock = None


def partial_of(target: Path) -> Path:
    """Return where the unfinished form of an output lies."""
    return target.with_name(target.name + ".partial")


def run_file_of(target: Path) -> Path:
    """Return where the record of the run lies that has begun an output."""
    return partial_of(target) / WORK_FOLDER / RUN_FILE


def is_begun(target: Path) -> bool:
    """Say whether a run has begun an output, and its record is there."""
    return read_mark(partial_of(target), target) is not None and run_file_of(target).is_file()


def _inode(path: Path) -> int | None:
    return path.lstat().st_ino if os.path.lexists(path) else None
