"""Mutex constraints: which clusters must stay apart.

A constraint is kept twice. A hash table of root pairs answers "may these two merge?" at once,
and a linked list per root says which pairs a cluster hands on when it is merged into another.
Pairs that name a root merged away stay behind in the table until it is rebuilt; nobody asks
for them again.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emds.kernels import njit

END_OF_LIST = 0xFFFFFFFF
FREE = 0  # no pair has this key, since the larger of two different roots is not 0
PAIRS, NODES = 0, 1  # positions in `Constraints.used`
MIXER = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: spreads consecutive keys


class Constraints(NamedTuple):
    """Constraints between the clusters of a union-find.

    Attributes
    ----------
    table : (a power of two,) uint64
        Open-addressing hash of pair keys.
    partners, following : (list nodes,) uint32
        A voxel of the cluster to stay apart from, and the next node of the same list.
    heads, lengths : (voxels,) uint32
        First node and length of the list of each root.
    used : (2,) int64
        Pairs in the table, nodes in the lists.
    """

    table: NDArray[np.uint64]
    partners: NDArray[np.uint32]
    following: NDArray[np.uint32]
    heads: NDArray[np.uint32]
    lengths: NDArray[np.uint32]
    used: NDArray[np.int64]


@njit()
def no_constraints(voxels: int, expected: int) -> Constraints:
    """Return an empty store with room for about `expected` constraints."""
    slots = 1 << 10
    while slots < 2 * expected:
        slots *= 2
    return Constraints(
        np.zeros(slots, dtype=np.uint64),
        np.empty(slots, dtype=np.uint32),
        np.empty(slots, dtype=np.uint32),
        np.full(voxels, END_OF_LIST, dtype=np.uint32),
        np.zeros(voxels, dtype=np.uint32),
        np.zeros(2, dtype=np.int64),
    )


@njit(inline="always")
def pair_key(a: Any, b: Any) -> Any:
    """Return the one number that stands for the unordered pair of roots."""
    return (np.uint64(min(a, b)) << np.uint64(32)) | np.uint64(max(a, b))


@njit(inline="always")
def slot_of(table: NDArray[np.uint64], key: Any) -> Any:
    """Return the slot that holds `key`, or the free one where it belongs."""
    last = np.uint64(table.size - 1)
    mixed = key * MIXER
    slot = (mixed ^ (mixed >> np.uint64(32))) & last
    while table[slot] != key and table[slot] != FREE:
        slot = (slot + np.uint64(1)) & last
    return slot


@njit(inline="always")
def forbidden(constraints: Constraints, a: Any, b: Any) -> Any:
    """Say whether the clusters with the roots `a` and `b` must stay apart."""
    if constraints.lengths[a] == 0 or constraints.lengths[b] == 0:
        return False
    table = constraints.table
    return table[slot_of(table, pair_key(a, b))] != FREE


@njit(inline="always")
def has_room(constraints: Constraints, pairs: Any) -> Any:
    """Say whether so many more constraints fit."""
    return (
        8 * (constraints.used[PAIRS] + pairs) <= 5 * constraints.table.size
        and constraints.used[NODES] + 2 * pairs <= constraints.partners.size
    )


@njit(inline="always")
def forbid(constraints: Constraints, a: Any, b: Any) -> None:
    """Record that the clusters with the roots `a` and `b` must stay apart."""
    if not _enter(constraints, a, b):
        return
    node = constraints.used[NODES]
    constraints.used[NODES] = node + 2
    _push(constraints, a, node, b)
    _push(constraints, b, node + 1, a)


@njit()
def inherit(constraints: Constraints, parents: NDArray[np.uint32], heir: int, gone: int) -> None:
    """Hand the constraints of the root `gone` to `heir`, into which it was just merged."""
    node = np.int64(constraints.heads[gone])
    while node != END_OF_LIST:
        following = np.int64(constraints.following[node])
        other = np.int64(constraints.partners[node])
        while np.int64(parents[other]) != other:
            other = np.int64(parents[other])
        if _enter(constraints, heir, other):
            _push(constraints, heir, node, other)
        node = following


@njit()
def enlarged(constraints: Constraints, parents: NDArray[np.uint32], pairs: int) -> Constraints:
    """Return the same constraints with room for so many more, without the outdated pairs."""
    table = constraints.table
    alive = 0
    for slot in range(table.size):
        if _is_alive(parents, table[slot]):
            alive += 1
    slots = table.size
    while 3 * (alive + pairs) > slots:
        slots *= 2
    larger = np.zeros(slots, dtype=np.uint64)
    for slot in range(table.size):
        if _is_alive(parents, table[slot]):
            larger[slot_of(larger, table[slot])] = table[slot]

    partners, following = constraints.partners, constraints.following
    nodes = constraints.used[NODES]
    if nodes + 2 * pairs > partners.size:
        capacity = 2 * partners.size + 2 * pairs
        partners = np.empty(capacity, dtype=np.uint32)
        partners[:nodes] = constraints.partners[:nodes]
        following = np.empty(capacity, dtype=np.uint32)
        following[:nodes] = constraints.following[:nodes]
    used = np.array([alive, nodes])
    return Constraints(larger, partners, following, constraints.heads, constraints.lengths, used)


@njit(inline="always")
def _is_alive(parents: NDArray[np.uint32], key: Any) -> Any:
    low, high = np.int64(key >> np.uint64(32)), np.int64(key & np.uint64(0xFFFFFFFF))
    return key != FREE and parents[low] == low and parents[high] == high


@njit(inline="always")
def _enter(constraints: Constraints, a: Any, b: Any) -> Any:
    """Enter the pair into the table; say whether it was new."""
    key = pair_key(a, b)
    slot = slot_of(constraints.table, key)
    if constraints.table[slot] != FREE:
        return False
    constraints.table[slot] = key
    constraints.used[PAIRS] += 1
    return True


@njit(inline="always")
def _push(constraints: Constraints, root: Any, node: Any, partner: Any) -> None:
    constraints.partners[node] = partner
    constraints.following[node] = constraints.heads[root]
    constraints.heads[root] = node
    constraints.lengths[root] += 1
