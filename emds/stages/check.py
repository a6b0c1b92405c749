"""``emds check``: read everything once, so that what is damaged or lost is known."""

from __future__ import annotations

from collections import Counter
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emds.execution import map_in_threads
from emds.io.stored import BadChunk, StoredArray, open_stored
from emds.io.unfinished import refuse_unfinished
from emds.memory import threads_within
from emds.progress import Progress

LISTED = 20


@dataclass(frozen=True, slots=True)
class ArrayTally:
    """What was read of one array.

    Attributes
    ----------
    location, dtype : str
        The array, and the type of its elements.
    shape, chunk_shape : list of int
        As stored.
    chunks, bytes : int
        How many were to be read; bytes are those of the unpacked values.
    checksums : bool
        Whether damage cannot pass for data.
    missing, damaged : int
        Chunks that could not be read.
    """

    location: str
    dtype: str
    shape: list[int]
    chunk_shape: list[int]
    chunks: int
    bytes: int
    checksums: bool
    missing: int
    damaged: int


@dataclass(frozen=True, slots=True)
class CheckReport:
    """What `check` found.

    Attributes
    ----------
    location : str
        The location checked.
    arrays : list of ArrayTally
        In the order of their names.
    bad_chunks : list of BadChunk
        The first twenty.
    misfits : list of str
        What does not fit together.
    notes : list of str
        What was not read, and why.
    """

    location: str
    arrays: list[ArrayTally]
    bad_chunks: list[BadChunk]
    misfits: list[str]
    notes: list[str]

    @property
    def bad_count(self) -> int:
        """Number of chunks that could not be read."""
        return sum(array.missing + array.damaged for array in self.arrays)

    def complaint(self) -> str | None:
        """Say what is wrong, in a message for a person; None if nothing is."""
        lines = list(self.misfits)
        if self.bad_count:
            chunks = sum(array.chunks for array in self.arrays)
            lines.append(f"{self.bad_count} of {chunks} chunks cannot be read:")
            lines += [f"  {bad}" for bad in self.bad_chunks]
            if self.bad_count > len(self.bad_chunks):
                lines.append(f"  and {self.bad_count - len(self.bad_chunks)} more")
        if not lines:
            return None
        return "\n".join(
            [
                f"{self.location} is not whole.",
                *lines,
                "Restore it from a copy, or make it again.",
            ]
        )

    def rows(self) -> list[list[str]]:
        """Return a line for each array, for a table under `COLUMNS`."""
        return [
            [
                array.location,
                array.dtype,
                " × ".join(map(str, array.shape)),
                *map(str, (array.chunks, array.bytes, array.missing, array.damaged)),
            ]
            for array in self.arrays
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON primitives."""
        totals = {
            "chunks": sum(array.chunks for array in self.arrays),
            "bytes": sum(array.bytes for array in self.arrays),
            "bad_count": self.bad_count,
        }
        return {"whole": self.complaint() is None, **totals, **asdict(self)}


COLUMNS = ("array", "type", "shape", "chunks", "bytes", "missing", "damaged")


def check(
    location: str | Path, *, key: str | None = None, progress: Progress | None = None
) -> CheckReport:
    """Read every chunk of every array at a location, lower resolutions included.

    In what emds wrote as zarr every chunk carries a checksum and must be there, so nothing that is
    damaged or lost goes unseen. Of other files the report says whether they can be read.

    Parameters
    ----------
    location : str or Path
        As for `emds.open_volume`; a group stands for all arrays in it.
    key : str, optional
        Array or group inside it.
    progress : callable, optional
        Told (chunks read, chunks, what).

    Raises
    ------
    IncompleteError
        If it names an output that no run has finished.
    VolumeError
        If it cannot be found, or its metadata are damaged.
    """
    refuse_unfinished(location)
    stored = open_stored(location, key=key)
    arrays: list[ArrayTally] = []
    bad_chunks: list[BadChunk] = []
    total, before = sum(array.count for array in stored.arrays), 0
    with closing(stored):
        for array in stored.arrays:
            arrays.append(_read(array, bad_chunks, before, total, progress))
            before += array.count
    unsealed = [array.location for array in arrays if not array.checksums]
    notes = list(stored.notes)
    if unsealed:
        more = f" and {len(unsealed) - 1} more" if unsealed[1:] else ""
        notes.append(f"no checksums in {unsealed[0]}{more}: damage there may look like data")
    return CheckReport(str(location), arrays, bad_chunks, stored.misfits, notes)


def _read(
    array: StoredArray,
    bad_chunks: list[BadChunk],
    before: int,
    total: int,
    progress: Progress | None,
) -> ArrayTally:
    """Read an array, and add what is bad to a list as long as that is short."""
    problems: Counter[str] = Counter()
    # A chunk as it lies on disk, unpacked, and copied.
    threads = threads_within(3 * array.chunk_bytes)
    for done, bad in enumerate(map_in_threads(array.read_chunk, range(array.count), threads), 1):
        if bad is not None:
            problems[bad.problem] += 1
            if len(bad_chunks) < LISTED:
                bad_chunks.append(bad)
        if progress is not None:
            progress(before + done, total, "chunks read")
    return ArrayTally(
        array.location,
        array.dtype,
        list(array.shape),
        list(array.chunk_shape),
        array.count,
        array.nbytes,
        array.is_sealed,
        problems["missing"],
        problems["damaged"],
    )
