"""How much memory a process may use."""

from __future__ import annotations

import os
import re
from pathlib import Path

from emds.errors import UsageError

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_UNITS |= {f"{unit}i": 2 ** (10 * power) for power, unit in enumerate("kmgt", start=1)}
_CGROUP_LIMITS = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
_LEAST = 2**26

LIBRARIES_BYTES = 400 * 2**20
"""What a process with the libraries of a run holds before it reads a voxel, about."""


def parse_size(text: str) -> int:
    """Read a number of bytes such as ``2GiB``, ``500M`` or ``1.5 TB``.

    Raises
    ------
    UsageError
        If `text` is not of that form, or less than 64 MiB.

    Examples
    --------
    >>> parse_size("2GiB"), parse_size("500 MB")
    (2147483648, 500000000)
    """
    match = re.fullmatch(r"\s*(\d{1,12}(?:\.\d{1,12})?)\s*([kmgt]?i?)b?\s*", text.lower())
    if match is None or match[2] not in _UNITS:
        raise UsageError(f"a size of memory must look like 2GiB or 500MB, not {text!r}.")
    size = int(float(match[1]) * _UNITS[match[2]])
    if size < _LEAST:
        raise UsageError(f"--max-memory {text} is too little to work with; give 64MiB or more.")
    return size


def memory_limit(asked: int | None = None) -> int:
    """Return the bytes a process may use: what was asked for, or a quarter of the machine's.

    A limit that a container or a batch system sets counts as the machine's.
    """
    if asked is not None:
        return asked
    available = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    for name in _CGROUP_LIMITS:
        try:
            available = min(available, int(Path(name).read_text(encoding="ascii")))
        except (OSError, ValueError):  # no such file, or "max"
            continue
    return available // 4


def room_for_data(asked: int | None = None) -> int:
    """Return the bytes that blocks and tables may take, of what a process may use.

    Python and the libraries hold `LIBRARIES_BYTES` before the first voxel is read; that is a figure
    and not measured here, so that the same limit gives the same blocks everywhere. Where a limit
    leaves little beside them, a quarter of it is taken, and the process takes more than was asked.

    Parameters
    ----------
    asked : int, optional
        See `memory_limit`.

    Examples
    --------
    >>> room_for_data(2**30) // 2**20, room_for_data(2**26) // 2**20
    (624, 16)
    """
    limit = memory_limit(asked)
    return max(limit - LIBRARIES_BYTES, limit // 4)


def threads_within(bytes_each: int, asked: int | None = None) -> int:
    """Return how many threads to use: one for each core, as far as what they hold fits in memory.

    Parameters
    ----------
    bytes_each : int
        Bytes that a thread holds.
    asked : int, optional
        See `memory_limit`.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return max(1, min(cores or 1, memory_limit(asked) // max(1, bytes_each)))
