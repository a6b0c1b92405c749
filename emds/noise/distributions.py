"""Normal and Poisson numbers from uniform ones, the same in every loop, thread and region.

Compiled without fast-math, so no sum may be reordered. The logarithm is written out because a
compiler may give the vectorised middle of a row another one than its ends.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from emds.kernels import njit
from emds.noise.philox import Key, fill_uniforms, voxel_uniforms

SMALL_MEAN = 10.0
"""Poisson means below this are inverted term by term; PTRS needs at least 10."""

# A voxel has one normal number and, as attempts may be rejected, a sequence of draws for its
# Poisson number.
_NORMAL_DRAW = np.uint64(0)
_POISSON_DRAW = np.uint64(1)

# Columns of `poisson_table`.
_MEAN, _A, _B, _QUICK, _LOG_MEAN, _INVERSE_ALPHA, _PROBABILITY_OF_ZERO = range(7)

_LN2 = math.log(2.0)
_SQRT_TWO = math.sqrt(2.0)
_MANTISSA = (1 << 52) - 1
_EXPONENT_OF_ONE = 1023 << 52
_HALF_LN_TWO_PI = 0.5 * math.log(2.0 * math.pi)
_LN_FACTORIAL = np.array([math.lgamma(k + 1.0) for k in range(1024)])
_ATANH_SERIES = tuple(1.0 / k for k in range(23, 0, -2))

# Wichura's PPND16, highest power first: numerator and denominator for the centre,
# the shoulders and the far tails.
_CENTRE = (
    (2.5090809287301226727e3, 3.3430575583588128105e4, 6.7265770927008700853e4,
     4.5921953931549871457e4, 1.3731693765509461125e4, 1.9715909503065514427e3,
     1.3314166789178437745e2, 3.3871328727963666080e0),
    (5.2264952788528545610e3, 2.8729085735721942674e4, 3.9307895800092710610e4,
     2.1213794301586595867e4, 5.3941960214247511077e3, 6.8718700749205790830e2,
     4.2313330701600911252e1, 1.0),
)  # fmt: skip
_SHOULDER = (
    (7.74545014278341407640e-4, 2.27238449892691845833e-2, 2.41780725177450611770e-1,
     1.27045825245236838258e0, 3.64784832476320460504e0, 5.76949722146069140550e0,
     4.63033784615654529590e0, 1.42343711074968357734e0),
    (1.05075007164441684324e-9, 5.47593808499534494600e-4, 1.51986665636164571966e-2,
     1.48103976427480074590e-1, 6.89767334985100004550e-1, 1.67638483018380384940e0,
     2.05319162663775882187e0, 1.0),
)  # fmt: skip
_TAIL = (
    (2.01033439929228813265e-7, 2.71155556874348757815e-5, 1.24266094738807843860e-3,
     2.65321895265761230930e-2, 2.96560571828504891230e-1, 1.78482653991729133580e0,
     5.46378491116411436990e0, 6.65790464350110377720e0),
    (2.04426310338993978564e-15, 1.42151175831644588870e-7, 1.84631831751005468180e-5,
     7.86869131145613259100e-4, 1.48753612908506148525e-2, 1.36929880922735805310e-1,
     5.99832206555887937690e-1, 1.0),
)  # fmt: skip


@njit(inline="always")
def _polynomial(x: float, coefficients: tuple[float, ...]) -> float:
    value = 0.0
    for coefficient in coefficients:
        value = value * x + coefficient
    return value


@njit()
def logarithm(x: float) -> float:
    """Return ln(x) for a positive normal number, to a few units in the last place.

    ``ln x = e ln 2 + 2 artanh((m - 1) / (m + 1))`` with x = m 2**e and m near 1.
    """
    bits = np.float64(x).view(np.int64)
    exponent = (bits >> 52) - 1023
    mantissa = np.int64((bits & _MANTISSA) | _EXPONENT_OF_ONE).view(np.float64)
    if mantissa > _SQRT_TWO:
        mantissa *= 0.5
        exponent += 1
    s = (mantissa - 1.0) / (mantissa + 1.0)
    return exponent * _LN2 + 2.0 * s * _polynomial(s * s, _ATANH_SERIES)


@njit()
def normal_quantile(p: float) -> float:
    """Return the standard normal quantile of `p` in (0, 1), to about 1 part in 10**15.

    One uniform number gives one normal number: no rejection and, 85 % of the time, no
    logarithm.

    References
    ----------
    Wichura, Algorithm AS 241: the percentage points of the normal distribution,
    Applied Statistics 37 (1988), routine PPND16.
    """
    q = p - 0.5
    if abs(q) <= 0.425:
        r = 0.180625 - q * q
        return q * _polynomial(r, _CENTRE[0]) / _polynomial(r, _CENTRE[1])
    r = math.sqrt(-logarithm(min(p, 1.0 - p)))
    if r <= 5.0:
        size = _polynomial(r - 1.6, _SHOULDER[0]) / _polynomial(r - 1.6, _SHOULDER[1])
    else:
        size = _polynomial(r - 5.0, _TAIL[0]) / _polynomial(r - 5.0, _TAIL[1])
    return size if q > 0.0 else -size


@njit()
def fill_normal(
    key: Key, z: np.uint64, y: np.uint64, xs: NDArray[np.uint64], out: NDArray[np.float64]
) -> None:
    """Fill a buffer with the standard normal numbers of a row of voxels."""
    fill_uniforms(key, z, y, xs, _NORMAL_DRAW, out, np.empty(xs.size))
    for i in range(xs.size):
        out[i] = normal_quantile(out[i])


def poisson_table(means: NDArray[np.float64]) -> NDArray[np.float64]:
    """Work out, once per section, what `fill_poisson` needs to know of each mean.

    Parameters
    ----------
    means : (N,) float64
        Not negative.

    Returns
    -------
    table : (N, 7) float64
        The mean and Hörmann's constants for it. A small mean has a bound of quick acceptance
        that no number reaches, and exp(-mean).
    """
    ptrs_mean = np.maximum(means, SMALL_MEAN)
    b = 0.931 + 2.53 * np.sqrt(ptrs_mean)
    table = np.empty((means.size, 7))
    table[:, _MEAN] = means
    table[:, _A] = -0.059 + 0.02483 * b
    table[:, _B] = b
    table[:, _QUICK] = np.where(means < SMALL_MEAN, -1.0, 0.9277 - 3.6224 / (b - 2.0))
    table[:, _LOG_MEAN] = np.log(ptrs_mean)
    table[:, _INVERSE_ALPHA] = 1.1239 + 1.1328 / (b - 3.4)
    table[:, _PROBABILITY_OF_ZERO] = np.exp(-means)
    return table


@njit()
def log_factorial(k: float) -> float:
    """Return ln(k!) of a whole number: from a table, then by Stirling's series."""
    if k < _LN_FACTORIAL.size:
        return float(_LN_FACTORIAL[int(k)])
    x = 1.0 / k
    series = x * (1.0 / 12.0 - x * x * (1.0 / 360.0 - x * x / 1260.0))
    return (k + 0.5) * logarithm(k) - k + _HALF_LN_TWO_PI + series


