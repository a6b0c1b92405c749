"""What blocks read of the inputs of a run, as hashes."""

from __future__ import annotations

import hashlib
import threading
from typing import Any

import numpy as np
from numpy.typing import NDArray


def hash_of(*arrays: NDArray[Any]) -> str:
    """Return a hash of the values of arrays; empty where there are none.

    Examples
    --------
    >>> hash_of(np.arange(3, dtype=np.uint8)) == hash_of(np.array([0, 1, 2], dtype=np.uint8))
    True
    """
    if not arrays:
        return ""
    digest = hashlib.blake2b(digest_size=16)
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


class Witness:
    """Keeps what a block read until it is noted that the block is done."""

    def __init__(self) -> None:
        self._read: dict[int, str] = {}
        self._lock = threading.Lock()

    def saw(self, block: int, *values: NDArray[Any]) -> None:
        """Take note of all that a block read of the inputs."""
        with self._lock:
            self._read[block] = hash_of(*values)

    def told(self, block: int) -> str:
        """Return the hash of what a block read, once."""
        with self._lock:
            return self._read.pop(block, "")
