"""Who does what, where several processes carry out one plan."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from emds.execution.presence import take_lock


@contextmanager
def claim(path: Path, *, wait: bool = False) -> Iterator[bool]:
    """Hold a file's lock for the length of a ``with`` block, if no other process has it.

    The lock ends with the process that holds it, however it ends.

    Parameters
    ----------
    path : Path
        The file; made if it is not there, and left.
    wait : bool
        Until another process lets go.

    Yields
    ------
    bool
        Whether it is held. It is on a file system without locks, where processes cannot share
        a plan.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_RDWR | os.O_CREAT)
    try:
        yield take_lock(handle, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(handle)
