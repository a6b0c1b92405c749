"""How sure a mean is: over repeated trainings, and over sections that resemble each other."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import numpy as np
from scipy.stats import t as student

_CONFIDENCE = 0.95


def seed_interval(values: Sequence[float]) -> float | None:
    """Return the half-width of the 95 % interval of the mean of independent values.

    By Student's t; None for fewer than two values, which say nothing about their spread.

    Examples
    --------
    >>> round(seed_interval([1.0, 2.0, 3.0]), 3)
    2.484
    >>> seed_interval([1.0]) is None
    True
    """
    if len(values) < 2:
        return None
    quantile = float(student.ppf((1 + _CONFIDENCE) / 2, len(values) - 1))
    return quantile * statistics.stdev(values) / math.sqrt(len(values))


def section_interval(
    values: Sequence[float], block: int = 10, draws: int = 10_000
) -> tuple[float, float]:
    """Return the 95 % interval of the mean over sections, by a circular block bootstrap.

    Neighbouring sections are alike and no independent samples, so runs of them are drawn. Give
    the differences of two methods, section by section, for a paired comparison.

    Parameters
    ----------
    values : sequence of float
        One for each section, in the order of z.
    block : int
        Sections in a run; never more than a third of them, or all draws would be the same.
    draws : int
        Resamplings; their random numbers are fixed.

    References
    ----------
    Politis and Romano, A circular block-resampling procedure for stationary data, 1992.

    Examples
    --------
    >>> section_interval([2.0] * 40)
    (2.0, 2.0)
    >>> low, high = section_interval([0.0, 1.0] * 20, block=1)
    >>> low < 0.5 < high
    True
    """
    data = np.asarray(values, np.float64)
    n = len(data)
    length = max(1, min(block, n // 3))
    rng = np.random.default_rng(0)
    starts = rng.integers(0, n, (draws, -(-n // length)))
    index = (starts[:, :, None] + np.arange(length)).reshape(draws, -1)[:, :n] % n
    tail = 50 * (1 - _CONFIDENCE)
    low, high = np.percentile(data[index].mean(axis=1), [tail, 100 - tail])
    return float(low), float(high)
