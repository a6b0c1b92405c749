"""What is left of the mean and the variance of noise that is cut off at both ends."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

Floats = NDArray[np.float64]
VarianceLaw = Callable[[Floats], Floats]

_STEPS = 200
_REACH = 4.0  # standard deviations beyond the ends that a mean before clipping may lie


def clipped_moments(
    mean: Floats, deviation: Floats, low: float, high: float
) -> tuple[Floats, Floats]:
    """Return mean and variance of normal numbers after ``clip(low, high)``.

    Parameters
    ----------
    mean, deviation : (N,) float64
        Before clipping; deviations are positive.
    low, high : float
        The ends.

    References
    ----------
    Foi et al., Practical Poissonian-Gaussian noise modeling and fitting for single-image
    raw-data, IEEE Trans. Image Processing 17 (2008): clipping in the fit of a noise curve.

    Examples
    --------
    >>> mean, variance = clipped_moments(np.zeros(1), np.ones(1), 0.0, 50.0)
    >>> mean.round(4).tolist(), variance.round(4).tolist()
    ([0.3989], [0.3408])
    """
    below, above = (low - mean) / deviation, (high - mean) / deviation
    at_low, at_high = ndtr(below), ndtr(-above)
    density_low, density_high = _density(below), _density(above)
    between = 1.0 - at_low - at_high
    first = (
        low * at_low + high * at_high + mean * between + deviation * (density_low - density_high)
    )
    second = (
        low**2 * at_low
        + high**2 * at_high
        + (mean**2 + deviation**2) * between
        + deviation * ((mean + low) * density_low - (mean + high) * density_high)
    )
    return first, second - first**2


def clipped_law(law: VarianceLaw, low: float, high: float) -> VarianceLaw:
    """Return the variance after clipping as a function of the mean after clipping.

    Parameters
    ----------
    law : callable
        Variance of the noise, taken as normal, at a mean grey level before clipping; positive.
    low, high : float
        Least and greatest grey value that occur. Where nothing is clipped they are so far from
        any mean that the law is returned as it is.
    """
    # Between the ends nothing bends but the law; near them steps are a fraction of the deviation.
    ends = np.array([low, high])
    reach = _REACH * np.sqrt(law(ends))
    near = [np.linspace(end - r, end + r, _STEPS) for end, r in zip(ends, reach, strict=True)]
    before = np.unique(np.concatenate([*near, np.linspace(low, high, _STEPS)]))
    mean, variance = clipped_moments(before, np.sqrt(law(before)), low, high)
    rising = np.concatenate([[True], np.diff(np.maximum.accumulate(mean)) > 0])

    def after(grey: Floats) -> Floats:
        result: Floats = np.interp(grey, mean[rising], variance[rising])
        return result

    return after


def _density(x: Floats) -> Floats:
    result: Floats = np.exp(-np.square(x) / 2) / np.sqrt(2 * np.pi)
    return result
