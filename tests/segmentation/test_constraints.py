from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from emds.segmentation.watershed.constraints import (
    enlarged,
    forbid,
    forbidden,
    has_room,
    inherit,
    no_constraints,
)
from emds.segmentation.watershed.union_find import dense_labels, find, singletons

VOXELS = 12
EVENTS = st.lists(
    st.tuples(st.booleans(), st.integers(0, VOXELS - 1), st.integers(0, VOXELS - 1)), max_size=60
)


@given(events=EVENTS, rebuild_every=st.integers(1, 10))
@settings(deadline=None)
def test_merged_clusters_keep_each_others_constraints(events, rebuild_every):
    parents = singletons(VOXELS)
    constraints = no_constraints(VOXELS, 4)
    apart = set()  # voxel pairs that somebody forbade
    for number, (merges, one, other) in enumerate(events):
        a, b = find(parents, one), find(parents, other)
        if a == b:
            continue
        if merges and not forbidden(constraints, a, b):
            parents[b] = a
            inherit(constraints, parents, a, b)
        elif not merges:
            forbid(constraints, a, b)
            apart.add((one, other))
        if number % rebuild_every == 0:
            constraints = enlarged(constraints, parents, 1)

    root = [find(parents, voxel) for voxel in range(VOXELS)]
    expected = {frozenset((root[one], root[other])) for one, other in apart}
    found = {
        frozenset((a, b))
        for a in set(root)
        for b in set(root)
        if a != b and forbidden(constraints, a, b)
    }
    assert found == expected


def test_a_full_store_grows_and_keeps_everything():
    count = 5000
    parents = singletons(2 * count)
    constraints = no_constraints(2 * count, 1)
    growths = 0
    for number in range(count):
        if not has_room(constraints, 1):
            constraints = enlarged(constraints, parents, 1)
            growths += 1
        forbid(constraints, number, number + count)
    assert growths > 2, "test invalid"
    assert has_room(enlarged(constraints, parents, 10**6), 10**6)
    assert all(forbidden(constraints, number, number + count) for number in range(count))
    assert not any(forbidden(constraints, number, number + 1) for number in range(count - 1))


def test_labels_count_on_from_the_last_id():
    parents = np.array([2, 1, 2, 1, 4], dtype=np.uint32)
    labels = np.empty(5, dtype=np.uint64)
    mask = np.array([True, True, True, True, False])
    assert dense_labels(parents, mask, labels, 10) == 12
    assert labels.tolist() == [11, 12, 11, 12, 0]
