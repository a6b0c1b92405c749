"""Intervals: right for cases that can be worked out, and honest about neighbouring sections."""

import numpy as np
import pytest
from scipy import stats

from emds.metrics.intervals import section_interval, seed_interval


def test_the_interval_over_seeds_is_students():
    values = [26.1, 26.4, 25.9, 26.3]
    low, high = stats.ttest_1samp(values, 0).confidence_interval(0.95)
    assert seed_interval(values) == pytest.approx((high - low) / 2)


def reference_section_interval(values, block):
    """The same draws, one by one."""
    n = len(values)
    starts = np.random.default_rng(0).integers(0, n, (10_000, -(-n // block)))
    means = []
    for row in starts:
        drawn = [values[(start + i) % n] for start in row for i in range(block)]
        means.append(sum(drawn[:n]) / n)
    return tuple(np.percentile(means, [2.5, 97.5]))


def test_the_interval_over_sections_equals_the_obvious_one():
    values = np.random.default_rng(1).normal(size=13).tolist()
    expected = reference_section_interval(values, block=4)
    assert section_interval(values, block=4) == pytest.approx(expected)


def test_blocks_of_independent_sections_agree_with_the_normal_interval():
    values = np.random.default_rng(1).normal(size=4000)
    low, high = section_interval(values.tolist(), block=10, draws=1000)
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / 4000**0.5, rel=0.2)


def test_sections_that_are_alike_widen_the_interval():
    values = np.repeat(np.random.default_rng(1).normal(size=20), 10).tolist()
    alone, blocks = (section_interval(values, block=block) for block in (1, 10))
    assert blocks[1] - blocks[0] > 2 * (alone[1] - alone[0])


def test_few_sections_still_vary():
    """Blocks longer than the stack would give it back in every draw."""
    low, high = section_interval([0.0, 1.0, 0.0, 1.0])
    assert low < 0.5 < high