@njit()
def _invert_poisson(mean: float, probability_of_zero: float, u: float) -> float:
    probability = probability_of_zero
    k = 0.0
    while u > probability and k < 80.0:  # P(k > 80) < 1e-40; the bound stops rounding residues
        u -= probability
        k += 1.0
        probability *= mean / k
    return k


@njit(inline="always")
def _attempt(mean: float, a: float, b: float, u: float) -> tuple[float, float]:
    """Return PTRS's candidate and how far u is from the ends of (0, 1)."""
    centred = u - 0.5
    margin = 0.5 - abs(centred)
    return math.floor((2.0 * a / margin + b) * centred + mean + 0.43), margin


@njit()
def poisson(
    table: NDArray[np.float64],
    entry: int,
    u: float,
    v: float,
    key: Key,
    z: np.uint64,
    y: np.uint64,
    x: np.uint64,
) -> float:
    """Return the Poisson number of a voxel, exact up to the 52 bits of the uniform ones.

    Parameters
    ----------
    table : (N, 7) float64
        From `poisson_table`.
    entry : int
        Row of the table, hence the mean.
    u, v : float
        The voxel's uniform numbers for the first attempt; the next ones are made as needed.

    References
    ----------
    Hörmann, The transformed rejection method for generating Poisson random variables,
    Insurance: Mathematics and Economics 12 (1993), algorithm PTRS.
    """
    mean, a, b = table[entry, _MEAN], table[entry, _A], table[entry, _B]
    if mean < SMALL_MEAN:
        return _invert_poisson(mean, table[entry, _PROBABILITY_OF_ZERO], u)
    draw = _POISSON_DRAW
    while True:
        k, margin = _attempt(mean, a, b, u)
        if margin >= 0.07 and v <= table[entry, _QUICK]:
            return k
        if k >= 0.0 and (margin >= 0.013 or v <= margin):
            height = logarithm(v * table[entry, _INVERSE_ALPHA] / (a / (margin * margin) + b))
            if height <= k * table[entry, _LOG_MEAN] - mean - log_factorial(k):
                return k
        draw += np.uint64(1)
        u, v = voxel_uniforms(key, z, y, x, draw)


@njit()
def fill_poisson(
    key: Key,
    z: np.uint64,
    y: np.uint64,
    xs: NDArray[np.uint64],
    table: NDArray[np.float64],
    entries: NDArray[np.uint8],
    out: NDArray[np.float64],
) -> None:
    """Fill a buffer with the Poisson numbers of a row of voxels.

    The same numbers as `poisson` voxel by voxel, sooner: PTRS accepts most candidates after one
    comparison, so that test is made for the whole row without branches, and only the others go
    through `poisson`.

    Parameters
    ----------
    table : (N, 7) float64
        From `poisson_table`.
    entries : (X,) uint8
        Row of the table for each voxel.
    """
    n = xs.size
    u, v = np.empty(n), np.empty(n)
    undecided = np.empty(n, dtype=np.int64)
    count = 0
    fill_uniforms(key, z, y, xs, _POISSON_DRAW, u, v)
    for i in range(n):
        entry = entries[i]
        out[i], margin = _attempt(table[entry, _MEAN], table[entry, _A], table[entry, _B], u[i])
        undecided[count] = i
        count += not ((margin >= 0.07) & (v[i] <= table[entry, _QUICK]))
    for i in undecided[:count]:
        out[i] = poisson(table, entries[i], u[i], v[i], key, z, y, xs[i])
