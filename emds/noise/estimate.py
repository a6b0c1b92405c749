"""Gain, readout noise and correlation of the noise in an image, from the image alone.

The variance of Poisson–Gaussian noise is a line over the mean grey level: its slope is the gain,
grey levels per electron, and its height at the grey level of zero electrons is the variance of
the readout noise. The line is fitted as it looks after clipping (`emds.noise.clipping`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from emds.errors import DataError
from emds.noise.correlation import (
    autocorrelation,
    correlation_length,
    passed_by_cells,
    passed_by_differences,
)
from emds.noise.grey_range import GreyRange
from emds.noise.noise_curve import CurveFit, NoiseCurve, bootstrap_fit, fit_curve, measure_curve
from emds.noise.patches import SECTION_FILTERS, STACK_FILTERS, Patches

Floats = NDArray[np.float64]
OffsetFrom = Literal["given", "assumed", "line"]
Correlations = tuple[Floats, Floats, Floats]

_LEAST_PATCHES = 30
_ROUNDS = 4  # choose patches, fit, choose again
_SMOOTH = 1.5  # coarse structure that noise alone explains, in units of its variance
_SMOOTHEST = 0.1  # share of the patches that is used even if all of them are structured,
_FEWEST = 24  # and number
_ENOUGH = 0.3  # share of the noise that a filter must let pass to measure it
_AGREE = 1.05  # filters whose variance is this close to the least see no image
_FILM_LENGTH = 2.0  # voxels


@dataclass(frozen=True, slots=True)
class Measured:
    """A number with its standard error: from a bootstrap, widened where the fit is poor."""

    value: float
    error: float

    @property
    def is_seen(self) -> bool:
        """Whether the number is above 0 by more than twice its error."""
        return self.value > 2 * self.error


@dataclass(frozen=True, slots=True)
class NoiseEstimate:
    """What is known of the noise of an image.

    Attributes
    ----------
    gain : Measured
        Grey levels per electron: slope of the variance over the grey level. Below 0 where dark
        places are the noisy ones.
    sigma : Measured
        Standard deviation of the readout noise, grey levels; of all the noise, where no gain is
        seen.
    offset : float
        Grey level of zero electrons. The line gives ``sigma² - gain · offset`` and no more, so
        the offset is the caller's, or 0; or, if sigma² were negative then, where the line is 0.
    offset_from : {"given", "assumed", "line"}
        Which of the three.
    total : Measured
        Standard deviation of all the noise at grey level `mean`.
    mean : float
        Mean grey level of the image.
    grain : Measured
        Standard deviation over grey level of the part that multiplies the image, if `film` holds.
    correlation : three arrays (L,) float64
        Along z, y, x, at lags 0 to L - 1 voxels; L is 1 where it was not measured.
    stack : bool
        Whether differences across sections helped to cancel the image.
    levels : GreyRange
        The grey values.
    curve : NoiseCurve
        The variance by grey level.
    line, film : CurveFit
        Both laws, fitted to it.
    patches : int
        Number of patches in the fit.
    """

    gain: Measured
    sigma: Measured
    offset: float
    offset_from: OffsetFrom
    total: Measured
    mean: float
    grain: Measured
    correlation: Correlations
    stack: bool
    levels: GreyRange
    curve: NoiseCurve
    line: CurveFit
    film: CurveFit
    patches: int

    @property
    def lam(self) -> Measured | None:
        """Electrons per grey level, 1 / gain; None where no gain is seen."""
        if not self.gain.is_seen:
            return None
        return Measured(1 / self.gain.value, self.gain.error / self.gain.value**2)

    @property
    def lengths(self) -> tuple[float | None, ...]:
        """Correlation length along z, y, x, voxels: 1 is white noise; None is not measured."""
        return tuple(correlation_length(one) if one.size > 1 else None for one in self.correlation)

    @property
    def is_film(self) -> bool:
        """Whether the noise is like grain that multiplies each section.

        It is correlated within sections, and its deviation is nearer to proportional to the grey
        level than its variance is.
        """
        within = [length or 1.0 for length in self.lengths[1:]]
        better = self.film.misfit < self.line.misfit
        return self.stack and min(within) >= _FILM_LENGTH and better and self.grain.is_seen


def estimate_from_patches(
    patches: Patches,
    levels: GreyRange,
    *,
    stack: bool,
    offset: float | None = None,
    rng: np.random.Generator,
) -> NoiseEstimate:
    """Fit Poisson–Gaussian noise to measured patches.

    Patches with structure that noise does not explain are left out. The choice looks at coarse
    differences only, which in white noise are independent of the fine ones that are measured, so
    that it does not favour patches with little noise.

    Parameters
    ----------
    patches : Patches
        From all over the image.
    levels : GreyRange
        Of the image.
    stack : bool
        As in `measure_patches`.
    offset : float, optional
        Grey level of zero electrons, if known.
    rng : numpy.random.Generator
        For the bootstrap.

    Raises
    ------
    DataError
        If there are too few patches.

    Examples
    --------
    >>> from emds.noise.grey_range import grey_range
    >>> from emds.noise.patches import join_patches, measure_patches
    >>> rng = np.random.default_rng(0)
    >>> clean = np.linspace(40, 200, 66)
    >>> noisy = 2 * rng.poisson(clean / 2, (8, 18, 66, 66)) + rng.normal(0, 6, (8, 18, 66, 66))
    >>> tables = [measure_patches(block, stack=True) for block in noisy]
    >>> found = estimate_from_patches(join_patches(tables), grey_range(noisy), stack=True, rng=rng)
    >>> round(found.gain.value, 1), round(found.sigma.value)
    (2.0, 6)
    """
    if len(patches) < _LEAST_PATCHES:
        raise DataError(
            f"noise is estimated from at least {_LEAST_PATCHES} patches of about 256 voxels that "
            f"are not constant, but there are {len(patches)}. Give a larger region."
        )
    keep = patches.coarse <= _smoothest(patches.coarse)
    for _ in range(_ROUNDS):
        kept = patches.take(keep)
        correlation = _correlations(kept)
        share, used = _choose_filters(kept, correlation, stack)
        curve = measure_curve(kept, share, used, levels)
        line = fit_curve(curve, "line", levels)
        noise = line.law(patches.mean[:, used].mean(axis=1))
        if stack:
            noise = noise * passed_by_cells(correlation)
        # Where all is clipped the law is 0.
        roughness = patches.coarse / np.maximum(noise, 1e-3 * curve.mean_variance)
        keep = roughness <= max(_SMOOTH, _smoothest(roughness))
    film = fit_curve(curve, "film", levels)
    mean = float(patches.mean.mean())
    samples = _replicates(curve, line, levels, rng)
    gain, sigma, total, dark, dark_from = _interpret(line, samples, mean, offset)
    slopes = _replicates(curve, film, levels, rng)[:, 1]
    return NoiseEstimate(
        gain=gain,
        sigma=sigma,
        offset=dark,
        offset_from=dark_from,
        total=total,
        mean=mean,
        grain=_root(film.slope, slopes),
        correlation=correlation,
        stack=stack,
        levels=levels,
        curve=curve,
        line=line,
        film=film,
        patches=len(kept),
    )


def _smoothest(roughness: Floats) -> float:
    """Return the limit below which the patches lie that are used in any case."""
    wanted = max(round(_SMOOTHEST * len(roughness)), _FEWEST)
    return float(np.sort(roughness)[wanted - 1])


def _correlations(patches: Patches) -> Correlations:
    z, y, x = (autocorrelation(patches.lagged[:, axis]) for axis in range(3))
    return z, y, x


def _choose_filters(
    patches: Patches, correlation: Sequence[Floats], stack: bool
) -> tuple[Floats, list[int]]:
    """Return the share of the noise that each filter lets pass, and which filters to average.

    Where sections stand alone, nothing tells correlated noise from fine structure, and noise is
    taken to be white.
    """
    if not stack:
        return np.ones(len(SECTION_FILTERS)), list(range(len(SECTION_FILTERS)))
    share = np.array([passed_by_differences(axes, correlation) for axes in STACK_FILTERS])
    open_to = [i for i, axes in enumerate(STACK_FILTERS) if len(axes) > 1 and share[i] >= _ENOUGH]
    if not open_to:
        return share, [int(np.argmax(share))]
    variance = patches.variance.mean(axis=0) / np.maximum(share, _ENOUGH)
    least = min(variance[i] for i in open_to)
    return share, [i for i in open_to if variance[i] <= _AGREE * least]


def _replicates(
    curve: NoiseCurve, fit: CurveFit, levels: GreyRange, rng: np.random.Generator
) -> Floats:
    """Return bootstrapped heights and slopes, spread out where the law does not fit the bins."""
    at_fit = np.array([fit.height, fit.slope])
    away = bootstrap_fit(curve, fit, levels, rng) - at_fit
    spread: Floats = at_fit + away * np.sqrt(max(1.0, fit.misfit))
    return spread


def _interpret(
    line: CurveFit, replicates: Floats, mean: float, offset: float | None
) -> tuple[Measured, Measured, Measured, float, OffsetFrom]:
    """Return gain, readout noise, total noise, and the offset with where it is from."""
    heights, slopes = replicates.T

    def at(grey: float) -> tuple[float, Floats]:
        return line.height + line.slope * (grey - line.centre), heights + slopes * (
            grey - line.centre
        )

    gain = Measured(line.slope, float(slopes.std()))
    total = _root(*at(mean))
    dark = 0.0 if offset is None else offset
    source: OffsetFrom = "assumed" if offset is None else "given"
    if not gain.is_seen:
        return gain, total, total, dark, source
    variance, scatter = at(dark)
    if offset is None and variance < -2 * float(scatter.std()):
        dark, source = line.centre - line.height / line.slope, "line"
    return gain, _root(variance, scatter), total, dark, source


def _root(variance: float, replicates: Floats) -> Measured:
    """Return the square root of a variance with its error; 0 where the variance is negative."""
    error = float(replicates.std())
    deviation = float(np.sqrt(max(variance, 0.0)))
    # Near 0 the root is not linear: there its error is that of a variance of 0.
    return Measured(deviation, error / max(2 * deviation, float(np.sqrt(error)), 1e-12))
