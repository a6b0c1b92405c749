from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from elf.evaluation import cremi_score as elf_scores
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference_scores import reference_rand, reference_voi, voronoi_labels
from skimage.metrics import adapted_rand_error, variation_of_information

from emds.errors import DataError
from emds.metrics import CONVENTIONS, ContingencyTable, scores


def score(seg, gt, convention="cremi"):
    table = ContingencyTable()
    table.add(gt, seg)
    return scores(table, convention)


def noisy_copy(labels, seed, fraction=0.1, zero=False):
    rng = np.random.default_rng(seed)
    other = rng.integers(0 if zero else 1, 40, labels.shape).astype(np.uint64)
    return np.where(rng.random(labels.shape) < fraction, other, labels)


small_labels = hnp.arrays(np.uint64, st.just((24,)), elements=st.integers(0, 4))


@settings(max_examples=200, deadline=None)
@given(small_labels, small_labels, st.sampled_from(CONVENTIONS))
def test_equals_brute_force(gt, seg, convention):
    assume(gt.any())
    result = score(seg, gt, convention)
    split, merge = reference_voi(gt, seg)
    arand, precision, recall = reference_rand(gt, seg, convention)
    assert result.voi_split == pytest.approx(split, abs=1e-12)
    assert result.voi_merge == pytest.approx(merge, abs=1e-12)
    assert result.voi == pytest.approx(split + merge, abs=1e-12)
    assert result.arand == pytest.approx(arand, abs=1e-12)
    assert result.precision == pytest.approx(precision, abs=1e-12)
    assert result.recall == pytest.approx(recall, abs=1e-12)
    assert result.cremi_score == pytest.approx((arand * (split + merge)) ** 0.5, abs=1e-7)


@settings(deadline=None)
@given(small_labels, st.permutations(range(1, 5)), st.sampled_from(CONVENTIONS))
def test_a_perfect_segmentation_scores_exactly_0_whatever_its_names(gt, names, convention):
    assume(gt.any())
    far = np.array([2**40, *(2**40 + name for name in names)], dtype=np.uint64)
    result = score(far[gt], gt, convention)
    assert (result.voi, result.arand, result.cremi_score) == (0, 0, 0)
    assert (result.precision, result.recall) == (1, 1)


@settings(deadline=None)
@given(
    hnp.arrays(np.uint64, 24, elements=st.integers(1, 4)),
    hnp.arrays(np.uint64, 24, elements=st.integers(1, 4)),
    st.sampled_from(CONVENTIONS),
)
def test_swapping_the_sides_swaps_split_with_merge_and_precision_with_recall(a, b, convention):
    forth, back = score(a, b, convention), score(b, a, convention)
    assert (forth.voi_split, forth.voi_merge) == (back.voi_merge, back.voi_split)
    assert (forth.precision, forth.recall) == (back.recall, back.precision)
    assert forth.arand == back.arand


@settings(deadline=None)
@given(small_labels, small_labels, st.randoms())
def test_the_order_of_voxels_and_names_does_not_change_a_bit(gt, seg, random):
    assume(gt.any())
    order = list(range(gt.size))
    random.shuffle(order)
    renamed = np.array([0, 90, 7, 2**50, 13], dtype=np.uint64)[seg]
    assert score(renamed[order], gt[order]) == score(seg, gt)


def test_what_lies_on_ground_truth_0_is_ignored():
    gt = np.array([0, 0, 0, 1, 1, 2])
    seg = np.array([1, 2, 3, 1, 1, 2])
    assert score(seg, gt).voi == score(seg, gt).arand == 0


# Ground truth 1 1 2 2 2 2 2 2, halves of object 2 are apart in the segmentation: 1 1 2 2 2 3 3 3.
def test_a_split_costs_split_voi_and_recall():
    result = score(np.repeat([1, 2, 3], [2, 3, 3]), np.repeat([1, 2], [2, 6]))
    assert (result.voi_split, result.voi_merge) == (0.75, 0.0)
    assert (result.precision, result.recall) == (1.0, 22 / 40)


