"""What labelling reads, writes, and hands from one phase to the next: in memory or on disk.

The phases of `emds.segmentation.phases` know no other way to hold anything, so what is tested in
memory is what runs on disk.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from emds.geometry import Roi


class Readable(Protocol):
    """A volume of which boxes can be read."""

    def read(self, roi: Roi) -> NDArray[Any]:
        """Return a box, (z, y, x) or (c, z, y, x)."""


class BlockArray(Readable, Protocol):
    """A volume that is written block by block, and read again."""

    def write(self, roi: Roi, values: NDArray[Any]) -> None:
        """Store a box."""

    def sync(self, roi: Roi) -> None:
        """Make sure that a box outlives a crash."""

    def is_written(self, roi: Roi) -> bool:
        """Say whether all of a box was written."""


class Tables(Protocol):
    """Named tables, one for each block, and named columns of the whole volume."""

    def save(self, name: str, block: int, **columns: NDArray[Any]) -> None:
        """Store the columns of a block's table."""

    def load(self, name: str, block: int) -> dict[str, NDArray[Any]]:
        """Return the columns of a block's table."""

    def has(self, name: str, block: int) -> bool:
        """Say whether a block's table is there."""

    def size(self, name: str, block: int) -> int:
        """Return the bytes of a block's table."""

    def remove(self, name: str) -> None:
        """Delete the tables of all blocks."""

    def save_column(self, name: str, values: NDArray[Any]) -> None:
        """Store one column of the whole volume."""

    def column(self, name: str) -> NDArray[Any]:
        """Return such a column; it must not be changed."""

    def has_column(self, name: str) -> bool:
        """Say whether such a column is there."""


@dataclass(frozen=True, slots=True)
class Store:
    """What the phases of labelling work on.

    Attributes
    ----------
    affinities : Readable
        (C, Z, Y, X) uint8 or uint16; 1 = same, scaled to the range of the type.
    mask : Readable or None
        (Z, Y, X) integers; where they are 0, labels are 0.
    fragments : BlockArray
        (Z, Y, X) uint32: labels of each block for itself.
    labels : BlockArray
        (Z, Y, X) uint64: the result.
    tables : Tables
        What one phase leaves for the next.
    """

    affinities: Readable
    mask: Readable | None
    fragments: BlockArray
    labels: BlockArray
    tables: Tables


def memory_store(affinities: NDArray[Any], mask: NDArray[np.bool_] | None = None) -> Store:
    """Return a store that holds everything in memory.

    Parameters
    ----------
    affinities : (C, Z, Y, X) uint8 or uint16
        Not copied.
    mask : (Z, Y, X) bool, optional
        True where to segment.
    """
    shape = affinities.shape[1:]
    return Store(
        affinities=MemoryArray(affinities),
        mask=None if mask is None else MemoryArray(mask),
        fragments=MemoryArray(np.zeros(shape, dtype=np.uint32)),
        labels=MemoryArray(np.zeros(shape, dtype=np.uint64)),
        tables=MemoryTables(),
    )


class MemoryArray:
    """An array as a `BlockArray`.

    Parameters
    ----------
    values : (Z, Y, X) or (C, Z, Y, X) array
        Read and written in place.
    """

    def __init__(self, values: NDArray[Any]) -> None:
        self.values = values
        self._written: set[Roi] = set()

    def read(self, roi: Roi) -> NDArray[Any]:
        """Return a view of a box."""
        return self.values[(..., *roi.slices())]

    def write(self, roi: Roi, values: NDArray[Any]) -> None:
        """Store a box."""
        self.values[(..., *roi.slices())] = values
        self._written.add(roi)

    def sync(self, roi: Roi) -> None:
        """Do nothing: memory outlives no crash."""

    def is_written(self, roi: Roi) -> bool:
        """Say whether this very box was written."""
        return roi in self._written


class MemoryTables:
    """Tables and columns in memory."""

    def __init__(self) -> None:
        self._tables: dict[str, dict[int, dict[str, NDArray[Any]]]] = {}
        self._columns: dict[str, NDArray[Any]] = {}

    def save(self, name: str, block: int, **columns: NDArray[Any]) -> None:
        """Keep the columns of a block's table."""
        self._tables.setdefault(name, {})[block] = columns

    def load(self, name: str, block: int) -> dict[str, NDArray[Any]]:
        """Return the columns of a block's table."""
        return self._tables[name][block]

    def has(self, name: str, block: int) -> bool:
        """Say whether a block's table is there."""
        return block in self._tables.get(name, {})

    def size(self, name: str, block: int) -> int:
        """Return the bytes of a block's table."""
        return sum(column.nbytes for column in self.load(name, block).values())

    def remove(self, name: str) -> None:
        """Forget the tables of all blocks."""
        del self._tables[name]

    def save_column(self, name: str, values: NDArray[Any]) -> None:
        """Keep one column of the whole volume."""
        self._columns[name] = values

    def column(self, name: str) -> NDArray[Any]:
        """Return such a column."""
        return self._columns[name]

    def has_column(self, name: str) -> bool:
        """Say whether such a column is there."""
        return name in self._columns
