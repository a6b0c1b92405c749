from __future__ import annotations

import json

import numpy as np
import pytest

from emds.errors import DataError, UsageError
from emds.segmentation.affinities import (
    PAPER_OFFSETS,
    PAPER_SPEC,
    AffinitySpec,
    affinities_from_labels,
    quantize,
)


def test_the_paper_predicts_ten_partners_within_the_section():
    assert PAPER_OFFSETS == (
        (0, -1, 0), (0, 0, -1), (0, -3, 0), (0, 0, -3), (0, -5, 0),
        (0, 0, -5), (0, -9, 0), (0, 0, -9), (0, -15, 0), (0, 0, -15),
    )  # fmt: skip
    assert PAPER_SPEC.planar
    assert PAPER_SPEC.attractive == (True, True) + (False,) * 8


@pytest.mark.parametrize(
    ("offsets", "attractive", "message"),
    [
        (((0, 0, 1), (0, 1, 0)), (True,), "2 offsets and 1 flags"),
        (((0, 0, 1),), (False,), "no offset is attractive"),
        (((0, 0, 1), (0, 0, 0)), (True, False), "offset 1 is"),
        (((0, 1),), (True,), "offset 0 is"),
        (((0, 0, 1), (0, 0, 1)), (True, False), "given twice"),
    ],
)
def test_a_spec_that_makes_no_sense_is_refused(offsets, attractive, message):
    with pytest.raises(UsageError, match=message):
        AffinitySpec(offsets, attractive)


def test_a_spec_survives_json():
    assert AffinitySpec.from_dict(json.loads(json.dumps(PAPER_SPEC.to_dict()))) == PAPER_SPEC


@pytest.mark.parametrize(
    "stored",
    [
        {},
        {"offsets": [[0, 1]], "attractive": [True]},
        {"offsets": 3, "attractive": [True]},
        {"offsets": [[0, 0, 1]], "attractive": [False]},
        {"offsets": [[0, 0, 1]], "attractive": [True], "convention": "1 = boundary"},
    ],
)
def test_a_stored_description_that_is_wrong_is_refused(stored):
    with pytest.raises(DataError):
        AffinitySpec.from_dict(stored)


#    z = 0      z = 1
#   1 1 2      1 2 2
#   1 0 0      1 1 0
LABELS = np.array([[[1, 1, 2], [1, 0, 0]], [[1, 2, 2], [1, 1, 0]]], dtype=np.uint64)


@pytest.mark.parametrize(
    ("offset", "same", "valid"),
    [
        ((0, 0, -1), [[[0, 1, 0], [0, 0, 0]], [[0, 0, 1], [0, 1, 0]]], [[[0, 1, 1]] * 2] * 2),
        ((0, 1, 0), [[[1, 0, 0], [0, 0, 0]], [[1, 0, 0], [0, 0, 0]]], [[[1] * 3, [0] * 3]] * 2),
        ((-1, 0, 0), [[[0] * 3] * 2, [[1, 0, 1], [1, 0, 0]]], [[[0] * 3] * 2, [[1] * 3] * 2]),
        ((1, -1, 1), [[[0] * 3, [0, 0, 0]], [[0] * 3] * 2], [[[0] * 3, [1, 1, 0]], [[0] * 3] * 2]),
        ((0, 0, 7), np.zeros((2, 2, 3)), np.zeros((2, 2, 3))),
        ((-7, 0, 0), np.zeros((2, 2, 3)), np.zeros((2, 2, 3))),
    ],
)
def test_affinities_compare_each_voxel_with_its_partner(offset, same, valid):
    found_same, found_valid = affinities_from_labels(LABELS, [offset])
    np.testing.assert_array_equal(found_same[0], np.array(same, dtype=bool))
    np.testing.assert_array_equal(found_valid[0], np.array(valid, dtype=bool))


def test_background_pairs_with_itself_only_when_it_is_ordinary():
    none, _ = affinities_from_labels(LABELS, [(0, 0, 1)])
    ordinary, _ = affinities_from_labels(LABELS, [(0, 0, 1)], background="ordinary")
    assert np.argwhere(none != ordinary).tolist() == [[0, 0, 1, 1]]
    assert ordinary[0, 0, 1, 1]


def test_ids_that_differ_beyond_32_bits_are_different():
    row = np.array([[[1, 1 + (1 << 32), 1 + (1 << 32)]]], dtype=np.uint64)
    same, _ = affinities_from_labels(row, [(0, 0, 1)])
    assert same[0, 0, 0].tolist() == [False, True, False]


@pytest.mark.parametrize("labels", [np.zeros((3, 3), np.uint8), np.zeros((1, 3, 3), np.int64)])
def test_labels_that_are_no_labels_are_refused(labels):
    with pytest.raises(DataError, match="labels must be"):
        affinities_from_labels(labels, PAPER_OFFSETS)


def test_quantize_rounds_every_level_to_itself():
    levels = np.arange(256, dtype=np.uint8)
    for dtype in (np.float32, np.float64):
        np.testing.assert_array_equal(quantize((levels / 255).astype(dtype)), levels)
        np.testing.assert_array_equal(
            quantize(((levels[1:] - 0.49) / 255).astype(dtype)), levels[1:]
        )


@pytest.mark.parametrize(
    ("value", "message"), [(np.nan, "NaN"), (-0.01, "sigmoid"), (1.01, "sigmoid"), (np.inf, "inf")]
)
def test_quantize_refuses_what_is_no_probability(value, message):
    with pytest.raises(DataError, match=message):
        quantize(np.array([0.5, value, 0.5]))


def test_quantize_refuses_integers():
    with pytest.raises(DataError, match="uint8"):
        quantize(np.zeros(3, dtype=np.uint8))
