"""A bias moves logits, exactly where it should and nowhere else."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emds.segmentation.affinities import AffinitySpec, quantize
from emds.segmentation.bias import add_to_logits, offset_groups
from emds.segmentation.offset_sets import OFFSET_SETS


def test_it_is_added_to_the_logit_of_its_channel():
    bias = [-2.5, 0.0, 0.5, 4.0]
    logits = np.random.default_rng(0).normal(0, 3, (4, 3, 5, 7))
    values = (1 / (1 + np.exp(-logits))).astype(np.float32)
    before = values.copy()
    expected = 1 / (1 + np.exp(-(logits + np.reshape(bias, (4, 1, 1, 1)))))
    np.testing.assert_allclose(add_to_logits(values, bias), expected, rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(values, before)
    np.testing.assert_array_equal(add_to_logits(values, bias)[1], values[1])
    np.testing.assert_array_equal(add_to_logits(values, ()), values)


@given(st.lists(st.floats(0, 1, width=32), max_size=40), st.floats(-20, 20))
def test_probabilities_stay_such_and_keep_their_order(values, bias):
    row = np.array(sorted([0.0, *values, 1.0]), np.float32).reshape(1, 1, 1, -1)
    shifted = add_to_logits(row, [bias])
    assert (np.diff(quantize(shifted).astype(int)) >= 0).all()
    assert shifted.flat[0] == 0
    assert shifted.flat[-1] == 1


UPWARDS = AffinitySpec(((1, 0, 0), (0, 1, 0), (0, 5, 0), (2, -3, 0)), (True, True, False, False))
SPECS = {**OFFSET_SETS, "upwards": UPWARDS}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_groups_part_the_channels_by_kind(spec):
    groups = offset_groups(spec)
    assert sorted(sum(groups.values(), ())) == list(range(spec.channels))
    for name, channels in groups.items():
        for channel in channels:
            assert spec.attractive[channel] == name.startswith("attraction")
            assert (spec.offsets[channel][0] != 0) == name.endswith("across")
    assert ("mutex across" in groups) == (not spec.planar)


def test_what_attraction_gains_and_mutexes_lose_changes_no_order():
    """Why one group of offsets can stand still while the biases of the others are chosen."""
    spec = AffinitySpec(((0, 0, -1), (0, 0, -9)), (True, False))
    logits = np.random.default_rng(0).permutation(np.arange(-40, 40)).reshape(2, 1, 1, 40) / 10
    logits[1] += 0.05  # attraction and mutexes have no weight in common: no tie to break
    values = (1 / (1 + np.exp(-logits))).astype(np.float32)

    def order(affinities):
        strengths = np.where(np.reshape(spec.attractive, (2, 1, 1, 1)), affinities, 1 - affinities)
        return strengths.ravel().argsort(kind="stable")

    np.testing.assert_array_equal(order(add_to_logits(values, [0.7, -0.7])), order(values))
    assert (order(add_to_logits(values, [0.7, 0.0])) != order(values)).any()
