"""Knowing whether workers are still at it, even those whose scheduler is gone."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from emds.errors import OutputExistsError

_FILE = "workers.lock"


@contextmanager
def at_work(folder: Path) -> Iterator[None]:
    """Show, for the length of a ``with`` block, that this process is at work."""
    handle = os.open(folder / _FILE, os.O_RDWR | os.O_CREAT)
    try:
        take_lock(handle, fcntl.LOCK_SH)
        yield
    finally:
        os.close(handle)


def wait_for_workers(folder: Path, patience_s: float = 600.0) -> None:
    """Return once no process is at work; one that has lost its scheduler ends after its block.

    Raises
    ------
    OutputExistsError
        If some still are after `patience_s`.
    """
    handle = os.open(folder / _FILE, os.O_RDWR | os.O_CREAT)
    deadline = time.monotonic() + patience_s
    try:
        while not take_lock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB):
            if time.monotonic() > deadline:
                raise OutputExistsError(
                    f"workers of an earlier run still write to {folder.parent}. End them, or wait."
                )
            time.sleep(0.1)
    finally:
        os.close(handle)


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Keep other processes that ask for the same folder out of it, for a ``with`` block.

    Raises
    ------
    OutputExistsError
        If one is in it.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        if not take_lock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB):
            raise OutputExistsError(
                f"another process is writing to {folder}. Wait for it, or choose another --out."
            )
        yield
    finally:
        os.close(handle)


def take_lock(handle: int, kind: int) -> bool:
    """Say whether an open file could be locked; it always is where the file system has no locks."""
    try:
        fcntl.flock(handle, kind)
    except BlockingIOError:
        return False
    except OSError:
        return True  # a file system without locks
    return True
