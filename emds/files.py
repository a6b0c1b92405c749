"""Files that are there whole or not at all, and that never take the place of what is read.

Readers register their inputs here (`hold_input`, `note_input`), and writers check against them
(`refuse_inputs`). Volumes and checkpoints are registered when they are opened. Everything that emds
writes goes through `write_whole` or `emds.io.output`, which check. So no command has to.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from emds.errors import UsageError

Identity = tuple[int, int]
"""Device and inode: what a file or folder is, whatever it is called."""


@dataclass(frozen=True, slots=True)
class _Input:
    """What is being read.

    Attributes
    ----------
    location : str
        How the user named it.
    itself : Identity
        The file or folder.
    content : frozenset of Identity
        It, and what lies in it and may be a link to elsewhere.
    around : frozenset of Identity
        The folders that hold it.
    """

    location: str
    itself: Identity
    content: frozenset[Identity]
    around: frozenset[Identity]


_held: dict[int, _Input] = {}
_of_command: list[Callable[[], None]] | None = None


def hold_input(path: Path) -> Callable[[], None]:
    """Say that a file or folder is being read, until the returned callable is called."""
    known = identity_of(path)
    if known is None:
        return lambda: None
    folders = {*Path(os.path.abspath(path)).parents, *path.resolve().parents}
    around = frozenset(filter(None, map(identity_of, folders)))
    found = _Input(str(path), known, frozenset({known, *_identities_in(path)}), around)
    key = id(found)
    _held[key] = found

    def release() -> None:
        _held.pop(key, None)

    return release


@contextmanager
def reading(*paths: Path) -> Iterator[None]:
    """Hold inputs for the length of a ``with`` block."""
    releases = [hold_input(path) for path in paths]
    try:
        yield
    finally:
        for release in releases:
            release()


@contextmanager
def one_command() -> Iterator[None]:
    """Hold what `note_input` names until the command that this block carries out has ended."""
    global _of_command
    before, _of_command = _of_command, []
    try:
        yield
    finally:
        for release in _of_command:
            release()
        _of_command = before


def note_input(path: Path) -> None:
    """Say that the running command, if there is one, has read a file."""
    if _of_command is not None:
        _of_command.append(hold_input(path))


def refuse_inputs(target: Path) -> None:
    """Refuse a place to write that is, holds, or lies in what is being read.

    Files are known by device and inode, so that links, ``..`` and upper case hide nothing.

    Raises
    ------
    UsageError
        If an input would be replaced or changed, even with ``--overwrite``.
    """
    known = identity_of(target)
    folders = {*Path(os.path.abspath(target)).parents, *target.resolve().parents}
    around = set(filter(None, map(identity_of, folders)))
    for one in _held.values():
        if known in one.content:
            relation = "is where the input {} lies"
        elif known in one.around:
            relation = "holds the input {}"
        elif one.itself in around:
            relation = "lies in the input {}"
        else:
            continue
        raise UsageError(
            f"{target} {relation.format(one.location)}; an input is never replaced by what is made "
            "from it. Choose another --out."
        )


def identity_of(path: Path) -> Identity | None:
    """Return device and inode of what a path leads to; None if it leads nowhere."""
    try:
        found = path.stat()
    except (OSError, ValueError):
        return None
    return found.st_dev, found.st_ino


def _identities_in(path: Path) -> Iterator[Identity]:
    """Yield the files right in a folder: slices may be links to files elsewhere."""
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                found = identity_of(Path(entry.path))
                if found is not None:
                    yield found
    except OSError:  # not a folder
        return


@contextmanager
def write_whole(path: Path) -> Iterator[IO[bytes]]:
    """Open a file to write; it gets its name, on disk to stay, when the ``with`` block ends well.

    Until then it is a hidden file beside it, ``.NAME.emds``, locked while its process lives. What
    a process that was killed has left of it is used by the next that writes the same file.

    Parameters
    ----------
    path : Path
        What is there, a file, is replaced. Missing folders are made.

    Raises
    ------
    UsageError
        If `path` is an input, a link, a folder or a device.
    """
    refuse_inputs(path)
    _refuse_special(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary, handle = _open_temporary(path)
    with naming(path), os.fdopen(handle, "r+b") as file:
        try:
            file.truncate()
            yield file
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)  # while it is locked
            raise


def write_text(path: Path, text: str) -> None:
    """Write a text file whole or not at all."""
    with write_whole(path) as file:
        file.write(text.encode())


def _refuse_special(path: Path) -> None:
    """Refuse to put a file in the place of a link, a folder or a device."""
    try:
        mode = path.lstat().st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        raise UsageError(f"cannot write {str(path)!r}: {_kind(path)}. Choose another --out.")


def _kind(path: Path) -> str:
    if path.is_symlink():
        return f"it is a link to {str(path.readlink())!r}, and emds writes through none"
    return "it is a folder" if path.is_dir() else "it is no plain file"


def _open_temporary(path: Path) -> tuple[Path, int]:
    """Return the hidden file beside `path`, locked."""
    temporary = path.with_name(f".{path.name}.emds")
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        handle = os.open(temporary, flags, 0o666)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError:  # a file system without locks: nobody else may use this name
            os.close(handle)
            temporary.unlink(missing_ok=True)
            temporary = temporary.with_name(f".{path.name}.{os.getpid()}.emds")
            return temporary, os.open(temporary, flags | os.O_TRUNC, 0o666)
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode) or found.st_nlink > 1:
            os.close(handle)
            raise UsageError(
                f"cannot write {str(path)!r}: {str(temporary)!r} is in the way, which emds did not "
                "make. Move it away."
            )
        if identity_of(temporary) == (found.st_dev, found.st_ino):
            return temporary, handle
        os.close(handle)  # another process has just finished with it


@contextmanager
def naming(path: str | Path) -> Iterator[None]:
    """Add the file's name to an error of the machine that has none."""
    try:
        yield
    except OSError as error:
        if error.filename is None and error.errno is not None:
            raise OSError(error.errno, os.strerror(error.errno), str(path)) from error
        raise
