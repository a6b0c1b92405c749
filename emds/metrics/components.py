"""Connected components of one section, labelled strip by strip as its rows arrive."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emds.kernels import njit
from emds.metrics.contingency import Ids

Parents = NDArray[np.int64]


class SectionComponents:
    """Give every 4-connected piece of equal non-zero ids in a section a label of its own.

    Rows come in strips, from top to bottom. A piece may get several provisional labels (the arms
    of a U meet only at its foot); `final` says, once all rows are in, which of them are one.

    Examples
    --------
    >>> section = SectionComponents()
    >>> section.label(np.array([[5, 0, 5], [5, 0, 5]], dtype=np.uint8)).tolist()
    [[1, 0, 2], [1, 0, 2]]
    >>> section.label(np.array([[5, 5, 5]], dtype=np.uint8)).tolist()
    [[1, 1, 1]]
    >>> section.final(np.array([0, 1, 2], dtype=np.uint64)).tolist()
    [0, 1, 1]
    """

    def __init__(self) -> None:
        self._parents: Parents = np.zeros(1, np.int64)
        self._ids_above: NDArray[Any] | None = None
        self._labels_above: Parents | None = None

    def label(self, rows: NDArray[np.unsignedinteger[Any]]) -> Ids:
        """Label the next strip.

        Parameters
        ----------
        rows : (Y, X) unsigned int
            Ids of the strip, C-contiguous; 0 is background.

        Returns
        -------
        labels : (Y, X) uint64
            Provisional labels; 0 where `rows` is.
        """
        if self._ids_above is None or self._labels_above is None:
            self._ids_above = np.zeros(rows.shape[1], rows.dtype)
            self._labels_above = np.zeros(rows.shape[1], np.int64)
        held = self._parents.size
        # np.empty: the system hands out pages as labels are made, not for the worst case.
        parents = np.empty(held + rows.size, np.int64)
        parents[:held] = self._parents
        labels = np.empty(rows.shape, np.int64)
        used = _label_rows(rows, labels, parents, held, self._ids_above, self._labels_above)
        self._parents = parents[:used].copy()
        self._ids_above, self._labels_above = rows[-1].copy(), labels[-1].copy()
        return labels.view(np.uint64)

    def final(self, labels: Ids) -> Ids:
        """Return the one label of the piece that each provisional label belongs to."""
        return _roots(self._parents)[labels.astype(np.int64)].view(np.uint64)


@njit()
def _root(parents: Parents, label: Any) -> Any:
    while parents[label] != label:
        parents[label] = parents[parents[label]]
        label = parents[label]
    return label


@njit()
def _roots(parents: Parents) -> Parents:
    roots = np.empty_like(parents)
    for label in range(parents.size):
        # A parent is never larger than its child, so the parent's root is known already.
        roots[label] = label if parents[label] == label else roots[parents[label]]
    return roots


@njit()
def _label_rows(
    rows: Any, labels: Any, parents: Parents, used: int, ids_above: Any, labels_above: Parents
) -> int:
    """Fill `labels` and `parents` in raster order; return how many labels are in use."""
    height, width = rows.shape
    for y in range(height):
        here, out = rows[y], labels[y]
        above = ids_above if y == 0 else rows[y - 1]
        out_above = labels_above if y == 0 else labels[y - 1]
        for x in range(width):
            value = here[x]
            if value == 0:
                out[x] = 0
                continue
            joins_left = x > 0 and here[x - 1] == value
            joins_above = above[x] == value
            if joins_left:
                out[x] = out[x - 1]
                # With the voxel above on the left alike, the two were joined one step ago.
                if joins_above and out_above[x] != out[x] and above[x - 1] != value:
                    left, up = _root(parents, out[x]), _root(parents, out_above[x])
                    parents[max(left, up)] = min(left, up)
            elif joins_above:
                out[x] = out_above[x]
            else:
                parents[used] = used
                out[x] = used
                used += 1
    return used
