"""Means and modes against windows done by hand, and the laws they obey."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference_pyramid import reference_mean, reference_mode

from emds.pyramid import mean_of_windows, mode_of_windows

FACTORS = [(2, 2, 2), (1, 2, 2), (1, 1, 2), (2, 1, 1), (1, 1, 1)]
SHAPES = hnp.array_shapes(min_dims=3, max_dims=3, min_side=1, max_side=6)


def arrays(dtype, low, high):
    return hnp.arrays(dtype, SHAPES, elements=st.integers(low, high))


@settings(max_examples=150, deadline=None)
@given(
    image=arrays("u1", 0, 255) | arrays("u2", 0, 65535) | arrays("i2", -32768, 32767),
    factor=st.sampled_from(FACTORS),
)
def test_means(image, factor):
    before = image.copy()
    means = mean_of_windows(image, factor)
    np.testing.assert_array_equal(means, reference_mean(image, factor))
    assert means.dtype == image.dtype
    np.testing.assert_array_equal(image, before)


@settings(max_examples=300, deadline=None)
@given(
    labels=arrays("u8", 0, 3) | arrays("u1", 0, 2) | arrays("u8", 2**64 - 3, 2**64 - 1),
    factor=st.sampled_from(FACTORS),
)
def test_modes(labels, factor):
    modes = mode_of_windows(labels, factor)
    np.testing.assert_array_equal(modes, reference_mode(labels, factor))
    assert modes.dtype == labels.dtype
    assert set(modes.flat) <= set(labels.flat)


@settings(max_examples=50, deadline=None)
@given(labels=arrays("u4", 0, 3))
def test_modes_are_blind_to_mirrors(labels):
    even = labels[: labels.shape[0] // 2 * 2 or 1, : labels.shape[1] // 2 * 2 or 1]
    even = even[:, :, : labels.shape[2] // 2 * 2 or 1]
    factor = tuple(2 if n > 1 else 1 for n in even.shape)
    flipped = mode_of_windows(even[::-1, ::-1, ::-1], factor)
    np.testing.assert_array_equal(flipped[::-1, ::-1, ::-1], mode_of_windows(even, factor))


# 0 0 | 4 0 | 5 3 | 0 0
# 0 6 | 0 4 | 3 5 | 7 8      background wins alone, loses a tie; the smaller id wins one
def test_ties():
    labels = np.array([[[0, 0, 4, 0, 5, 3, 0, 0], [0, 6, 0, 4, 3, 5, 7, 8]]], "u8")
    assert mode_of_windows(labels, (1, 2, 2)).tolist() == [[[0, 4, 3, 0]]]


def test_floats_keep_their_fractions():
    image = np.array([[[1.0, 2.0], [4.0, 4.0]]], "f4")
    assert mean_of_windows(image, (1, 2, 2)).tolist() == [[[2.75]]]
    assert mean_of_windows(image, (1, 2, 2)).dtype == np.float32


def test_rounding_does_not_drift():
    image = np.random.default_rng(0).integers(0, 256, (32, 64, 64)).astype("u1")
    smaller = image
    for _ in range(4):
        smaller = mean_of_windows(smaller, (2, 2, 2))
    assert smaller.mean() == pytest.approx(image.mean(), abs=0.25)
