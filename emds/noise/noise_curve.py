"""The variance of the noise at each grey level, and the curves fitted to it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import least_squares

from emds.noise.clipping import VarianceLaw, clipped_law, clipped_moments
from emds.noise.grey_range import GreyRange
from emds.noise.patches import Patches

Floats = NDArray[np.float64]
Kind = Literal["line", "film"]

_MOST_BINS = 16
_PATCHES_PER_BIN = 40
_PATCHES_PER_GROUP = 8
_REPLICATES = 200
_FLOOR = 1e-3  # of the mean variance: laws and errors are taken to be above it
_LEAST_VARIANCE = 1e-12

# Three points and weights that stand for a spread of grey levels: mean, variance and kurtosis are
# those of a normal distribution (Gauss–Hermite).
_NODES = ((0.0, 2 / 3), (np.sqrt(3.0), 1 / 6), (-np.sqrt(3.0), 1 / 6))


@dataclass(frozen=True, slots=True)
class NoiseCurve:
    """Variance of the noise over grey level, in B bins of about as many patches each.

    Attributes
    ----------
    grey, variance : (B,) float64
        Means of the bin.
    error : (B,) float64
        Standard error of the variance, from the scatter of groups of neighbouring patches.
    spread : (B,) float64
        Variance of the noise-free grey level within the bin, inside patches and between them.
        Where the curve bends, the bin's variance is not that at its mean.
    count : (B,) float64
        Patches.
    sums : (K, B, 4) float64
        What the above was computed from: for each of K groups, the number of patches and the
        sums of their grey levels, variances and squares.
    """

    grey: Floats
    variance: Floats
    error: Floats
    spread: Floats
    count: Floats
    sums: Floats

    @property
    def mean(self) -> float:
        """Mean grey level of all patches."""
        return float(np.average(self.grey, weights=self.count))

    @property
    def mean_variance(self) -> float:
        """Mean variance of all patches; above 0, even where rounding is all there is."""
        return max(float(np.average(self.variance, weights=self.count)), _LEAST_VARIANCE)


@dataclass(frozen=True, slots=True)
class CurveFit:
    """A law of the variance, fitted to a curve.

    Attributes
    ----------
    kind : {"line", "film"}
        ``line``: height + slope · (grey - centre), Poisson–Gaussian noise; ``film``: height +
        slope · (grey² - centre²), grain that multiplies the image, over noise that does not.
    height, slope : float
        Before clipping.
    centre : float
        Grey level at which the variance is the height.
    law : callable
        Variance over mean grey level, both after clipping.
    expected : (B,) float64
        Variance of each bin by that law, given the spread of its grey levels.
    misfit : float
        Mean square deviation of the bins in units of their errors, about 1 where the law holds.
    """

    kind: Kind
    height: float
    slope: float
    centre: float
    law: VarianceLaw
    expected: Floats
    misfit: float

    def variance(self, grey: Floats) -> Floats:
        """Return the variance at mean grey levels, both before clipping; above 0 everywhere."""
        return _variance(self.kind, self.height, self.slope, self.centre, grey)

    def mean_after_clipping(self, grey: Floats, levels: GreyRange) -> Floats:
        """Return the mean noisy value of places that were `grey` before the noise."""
        deviation = np.sqrt(self.variance(grey))
        return clipped_moments(grey, deviation, levels.low, levels.high)[0]


def measure_curve(
    patches: Patches, share: Floats, used: list[int], levels: GreyRange
) -> NoiseCurve:
    """Sort patches into bins by grey level.

    Parameters
    ----------
    patches : Patches
        P patches.
    share : (F,) float64
        Share of the noise that each filter lets pass.
    used : list of int
        Filters to average.
    levels : GreyRange
        Where grey values are rounded, the variance that this adds is taken off.
    """
    variance = (patches.variance[:, used] / share[used]).mean(axis=1) - levels.step**2 / 12
    grey = patches.mean[:, used].mean(axis=1)
    square = patches.square[:, used].mean(axis=1) - levels.step**2 / 12
    bins = int(np.clip(len(patches) // _PATCHES_PER_BIN, 2, _MOST_BINS))
    edges = np.quantile(grey, np.linspace(0, 1, bins + 1)[1:-1])
    place = np.searchsorted(edges, grey, side="right")
    group = np.arange(len(patches)) // _PATCHES_PER_GROUP
    groups = int(group[-1]) + 1
    sums = np.zeros((groups, bins, 4))
    np.add.at(sums, (group, place), np.stack([np.ones_like(grey), grey, variance, square], 1))
    sums = sums[:, sums[:, :, 0].sum(axis=0) > 0]
    curve = _summarise(sums)
    off = sums[:, :, 2] - curve.variance * sums[:, :, 0]
    few = groups / (groups - 1)
    return replace(curve, error=np.sqrt(few * np.square(off).sum(axis=0)) / curve.count)


def fit_curve(curve: NoiseCurve, kind: Kind, levels: GreyRange) -> CurveFit:
    """Fit a law to a curve by least squares, weighted by what noise itself scatters.

    Parameters
    ----------
    curve : NoiseCurve
        At least one bin.
    kind : {"line", "film"}
        See `CurveFit`.
    levels : GreyRange
        The noise is taken to be clipped at its ends.
    """
    height = curve.mean_variance
    scale = _scale(curve, kind, height)

    def off(parameters: Floats) -> Floats:
        return _deviations(curve, _law(kind, parameters, curve.mean, levels))

    start = np.array([height, 0.0])
    if np.ptp(curve.grey) > 0:
        found = least_squares(off, start, x_scale=scale, diff_step=1e-4).x
    else:
        found = start
    law = _law(kind, found, curve.mean, levels)
    scatter = np.maximum(curve.error, _FLOOR * height)
    expected = _expected(curve, law)
    squares = np.square((curve.variance - expected) / scatter)
    misfit = float(squares.sum()) / max(curve.grey.size - 2, 1)
    return CurveFit(kind, float(found[0]), float(found[1]), curve.mean, law, expected, misfit)


def bootstrap_fit(
    curve: NoiseCurve, fit: CurveFit, levels: GreyRange, rng: np.random.Generator
) -> Floats:
    """Fit resampled groups: heights and slopes whose scatter is the uncertainty of the fit.

    Bins and chosen patches stay. Each replicate is one Gauss–Newton step from the fit.

    Returns
    -------
    (R, 2) float64
        Height and slope.
    """
    at_fit = np.array([fit.height, fit.slope])
    steps = 1e-3 * _scale(curve, fit.kind, fit.height)

    def off(sample: NoiseCurve, parameters: Floats) -> Floats:
        return _deviations(sample, _law(fit.kind, parameters, fit.centre, levels))

    base = off(curve, at_fit)
    jacobian = np.stack(
        [(off(curve, at_fit + step) - base) / step.sum() for step in np.diag(steps)], axis=1
    )
    solve = np.linalg.pinv(jacobian)
    groups = len(curve.sums)
    replicates = np.zeros((_REPLICATES, 2))
    for replicate in replicates:
        times = np.bincount(rng.integers(0, groups, groups), minlength=groups)
        sums = np.tensordot(times, curve.sums, axes=1)
        # A bin that no drawn group fills keeps its value.
        sums = np.where(sums[:, :1] > 0, sums, curve.sums.sum(axis=0))
        replicate[:] = at_fit - solve @ off(_summarise(sums[None]), at_fit)
    return replicates


def _summarise(sums: Floats) -> NoiseCurve:
    count, grey, variance, square = sums.sum(axis=0).T
    grey, variance, square = grey / count, variance / count, square / count
    spread = np.maximum(square - grey**2 - variance, 0.0)
    return NoiseCurve(grey, variance, np.zeros_like(grey), spread, count, sums)


def _scale(curve: NoiseCurve, kind: Kind, height: float) -> Floats:
    """Return steps of height and slope that change the curve about equally."""
    width = max(float(np.ptp(curve.grey)), 1e-9 * abs(curve.mean), 1e-12)
    return height * np.array([1.0, 1 / width if kind == "line" else 1 / width**2])


def _law(kind: Kind, parameters: Floats, centre: float, levels: GreyRange) -> VarianceLaw:
    height, slope = float(parameters[0]), float(parameters[1])

    def before(grey: Floats) -> Floats:
        return _variance(kind, height, slope, centre, grey)

    return clipped_law(before, levels.low, levels.high)


def _variance(kind: Kind, height: float, slope: float, centre: float, grey: Floats) -> Floats:
    height = max(height, _LEAST_VARIANCE)
    away = grey - centre if kind == "line" else np.square(grey) - centre**2
    return np.maximum(height + slope * away, _FLOOR * height)


def _expected(curve: NoiseCurve, law: VarianceLaw) -> Floats:
    width = np.sqrt(curve.spread)
    values = [weight * law(curve.grey + node * width) for node, weight in _NODES]
    expected: Floats = np.sum(values, axis=0)
    return expected


def _deviations(curve: NoiseCurve, law: VarianceLaw) -> Floats:
    scatter = np.maximum(curve.variance, _FLOOR * curve.mean_variance) / np.sqrt(curve.count)
    off: Floats = (_expected(curve, law) - curve.variance) / scatter
    return off