# The segmentation joins two objects of 4 voxels: each voxel's object takes 1 bit to name.
def test_a_merge_costs_merge_voi_and_precision():
    result = score(np.full(8, 9), np.repeat([1, 2], 4))
    assert (result.voi_split, result.voi_merge) == (0.0, 1.0)
    assert (result.precision, result.recall) == (0.5, 1.0)
    assert result.arand == pytest.approx(1 / 3)


# Ground truth 1 1 1 1; the segmentation leaves the last two at 0.
def test_unsegmented_voxels_are_single_objects_under_cremi_and_one_object_under_skimage():
    gt, seg = np.ones(4, int), np.array([1, 1, 0, 0])
    assert score(seg, gt, "cremi").recall == (4 + 1 + 1) / 16
    assert score(seg, gt, "skimage").recall == (2 + 2) / 12
    assert score(seg, gt, "cremi").voi_split == score(seg, gt, "skimage").voi_split == 1.0


@pytest.mark.parametrize("seed", range(3))
def test_cremi_equals_elf(seed):
    gt = voronoi_labels((6, 40, 40), 40, seed)
    gt[gt < 3] = 0
    seg = noisy_copy(voronoi_labels((6, 40, 40), 50, seed + 10), seed)
    result = score(seg, gt, "cremi")
    split, merge, arand, cremi = elf_scores(seg, gt, ignore_gt=[0])
    ours = (result.voi_split, result.voi_merge, result.arand, result.cremi_score)
    np.testing.assert_allclose(ours, (split, merge, arand, cremi), rtol=0, atol=1e-9)


@pytest.mark.parametrize("seed", range(3))
def test_skimage_convention_equals_scikit_image_with_unsegmented_voxels_too(seed):
    gt = voronoi_labels((6, 40, 40), 40, seed)
    gt[gt < 3] = 0
    seg = noisy_copy(voronoi_labels((6, 40, 40), 50, seed + 10), seed, zero=True)
    seg[:, :5] = 0
    result = score(seg, gt, "skimage")
    split, merge = variation_of_information(gt, seg, ignore_labels=(0,))
    # scikit-image names them in the opposite order of its documentation.
    arand, recall, precision = adapted_rand_error(gt, seg, ignore_labels=(0,))
    ours = (result.voi_split, result.voi_merge, result.arand, result.precision, result.recall)
    np.testing.assert_allclose(ours, (split, merge, arand, precision, recall), rtol=0, atol=1e-9)


def test_ids_that_differ_above_bit_32_are_told_apart():
    gt = np.array([2**40, 2**40, 2**41, 2**41], dtype=np.uint64)
    result = score(gt + np.uint64(2**33), gt)
    assert result.voi == 0
    assert score(np.full(4, 2**33, np.uint64), gt).voi_merge == 1.0


def test_objects_of_one_voxel_join_nothing():
    result = score(np.array([1, 2]), np.array([3, 4]), "skimage")
    assert (result.arand, result.precision, result.recall) == (0, 1, 1)


def test_counts_whose_squares_overflow_64_bits():
    table = ContingencyTable()
    one = np.array([1], dtype=np.uint64)
    for seg_id in (1, 2):
        table.add_counts(one, one * np.uint64(seg_id), np.array([10**10]))
    result = scores(table)
    assert result.voi_split == 1.0
    assert result.recall == 0.5


def test_ground_truth_without_objects_is_refused():
    with pytest.raises(DataError, match="every voxel is 0"):
        score(np.ones(4, int), np.zeros(4, int))


def test_scores_are_plain_numbers():
    values = dataclasses.asdict(score(np.array([1, 2, 2]), np.array([1, 1, 2]))).values()
    assert {type(value) for value in values} == {float}
