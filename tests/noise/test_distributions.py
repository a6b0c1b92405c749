from __future__ import annotations

import math

import numpy as np
import pytest
from reference_noise import poisson as reference_poisson
from scipy import stats
from scipy.special import ndtri

from emds.noise.distributions import (
    fill_normal,
    fill_poisson,
    log_factorial,
    logarithm,
    normal_quantile,
    poisson_table,
)
from emds.noise.philox import make_key

COLUMNS = np.arange(200_000, dtype=np.uint64)


def draw_poisson(mean: float, seed: int = 0) -> np.ndarray:
    counts = np.empty(COLUMNS.size)
    entries = np.zeros(COLUMNS.size, dtype=np.uint8)
    table = poisson_table(np.array([mean]))
    fill_poisson(make_key(seed, 1), np.uint64(3), np.uint64(5), COLUMNS, table, entries, counts)
    return counts


def test_the_logarithm_is_that_of_the_c_library():
    values = np.concatenate([10.0 ** np.linspace(-300, 300, 999), np.linspace(0.5, 2, 999)])
    own = np.array([logarithm(value) for value in values])
    np.testing.assert_allclose(own, np.log(values), rtol=1e-15, atol=3e-16)


def test_log_factorials_are_right_on_both_sides_of_the_table():
    for k in (0, 1, 5, 1022, 1023, 1024, 1025, 10**6):
        assert log_factorial(float(k)) == pytest.approx(math.lgamma(k + 1), rel=1e-14)


def test_normal_quantiles_are_those_of_scipy():
    tails = 10.0 ** np.linspace(-15.6, -1, 500)
    p = np.concatenate([tails, np.linspace(0.05, 0.95, 500), 1 - tails])
    own = np.array([normal_quantile(value) for value in p])
    np.testing.assert_allclose(own, ndtri(p), rtol=1e-13, atol=1e-15)


def test_normal_numbers_are_normal():
    values = np.empty(COLUMNS.size)
    fill_normal(make_key(0, 1), np.uint64(3), np.uint64(5), COLUMNS, values)
    assert stats.kstest(values, "norm").pvalue > 1e-3
    assert abs(values).max() > 4, "test invalid: tails not reached"


@pytest.mark.parametrize("mean", [0.3, 5, 9.9, 10.1, 100, 2000])
def test_poisson_numbers_follow_their_distribution(mean):
    counts = draw_poisson(mean)
    law = stats.poisson(mean)
    # Bins of single counts where at least 10 are expected, and one for either tail.
    inside = [k for k in range(int(law.isf(1e-9)) + 1) if law.pmf(k) * counts.size >= 10]
    first, last = inside[0], inside[-1]
    observed = [np.sum(counts < first), *(np.sum(counts == k) for k in inside)]
    expected = [law.cdf(first - 1), *(law.pmf(k) for k in inside)]
    observed.append(np.sum(counts > last))
    expected.append(law.sf(last))
    kept = np.array(expected) * counts.size > 1
    observed, expected = np.array(observed)[kept], np.array(expected)[kept] * counts.size
    chi_square = np.sum((observed - expected) ** 2 / expected)
    assert stats.chi2.sf(chi_square, kept.sum() - 1) > 1e-3


def test_a_mean_of_zero_gives_zero():
    assert not draw_poisson(0.0).any()


@pytest.mark.parametrize("mean", [2.0, 10.0, 17.0, 150.0])
def test_a_row_of_poisson_numbers_equals_the_voxel_by_voxel_reference(mean):
    counts = draw_poisson(mean, seed=4)
    expected = [reference_poisson(mean, 4, 1, 3, 5, x) for x in range(300)]
    assert counts[:300].tolist() == expected


def test_huge_means_keep_mean_and_variance():
    counts = draw_poisson(2.5e6)
    n = counts.size
    assert abs(counts.mean() - 2.5e6) < 4 * math.sqrt(2.5e6 / n)
    assert counts.var() / 2.5e6 == pytest.approx(1, abs=4 * math.sqrt(2 / n))
