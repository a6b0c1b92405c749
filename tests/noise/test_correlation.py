from __future__ import annotations

import numpy as np
import pytest
from scipy.ndimage import convolve1d, uniform_filter

from emds.noise.correlation import (
    autocorrelation,
    correlation_length,
    correlation_reach,
    passed_by,
    passed_by_cells,
    passed_by_differences,
    section_correlation,
)
from emds.noise.patches import STACK_FILTERS, measure_patches

SMEARS = {"white": (1, 1, 1), "film": (1, 5, 5), "scan line": (1, 1, 2), "all axes": (2, 3, 4)}


def smeared(widths, shape=(40, 100, 100)):
    """Return noise averaged over so many voxels along each axis, and its true correlation."""
    noise = np.random.default_rng(5).normal(0, 9, shape)
    for axis, width in enumerate(widths):
        noise = convolve1d(noise, np.full(width, 1 / width), axis=axis, mode="wrap")
    return noise, [np.arange(width, 0, -1) / width for width in widths]


@pytest.mark.parametrize("name", SMEARS)
def test_noise_averaged_over_voxels_correlates_over_as_many(name):
    noise, _ = smeared(SMEARS[name])
    patches = measure_patches(noise, stack=True)
    for axis, width in enumerate(SMEARS[name]):
        found = autocorrelation(patches.lagged[:, axis])
        assert correlation_length(found) == pytest.approx(width, abs=0.25)
        assert correlation_reach(found) == width - 1


@pytest.mark.parametrize("name", SMEARS)
def test_filters_pass_the_share_that_the_correlation_says(name):
    noise, correlation = smeared(SMEARS[name])
    patches = measure_patches(noise, stack=True)
    for i, axes in enumerate(STACK_FILTERS):
        share = passed_by_differences(axes, correlation)
        assert patches.variance[:, i].mean() == pytest.approx(share * noise.var(), rel=0.08)
    share = passed_by_cells(correlation)
    assert patches.coarse.mean() == pytest.approx(share * noise.var(), rel=0.08)


def test_lags_beyond_the_known_ones_are_0():
    assert passed_by([1, -2, 1], np.array([1.0, 0.5])) == pytest.approx((6 - 4) / 6)
    assert passed_by([1, -2, 1], np.array([1.0, 0.5, 0.25])) == pytest.approx((6 - 4 + 0.5) / 6)


def test_what_was_not_measured_counts_as_white():
    lagged = np.full((4, 8), np.nan)
    assert autocorrelation(lagged).tolist() == [1.0]
    lagged[:, :3] = (4.0, 2.0, 0.1)
    lagged[1, 2] = np.nan  # one patch was too small for lag 2
    assert autocorrelation(lagged).tolist() == [1.0, 0.5]


def test_sections_are_alike_if_the_image_goes_on_beneath_the_noise():
    rng = np.random.default_rng(0)
    image = uniform_filter(rng.normal(0, 1, (64, 64)), 12) * 400
    noise = rng.normal(0, 40, (8, 64, 64))
    same = np.repeat(image[None], 8, axis=0) + noise
    shuffled = np.stack([np.roll(image, (7 * z, 19 * z), (0, 1)) for z in range(8)]) + noise
    assert section_correlation([same]) > 0.7
    assert abs(section_correlation([shuffled])) < 0.3
    assert section_correlation([same[:1]]) == section_correlation([np.zeros((4, 16, 16))]) == 0.0
