"""Arrays as they are stored: read chunk by chunk, to learn whether all of it can be read."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from emds.errors import VolumeError
from emds.io.fit import misfits
from emds.io.location import Location, parse_location
from emds.io.open import find_arrays
from emds.io.source import ArraySource, Closer, Found, absurd_size
from emds.io.source_volume import DAMAGE

Problem = Literal["missing", "damaged"]


@dataclass(frozen=True, slots=True)
class BadChunk:
    """A chunk that cannot be read.

    Attributes
    ----------
    location : str
        Of its array.
    index : tuple of int
        Which chunk, by axis.
    axes : str
        A letter for each.
    begin, end : tuple of int
        Its voxels, by axis, end excluded.
    problem : {"missing", "damaged"}
        Whether it is there at all.
    reason : str
        What the decoder said, in one line.
    """

    location: str
    index: tuple[int, ...]
    axes: str
    begin: tuple[int, ...]
    end: tuple[int, ...]
    problem: Problem
    reason: str

    def __str__(self) -> str:
        ranges = zip(self.axes, self.begin, self.end, strict=True)
        box = ", ".join(f"{axis} {low}:{high}" for axis, low, high in ranges)
        return f"{self.location} chunk {self.index}, voxels {box}: {self.problem} ({self.reason})"


class StoredArray:
    """An array of any backend, chunk by chunk.

    Attributes
    ----------
    location : str
        How a user would name it.
    shape, chunk_shape : tuple of int
        Along the axes as they are stored. Where there are no chunks, a section is one.
    dtype : str
        Type of an element.
    count : int
        Number of chunks.
    chunk_bytes, nbytes : int
        Of a chunk and of all, unpacked.
    is_sealed : bool
        Its chunks have checksums and must all be there, so that damage cannot pass for data.
    """

    def __init__(self, source: ArraySource, *, is_sealed: bool) -> None:
        self._values = source.values
        self._axes = source.axes
        self.location = source.location
        self.shape = source.values.shape
        self.dtype = str(source.values.dtype)
        self.chunk_shape = tuple(max(1, size) for size in source.chunk_shape)
        self._grid = tuple(
            -(-size // chunk) for size, chunk in zip(self.shape, self.chunk_shape, strict=True)
        )
        self.count = math.prod(self._grid)
        itemsize = source.values.dtype.itemsize
        self.chunk_bytes = math.prod(self.chunk_shape) * itemsize
        self.nbytes = math.prod(self.shape) * itemsize
        self.is_sealed = is_sealed

    def read_chunk(self, number: int) -> BadChunk | None:
        """Read a chunk, row-major from 0, and say what is wrong with it, if anything is."""
        index: list[int] = []
        rest = number
        for size in reversed(self._grid):
            rest, place = divmod(rest, size)
            index.insert(0, place)
        begin = tuple(i * chunk for i, chunk in zip(index, self.chunk_shape, strict=True))
        end = tuple(
            min(low + chunk, size)
            for low, chunk, size in zip(begin, self.chunk_shape, self.shape, strict=True)
        )
        problem: Problem = "damaged"
        try:
            # Copied, because a memory map reads nothing until it is looked at.
            box = tuple(slice(*bounds) for bounds in zip(begin, end, strict=True))
            np.array(self._values[box])
            return None
        except FileNotFoundError as error:
            problem, reason = "missing", str(error)
        except (*DAMAGE, VolumeError) as error:
            reason = str(error) or type(error).__name__
        line = " ".join(reason.split())
        return BadChunk(self.location, tuple(index), self._axes, begin, end, problem, line)


@dataclass(frozen=True)
class Stored:
    """What a file or folder holds.

    Attributes
    ----------
    arrays : list of StoredArray
        Lower resolutions of images included.
    notes : list of str
        What was not read, and why.
    misfits : list of str
        Arrays of a zarr whose metadata are damaged, and images of a container of emds that are
        gone or do not lie on one grid.
    close : callable
        Lets go of the file.
    """

    arrays: list[StoredArray]
    notes: list[str]
    misfits: list[str]
    close: Closer


def open_stored(location: str | Path, *, key: str | None = None) -> Stored:
    """List the arrays at a location for reading all that is in them.

    Parameters
    ----------
    location, key
        As for `open_volume`; a group stands for all arrays below it.

    Raises
    ------
    VolumeError
        If it cannot be found, its metadata are damaged, or none of its arrays can be read.
    """
    place = parse_location(location, key)
    found = _find_all(place)
    arrays, notes, wrong = [], [], []
    for source in found.sources:
        reason = source.unusable or absurd_size(source)
        if reason is None:
            arrays.append(StoredArray(source, is_sealed=_is_sealed(source, found.kind)))
        elif _is_damage(source, found.kind):
            wrong.append(f"{source.location} cannot be read: {reason}")
        else:
            notes.append(f"{source.location} was not read: {reason}")
    if not arrays:
        found.close()
        reasons = "; ".join(wrong + notes) or "it holds no arrays"
        raise VolumeError(f"cannot read {str(location)!r}: {reasons}.")
    return Stored(arrays, notes, wrong + misfits(place), found.close)


def _is_damage(source: ArraySource, kind: str) -> bool:
    """Say whether an array of a zarr has something wrong, rather than something missing here."""
    if kind != "zarr" or source.unusable is None:
        return False
    from emds.io.zarr_tree import NOT_INSTALLED

    return NOT_INSTALLED not in source.unusable


def _find_all(place: Location) -> Found:
    if place.kind == "zarr":
        from emds.io.zarr_volume import find_zarr_arrays

        return find_zarr_arrays(place, all_levels=True)
    return find_arrays(place)


def _is_sealed(source: ArraySource, kind: str) -> bool:
    if kind == "zarr":
        from emds.io.zarr_volume import WholeZarrArray

        return isinstance(source.values, WholeZarrArray)
    if kind == "hdf5":  # gzip has a checksum of its own
        dataset: Any = getattr(source.values, "whole", source.values)
        return bool(dataset.fletcher32) or dataset.compression == "gzip"
    return False
