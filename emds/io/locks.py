"""Locks on folders: they end with the process that holds them, however it ends."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path


def open_folder(path: Path) -> int | None:
    """Open a folder; None if there is none, or a link to one."""
    try:
        return os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        if error.errno == errno.ELOOP:
            return None
        raise


def lock(handle: int, kind: int) -> bool:
    """Say whether a lock was got at once; it always is where the file system has none."""
    try:
        fcntl.flock(handle, kind | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in (errno.EWOULDBLOCK, errno.EACCES)
    return True


def close(handle: int | None) -> None:
    """Let go of a handle, if there is one, and of its lock."""
    if handle is not None:
        os.close(handle)
