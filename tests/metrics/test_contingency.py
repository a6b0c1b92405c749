from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_scores import reference_counts

from emds.errors import DataError
from emds.metrics import ContingencyTable


def as_dict(table):
    gt_ids, seg_ids, counts = table.counts()
    keys = zip(gt_ids.tolist(), seg_ids.tolist(), strict=True)
    return dict(zip(keys, counts.tolist(), strict=True))


def filled(gt, seg):
    table = ContingencyTable()
    table.add(gt, seg)
    return table


ids = st.sampled_from([0, 1, 2, 255, 256, 2**32, 2**32 + 1, 2**40, 2**63, 2**64 - 1])
voxels = st.lists(st.tuples(ids, ids), max_size=60)


@settings(deadline=None)  # the first example compiles
@given(voxels)
def test_counts_every_pair_of_full_64_bit_ids(pairs):
    gt = np.array([g for g, _ in pairs], dtype=np.uint64)
    seg = np.array([s for _, s in pairs], dtype=np.uint64)
    assert as_dict(filled(gt, seg)) == dict(reference_counts(gt, seg))


@settings(deadline=None)  # the first example compiles
@given(voxels, st.lists(st.integers(0, 60), max_size=3).map(sorted))
def test_any_cut_into_slabs_merged_in_any_order_gives_the_table_of_the_whole(pairs, cuts):
    gt = np.array([g for g, _ in pairs], dtype=np.uint64)
    seg = np.array([s for _, s in pairs], dtype=np.uint64)
    slabs = zip(np.split(gt, cuts), np.split(seg, cuts), strict=True)
    parts = [filled(gt_slab, seg_slab) for gt_slab, seg_slab in slabs]
    forward, backward = ContingencyTable(), ContingencyTable()
    for part in parts:
        forward.merge(part)
    for part in reversed(parts):
        backward.merge(part)
    whole = filled(gt, seg).counts()
    for table in (forward, backward):
        for column, expected in zip(table.counts(), whole, strict=True):
            np.testing.assert_array_equal(column, expected)


@pytest.mark.parametrize("low_bits", [False, True])
def test_grows_to_many_pairs_whose_ids_differ_only_in_high_or_low_bits(low_bits):
    count = 50_000
    gt = np.arange(count, dtype=np.uint64)
    if not low_bits:
        gt <<= np.uint64(40)
    seg = gt[::-1].copy()
    table = filled(np.repeat(gt, 2), np.repeat(seg, 2))
    assert len(table) == count
    held_gt, held_seg, counts = table.counts()
    np.testing.assert_array_equal(held_gt, gt)
    np.testing.assert_array_equal(held_seg, seg)
    assert (counts == 2).all()


def test_merge_grows_the_table_and_leaves_the_other_alone():
    many = np.arange(5000)
    other = filled(many, many)
    table = filled(np.array([1, 1]), np.array([1, 2]))
    table.merge(other)
    assert len(table) == 5001
    assert as_dict(table)[1, 1] == 2
    assert as_dict(other) == {(i, i): 1 for i in range(5000)}


@pytest.mark.parametrize("gt_type", ["u1", "i2", ">u4", "i8", "u8", "?"])
@pytest.mark.parametrize("seg_type", ["i1", ">i2", "u8"])
def test_integer_types_mix_freely(gt_type, seg_type):
    gt = np.array([[0, 1, 1], [1, 0, 0]]).astype(gt_type)
    seg = np.array([[5, 5, 6], [6, 6, 127]]).astype(seg_type)
    assert as_dict(filled(gt, seg)) == {(0, 5): 1, (0, 6): 1, (0, 127): 1, (1, 5): 1, (1, 6): 2}


def test_strided_input_is_counted_as_it_looks_and_not_changed():
    gt = np.arange(24).reshape(2, 3, 4).transpose(2, 0, 1)
    seg = np.zeros((4, 2, 3), dtype=int)
    before = gt.copy()
    assert as_dict(filled(gt, seg)) == {(i, 0): 1 for i in range(24)}
    np.testing.assert_array_equal(gt, before)


def test_shapes_must_agree():
    with pytest.raises(DataError, match=r"\(2,\) and \(3,\)"):
        filled(np.zeros(2, int), np.zeros(3, int))


def test_floats_are_refused():
    with pytest.raises(DataError, match="segmentation must hold integer ids, not float32"):
        filled(np.zeros(2, int), np.zeros(2, np.float32))


def test_negative_ids_are_refused():
    with pytest.raises(DataError, match="ground truth holds the negative id -7"):
        filled(np.array([3, -7]), np.array([1, 1]))


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 2000))
def test_long_runs_count_every_voxel(length):
    gt = np.repeat([1, 2], [length, 1])
    assert as_dict(filled(gt, np.ones_like(gt))) == {(1, 1): length, (2, 1): 1}
