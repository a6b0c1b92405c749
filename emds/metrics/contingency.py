"""How many voxels carry each pair of ids: the one table that every segmentation score reads."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from emds.errors import DataError

Ids = NDArray[np.uint64]
Counts = NDArray[np.int64]

_FIRST_CAPACITY = 1 << 10
_EMPTY = 0


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
        self._gt_keys, self._seg_keys, self._counts = _empty_slots(_FIRST_CAPACITY)

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
                flat_gt,
                flat_seg,
                position,
                self._gt_keys,
                self._seg_keys,
                self._counts,
                self._pairs,
            )
            if self._is_crowded():
                self._grow()

    def merge(self, other: ContingencyTable) -> None:
        """Add the counts of another table to this one; `other` stays as it is."""
        self.add_counts(*other.counts())

    def add_counts(self, gt_ids: Ids, seg_ids: Ids, counts: Counts) -> None:
        """Add voxels that were counted elsewhere.

        Parameters
        ----------
        gt_ids, seg_ids : (N,) uint64
            Pairs of ids; a pair may come up more than once.
        counts : (N,) int64
            Voxels of each pair, all positive.
        """
        position = 0
        while position < counts.size:
            position, self._pairs = _insert_counts(
                gt_ids,
                seg_ids,
                counts,
                position,
                self._gt_keys,
                self._seg_keys,
                self._counts,
                self._pairs,
            )
            if self._is_crowded():
                self._grow()

    def counts(self) -> tuple[Ids, Ids, Counts]:
        """Return the table, sorted by ground-truth id and then by segment id.

        Returns
        -------
        gt_ids, seg_ids : (N,) uint64
            The distinct pairs.
        counts : (N,) int64
            Voxels that carry each pair.
        """
        filled = np.flatnonzero(self._counts != _EMPTY)
        gt_ids, seg_ids = self._gt_keys[filled], self._seg_keys[filled]
        order = np.lexsort((seg_ids, gt_ids))
        return gt_ids[order], seg_ids[order], self._counts[filled][order]

    def _is_crowded(self) -> bool:
        return 2 * self._pairs >= self._counts.size

    def _grow(self) -> None:
        filled = np.flatnonzero(self._counts != _EMPTY)
        held = self._gt_keys[filled], self._seg_keys[filled], self._counts[filled]
        self._gt_keys, self._seg_keys, self._counts = _empty_slots(4 * self._counts.size)
        _insert_counts(*held, 0, self._gt_keys, self._seg_keys, self._counts, 0)


def as_ids(labels: NDArray[Any], name: str) -> NDArray[np.unsignedinteger[Any]]:
    """Return integer labels as unsigned ids of the same width, C-contiguous, unchanged in value.

    No copy is made of an array that is contiguous and in the machine's byte order.

    Parameters
    ----------
    labels : integer or bool, any shape
        Ids; none may be negative.
    name : str
        What a message calls the array.

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


def _empty_slots(capacity: int) -> tuple[Ids, Ids, Counts]:
    return (
        np.zeros(capacity, np.uint64),
        np.zeros(capacity, np.uint64),
        np.zeros(capacity, np.int64),
    )


@numba.njit(nogil=True, cache=True, inline="always")
def _slot_of(gt: Any, seg: Any, gt_keys: Ids, seg_keys: Ids, counts: Counts) -> Any:
    """Find where a pair is, or the empty slot where it belongs (capacity is a power of two)."""
    mixed = gt * np.uint64(0x9E3779B97F4A7C15)
    mixed ^= mixed >> np.uint64(32)
    mixed = (mixed + seg) * np.uint64(0xD6E8FEB86659FD93)
    mixed ^= mixed >> np.uint64(32)
    mixed *= np.uint64(0xD6E8FEB86659FD93)
    mixed ^= mixed >> np.uint64(32)
    last = np.uint64(counts.size - 1)
    slot = mixed & last
    while counts[slot] != _EMPTY and (gt_keys[slot] != gt or seg_keys[slot] != seg):
        slot = (slot + np.uint64(1)) & last
    return slot


@numba.njit(nogil=True, cache=True)
def _count_runs(
    gt: Any,
    seg: Any,
    start: int,
    gt_keys: Ids,
    seg_keys: Ids,
    counts: Counts,
    pairs: int,
) -> tuple[int, int]:
    """Count voxels from `start` on, a run of equal pairs at a time, until the table is half full.

    Returns the first voxel not counted, and the number of pairs now held.
    """
    size = gt.size
    position = start
    while position < size and 2 * pairs < counts.size:
        gt_here, seg_here = gt[position], seg[position]
        end = position + 1
        while end < size and gt[end] == gt_here and seg[end] == seg_here:
            end += 1
        gt_id, seg_id = np.uint64(gt_here), np.uint64(seg_here)
        slot = _slot_of(gt_id, seg_id, gt_keys, seg_keys, counts)
        if counts[slot] == _EMPTY:
            gt_keys[slot], seg_keys[slot] = gt_id, seg_id
            pairs += 1
        counts[slot] += end - position
        position = end
    return position, pairs


@numba.njit(nogil=True, cache=True)
def _insert_counts(
    gt_ids: Ids,
    seg_ids: Ids,
    more: Counts,
    start: int,
    gt_keys: Ids,
    seg_keys: Ids,
    counts: Counts,
    pairs: int,
) -> tuple[int, int]:
    """Do for counted pairs what `_count_runs` does for voxels."""
    position = start
    while position < more.size and 2 * pairs < counts.size:
        gt_id, seg_id = gt_ids[position], seg_ids[position]
        slot = _slot_of(gt_id, seg_id, gt_keys, seg_keys, counts)
        if counts[slot] == _EMPTY:
            gt_keys[slot], seg_keys[slot] = gt_id, seg_id
            pairs += 1
        counts[slot] += more[position]
        position += 1
    return position, pairs
