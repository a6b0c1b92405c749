"""How many voxels carry each pair of ids: the one table that every segmentation score reads."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emds.errors import DataError
from emds.kernels import njit

Ids = NDArray[np.uint64]
Counts = NDArray[np.int64]

# A slot is one row: ground-truth id, segment id, voxels. Together they lie in one cache line.
_Slots = NDArray[np.uint64]

_FIRST_CAPACITY = 1 << 10


class ContingencyTable:
    """Counts of (ground-truth id, segment id) pairs, filled slab by slab.

    Ids are compared as full 64-bit numbers. Memory grows with the number of distinct pairs,
    not with the number of voxels or the size of the ids, and tables of disjoint parts of a
    volume add up to the table of the whole.

    Examples
    --------
    >>> table = ContingencyTable()
    >>> table.add(np.array([7, 7, 7, 2**40]), np.array([1, 1, 2, 2], dtype=np.uint8))
    >>> [column.tolist() for column in table.counts()]
    [[7, 7, 1099511627776], [1, 2, 2], [2, 1, 1]]
    """

    def __init__(self) -> None:
        self._pairs = 0
        self._slots: _Slots = np.zeros((_FIRST_CAPACITY, 3), np.uint64)

    def __len__(self) -> int:
        return self._pairs

    def add(self, gt: NDArray[Any], seg: NDArray[Any]) -> None:
        """Count the voxels of two label arrays.

        Parameters
        ----------
        gt, seg : integer, same shape, any number of axes
            Ground truth and segmentation of the same voxels.

        Raises
        ------
        DataError
            If the shapes differ, or an array is not of integers, or holds a negative id.
        """
        if gt.shape != seg.shape:
            raise DataError(
                f"ground truth and segmentation must have one shape, not {gt.shape} and "
                f"{seg.shape}. Cut both to the same voxels."
            )
        flat_gt = as_ids(gt, "ground truth").reshape(-1)
        flat_seg = as_ids(seg, "segmentation").reshape(-1)
        position = 0
        while position < flat_gt.size:
            position, self._pairs = _count_runs(
                flat_gt, flat_seg, position, self._slots, self._pairs
            )
            self._grow_if_crowded()

    def merge(self, other: ContingencyTable) -> None:
        """Add the counts of another table to this one; `other` stays as it is."""
        self.add_counts(*other.pairs())

    def add_counts(self, gt_ids: Ids, seg_ids: Ids, counts: Counts) -> None:
        """Add voxels that were counted elsewhere.

        Parameters
        ----------
        gt_ids, seg_ids : (N,) uint64
            Pairs of ids; a pair may come up more than once.
        counts : (N,) int64
            Voxels of each pair, all positive.
        """
        rows = np.stack([gt_ids, seg_ids, counts.astype(np.uint64)], axis=1)
        position = 0
        while position < len(rows):
            position, self._pairs = _insert_rows(rows, position, self._slots, self._pairs)
            self._grow_if_crowded()

    def pairs(self) -> tuple[Ids, Ids, Counts]:
        """Return the table like `counts`, in no particular order."""
        gt_ids, seg_ids, counts = self._slots[self._slots[:, 2] != 0].T
        return gt_ids, seg_ids, counts.astype(np.int64)

    def counts(self) -> tuple[Ids, Ids, Counts]:
        """Return the table, sorted by ground-truth id and then by segment id.

        Returns
        -------
        gt_ids, seg_ids : (N,) uint64
            The distinct pairs.
        counts : (N,) int64
            Voxels that carry each pair.
        """
        gt_ids, seg_ids, counts = self.pairs()
        order = np.lexsort((seg_ids, gt_ids))
        return gt_ids[order], seg_ids[order], counts[order]

    def _grow_if_crowded(self) -> None:
        if _has_room(self._pairs, self._slots):
            return
        held = self._slots[self._slots[:, 2] != 0]
        self._slots = np.zeros((2 * len(self._slots), 3), np.uint64)
        _insert_rows(held, 0, self._slots, 0)


def as_ids(labels: NDArray[Any], name: str) -> NDArray[np.unsignedinteger[Any]]:
    """Return integer labels as unsigned ids of the same width, C-contiguous, unchanged in value.

    No copy is made of an array that is contiguous and in the machine's byte order.

    Parameters
    ----------
    labels : integer or bool, any shape
        Ids; none may be negative.
    name : str
        Name of the array in messages.

    Raises
    ------
    DataError
        If `labels` is not of integers or holds a negative id.

    Examples
    --------
    >>> as_ids(np.array([3, 4], dtype=np.int16), "segmentation").dtype
    dtype('uint16')
    """
    if labels.dtype.kind not in "iub":
        raise DataError(
            f"{name} must hold integer ids, not {labels.dtype}. "
            "Give the label volume, or convert it to uint64."
        )
    native = np.ascontiguousarray(labels, dtype=labels.dtype.newbyteorder("="))
    if labels.dtype.kind == "i" and labels.size and native.min() < 0:
        raise DataError(
            f"{name} holds the negative id {int(native.min())}; ids must be 0 (background) or "
            "positive. Set what lies outside the objects to 0."
        )
    return native.view(np.dtype(f"u{labels.dtype.itemsize}"))


def number_ids(ids: Ids) -> tuple[NDArray[np.int64], int]:
    """Give distinct ids numbers from 0 on, in order of appearance.

    Parameters
    ----------
    ids : (N,) uint64
        Any ids, with repetitions.

    Returns
    -------
    numbers : (N,) int64
        Which of the distinct ids each one is.
    count : int
        Number of distinct ids.

    Examples
    --------
    >>> numbers, count = number_ids(np.array([2**40, 7, 2**40], dtype=np.uint64))
    >>> numbers.tolist(), count
    ([0, 1, 0], 2)
    """
    capacity = 1 << max(4, (2 * ids.size - 1).bit_length())
    numbers = np.empty(ids.size, np.int64)
    return numbers, int(_number(ids, np.zeros((capacity, 3), np.uint64), numbers))


@njit(inline="always")
def _has_room(pairs: int, slots: _Slots) -> Any:
    return 2 * pairs < len(slots)


@njit(inline="always")
def _slot_of(gt: Any, seg: Any, slots: _Slots) -> Any:
    """Find where a pair is, or the empty slot where it belongs (there is a power of two)."""
    mixed = gt * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(32)
    mixed = (mixed + seg) * np.uint64(0xD6E8FEB86659FD93)
    mixed ^= mixed >> np.uint64(32)
    mixed *= np.uint64(0xD6E8FEB86659FD93)
    mixed ^= mixed >> np.uint64(32)
    last = np.uint64(len(slots) - 1)
    slot = mixed & last
    while slots[slot, 2] != 0 and (slots[slot, 0] != gt or slots[slot, 1] != seg):
        slot = (slot + np.uint64(1)) & last
    return slot


@njit()
def _count_runs(gt: Any, seg: Any, start: int, slots: _Slots, pairs: int) -> tuple[int, int]:
    """Count voxels from `start` on, a run of equal pairs at a time, while the table has room.

    Returns the first voxel not counted, and the number of pairs now held.
    """
    one = np.uint64(1)  # unsigned positions spare numba the check for negative indices
    size, position = np.uint64(gt.size), np.uint64(start)
    while position < size and _has_room(pairs, slots):
        gt_here, seg_here = gt[position], seg[position]
        end = position + one
        while end < size and gt[end] == gt_here and seg[end] == seg_here:
            end += one
        gt_id, seg_id = np.uint64(gt_here), np.uint64(seg_here)
        slot = _slot_of(gt_id, seg_id, slots)
        if slots[slot, 2] == 0:
            slots[slot, 0], slots[slot, 1] = gt_id, seg_id
            pairs += 1
        slots[slot, 2] += end - position
        position = end
    return int(position), pairs


@njit()
def _insert_rows(rows: _Slots, start: int, slots: _Slots, pairs: int) -> tuple[int, int]:
    """Do for counted pairs what `_count_runs` does for voxels."""
    position = start
    while position < len(rows) and _has_room(pairs, slots):
        row = rows[position]
        slot = _slot_of(row[0], row[1], slots)
        if slots[slot, 2] == 0:
            slots[slot, 0], slots[slot, 1] = row[0], row[1]
            pairs += 1
        slots[slot, 2] += row[2]
        position += 1
    return position, pairs


@njit()
def _number(ids: Ids, slots: _Slots, numbers: Any) -> int:
    count = 0
    for i in range(ids.size):
        slot = _slot_of(ids[i], np.uint64(0), slots)
        if slots[slot, 2] == 0:
            count += 1
            slots[slot, 0], slots[slot, 2] = ids[i], np.uint64(count)
        numbers[i] = np.int64(slots[slot, 2]) - 1
    return count
