"""Union-find: which voxels have been merged so far.

Each voxel points to its parent, a root to itself; a cluster is a tree and its root is its name.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emds.kernels import njit


@njit()
def singletons(voxels: int) -> NDArray[np.uint32]:
    """Return the parents of `voxels` clusters of one voxel each."""
    return np.arange(voxels).astype(np.uint32)


@njit(inline="always")
def find(parents: NDArray[Any], voxel: Any) -> Any:
    """Return the root of the cluster of `voxel`, halving the path on the way."""
    node = np.int64(voxel)
    parent = np.int64(parents[node])
    while parent != node:
        grandparent = np.int64(parents[parent])
        parents[node] = grandparent
        node = grandparent
        parent = np.int64(parents[node])
    return node


@njit()
def dense_labels(
    parents: NDArray[np.uint32], mask: NDArray[np.bool_], labels: NDArray[Any], last: int
) -> int:
    """Write the number of its cluster to each voxel, in order of first voxel.

    Parameters
    ----------
    parents : (voxels,) uint32
        The clusters.
    mask : (voxels,) or (0,) bool
        False voxels get label 0; an empty mask excludes none.
    labels : (voxels,) uint32 or uint64
        Where the labels are written.
    last : int
        The largest id in use already.

    Returns
    -------
    int
        The largest id in use afterwards.
    """
    label_of = np.zeros(parents.size, dtype=np.uint32)
    count = 0
    for voxel in range(parents.size):
        if mask.size > 0 and not mask[voxel]:
            labels[voxel] = 0
            continue
        root = find(parents, voxel)
        if label_of[root] == 0:
            count += 1
            label_of[root] = count
        labels[voxel] = last + label_of[root]
    return last + count


@njit()
def unite(parents: NDArray[Any], pairs: NDArray[Any]) -> None:
    """Unite the clusters of each pair, in place; the smallest member becomes the root.

    Parameters
    ----------
    parents : (members,) unsigned int
        The clusters, each with its smallest member as the root.
    pairs : (pairs, 2) unsigned int
        Members.
    """
    for number in range(len(pairs)):
        a, b = find(parents, pairs[number, 0]), find(parents, pairs[number, 1])
        parents[max(a, b)] = min(a, b)


@njit()
def roots_of(parents: NDArray[Any]) -> NDArray[Any]:
    """Return the root of every member."""
    roots = np.empty_like(parents)
    for member in range(parents.size):
        roots[member] = find(parents, member)
    return roots


@njit()
def smallest_members(parents: NDArray[Any]) -> NDArray[Any]:
    """Return, for every member, the smallest member of its cluster."""
    smallest = np.empty_like(parents)
    first_of_root = np.full_like(parents, parents.size)
    for member in range(parents.size):
        root = find(parents, member)
        first_of_root[root] = min(first_of_root[root], member)
        smallest[member] = first_of_root[root]
    return smallest
