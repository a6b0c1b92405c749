from __future__ import annotations

from fractions import Fraction
from unittest import mock

import numpy as np
import pytest
from affinity_cases import specs
from hypothesis import given, settings
from hypothesis import strategies as st

from emds.errors import DataError, UsageError
from emds.segmentation.affinities import AffinitySpec
from emds.segmentation.after.small_segments import absorb_small_segments
from emds.segmentation.relabel import relabel_by_first_voxel

ROW = AffinitySpec(((0, 0, 1), (0, 0, 2)), (True, False))


def reference_absorb_small_segments(labels, affinities, spec, min_size):
    labels = relabel_by_first_voxel(labels)
    while True:
        sizes = {i: int((labels == i).sum()) for i in np.unique(labels[labels > 0]).tolist()}
        for segment in sorted(sizes, key=lambda i: (sizes[i], i)):
            neighbours = mean_affinities(labels, affinities, spec, segment)
            if sizes[segment] < min_size and neighbours:
                best = min(neighbours, key=lambda i: (-neighbours[i], i))
                labels[labels == segment] = best
                break
        else:
            return relabel_by_first_voxel(labels)


def mean_affinities(labels, affinities, spec, segment):
    values = {}
    for channel, offset in enumerate(spec.offsets):
        for voxel in np.ndindex(labels.shape):
            partner = tuple(v + o for v, o in zip(voxel, offset, strict=True))
            inside = all(0 <= p < n for p, n in zip(partner, labels.shape, strict=True))
            if not (spec.attractive[channel] and inside):
                continue
            pair = {int(labels[voxel]), int(labels[partner])}
            if segment in pair and 0 not in pair and len(pair) == 2:
                (other,) = pair - {segment}
                values.setdefault(other, []).append(int(affinities[(channel, *voxel)]))
    return {other: Fraction(sum(found), len(found)) for other, found in values.items()}


@given(
    spec=specs(),
    seed=st.integers(0, 2**32 - 1),
    ids=st.integers(1, 30),
    levels=st.integers(1, 256),
    min_size=st.integers(0, 12),
    at_once=st.sampled_from([1, 5, 2**17]),
)
@settings(deadline=None, max_examples=50)
def test_equals_the_reference(spec, seed, ids, levels, min_size, at_once):
    rng = np.random.default_rng(seed)
    shape = (2, 4, 5)
    labels = rng.integers(0, ids + 1, shape, dtype=np.uint64)
    affinities = rng.integers(0, levels, (spec.channels, *shape)).astype(np.uint8)
    with mock.patch("emds.segmentation.after.small_segments._CONTACTS_AT_ONCE", at_once):
        found = absorb_small_segments(labels, affinities, spec, min_size)
    expected = reference_absorb_small_segments(labels, affinities, spec, min_size)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("labels", "affinity", "min_size", "expected"),
    [
        ([1, 1, 2, 3, 3], [9, 80, 90, 9, 0], 2, [1, 1, 2, 2, 2]),  # the stronger neighbour
        ([1, 1, 2, 3, 3], [9, 90, 90, 9, 0], 2, [1, 1, 1, 2, 2]),  # a tie: the lower id
        ([1, 2, 3, 4, 4], [9, 90, 91, 9, 0], 3, [1, 1, 1, 1, 1]),  # 1→2, then 12→3, then →4
        ([1, 1, 2, 0, 3], [9, 50, 90, 90, 0], 2, [1, 1, 1, 0, 2]),  # 3 has nobody to join
        ([1, 0, 1, 2, 2], [0, 0, 0, 0, 0], 0, [1, 0, 1, 2, 2]),
    ],
)
def test_small_segments_join_their_best_neighbour(labels, affinity, min_size, expected):
    volume = np.array([[labels]], dtype=np.uint64)
    affinities = np.array([[[affinity]], [[[255] * 5]]], dtype=np.uint8)
    before = volume.copy(), affinities.copy()
    joined = absorb_small_segments(volume, affinities, ROW, min_size)
    assert joined.ravel().tolist() == expected
    np.testing.assert_array_equal(volume, before[0])
    np.testing.assert_array_equal(affinities, before[1])


def test_segments_stay_in_their_sections_if_the_partners_do():
    labels = np.array([[[1, 1]], [[2, 0]]], dtype=np.uint64)
    affinities = np.full((2, 2, 1, 2), 255, dtype=np.uint8)
    planar = AffinitySpec(((0, 0, 1), (1, 0, 0)), (True, False))
    through = AffinitySpec(((0, 0, 1), (1, 0, 0)), (True, True))
    assert absorb_small_segments(labels, affinities, planar, 2).tolist() == [[[1, 1]], [[2, 0]]]
    assert absorb_small_segments(labels, affinities, through, 2).tolist() == [[[1, 1]], [[1, 0]]]


def test_ids_of_any_size_are_renumbered_by_first_voxel():
    labels = np.array([[[1 << 63, 7, 0, 1 << 63]]], dtype=np.uint64)
    assert relabel_by_first_voxel(labels).ravel().tolist() == [1, 2, 0, 1]
    assert relabel_by_first_voxel(labels[..., :2]).ravel().tolist() == [1, 2]
    assert relabel_by_first_voxel(labels[..., :0]).shape == (1, 1, 0)


def test_what_does_not_fit_is_refused():
    labels = np.ones((1, 2, 2), dtype=np.uint64)
    with pytest.raises(DataError, match="do not fit"):
        absorb_small_segments(labels, np.zeros((2, 1, 2, 3), np.uint8), ROW, 2)
    with pytest.raises(UsageError, match="0 or more"):
        absorb_small_segments(labels, np.zeros((2, 1, 2, 2), np.uint8), ROW, -1)
