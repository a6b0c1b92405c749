"""Dense ids in order of first voxel: the one numbering that depends on the partition alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emds.kernels import njit


def relabel_by_first_voxel(labels: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """Renumber segments 1..n in order of their first voxel (row-major); 0 stays 0.

    Parameters
    ----------
    labels : (Z, Y, X) uint64
        Ids of any size.

    Examples
    --------
    >>> relabel_by_first_voxel(np.array([[[9, 0, 4, 9, 1 << 60]]], dtype=np.uint64)).tolist()
    [[[1, 0, 2, 1, 3]]]
    """
    largest = int(labels.max(initial=0))
    if largest > labels.size:
        ids, number = np.unique(labels, return_inverse=True)
        labels = number.astype(np.uint64) + np.uint64(ids[0] != 0)
        largest = ids.size
    return _renumber(np.ascontiguousarray(labels).reshape(-1), largest).reshape(labels.shape)


@njit()
def _renumber(labels: NDArray[np.uint64], largest: int) -> NDArray[np.uint64]:
    new_id = np.zeros(largest + 1, dtype=np.uint64)
    renumbered = np.zeros(labels.size, dtype=np.uint64)
    last = 0
    for voxel in range(labels.size):
        label = labels[voxel]
        if label == 0:
            continue
        if new_id[label] == 0:
            last += 1
            new_id[label] = last
        renumbered[voxel] = new_id[label]
    return renumbered
