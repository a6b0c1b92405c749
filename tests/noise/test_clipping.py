from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emds.noise.clipping import clipped_law, clipped_moments


def reference_moments(mean, deviation, low, high):
    """Integrate over a fine grid of the normal distribution."""
    z = np.linspace(-9, 9, 200_001)
    weight = np.exp(-(z**2) / 2)
    value = np.clip(mean + deviation * z, low, high)
    first = np.average(value, weights=weight)
    return first, np.average((value - first) ** 2, weights=weight)


@given(mean=st.floats(-100, 350), deviation=st.floats(1, 120))
def test_moments_are_those_of_clipped_normal_numbers(mean, deviation):
    found = clipped_moments(np.array([mean]), np.array([deviation]), 0.0, 255.0)
    expected = reference_moments(mean, deviation, 0.0, 255.0)
    np.testing.assert_allclose([one[0] for one in found], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("sigma", [20.0, 70.0, 85.0])
def test_the_law_after_clipping_is_that_of_clipped_noise(sigma):
    def law(grey):
        return sigma**2 + 1.4 * np.maximum(grey, 0)

    after = clipped_law(law, 0.0, 255.0)
    for grey in (20.0, 90.0, 131.0, 200.0, 250.0):
        mean, variance = reference_moments(grey, np.sqrt(law(grey)), 0.0, 255.0)
        np.testing.assert_allclose(after(np.array([mean])), variance, rtol=2e-3)


def test_far_from_the_ends_nothing_is_clipped():
    after = clipped_law(lambda grey: 30 + 0.5 * np.maximum(grey, 0), 0.0, 65535.0)
    grey = np.array([3000.0, 20000.0, 50000.0])
    np.testing.assert_allclose(after(grey), 30 + 0.5 * grey, rtol=1e-3)


def test_one_stray_voxel_does_not_hide_the_clipping():
    def law(grey):
        return 900 + 2.0 * np.maximum(grey, 0)

    mean, variance = reference_moments(40.0, np.sqrt(law(40.0)), 20.0, 65535.0)
    after = clipped_law(law, 20.0, 65535.0)
    np.testing.assert_allclose(after(np.array([mean])), variance, rtol=2e-3)
