"""Smooth random fields and small blurred structures, the paint of the phantom."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from emds.geometry import Triple

Floats = NDArray[np.float32]
Lengths = tuple[float, float, float]


def smooth_noise(rng: np.random.Generator, shape: Triple, correlation: Lengths) -> Floats:
    """Draw a random field that varies over a given length, with mean 0 and deviation 1.

    White noise on a grid as coarse as the correlation length, interpolated by cubic splines:
    the cost does not grow with the length.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of the white noise.
    shape : (Z, Y, X)
        Extent of the field in voxels.
    correlation : (z, y, x) float
        Distance over which the field changes, in voxels.

    Returns
    -------
    field : (Z, Y, X) float32

    Examples
    --------
    >>> field = smooth_noise(np.random.default_rng(0), (8, 64, 64), (4, 8, 8))
    >>> float(np.abs(np.diff(field, axis=2)).mean()) < 0.3 < float(np.std(field))
    True
    """
    steps = [max(1.0, length) for length in correlation]
    coarse = tuple(int(np.ceil(n / step)) + 3 for n, step in zip(shape, steps, strict=True))
    field = rng.standard_normal(coarse, dtype=np.float32)
    shift = rng.random(3)  # otherwise every field would have its nodes in the same places
    for axis, (n, step) in enumerate(zip(shape, steps, strict=True)):
        field = _interpolate(field, axis, shift[axis] + np.arange(n) / step)
    return _standardised(field)


def stamp(points: NDArray[Any], shape: Triple, radius: Lengths) -> Floats:
    """Put a blurred dot of height 1 at every point, and add them up.

    Parameters
    ----------
    points : (N, 3) float or int
        Positions (z, y, x) in voxels; those outside are left out.
    shape : (Z, Y, X)
        Extent of the field in voxels.
    radius : (z, y, x) float
        Standard deviation of a dot, in voxels.

    Returns
    -------
    field : (Z, Y, X) float32

    Examples
    --------
    >>> field = stamp(np.array([[4.0, 4.0, 4.0]]), (9, 9, 9), (1.0, 1.0, 1.0))
    >>> [round(float(value), 2) for value in field[4, 4, 4:8]]
    [1.0, 0.61, 0.14, 0.01]
    """
    field: Floats = np.zeros(shape, np.float32)
    index = np.rint(points).astype(np.int64).reshape(-1, 3)
    inside = np.all((index >= 0) & (index < shape), axis=1)
    np.add.at(field, tuple(index[inside].T), 1.0)
    # A discrete Gaussian narrower than a voxel keeps all its weight in the middle one.
    height = np.prod([max(1.0, np.sqrt(2 * np.pi) * sigma) for sigma in radius])
    blurred: Floats = ndimage.gaussian_filter(field, radius, mode="constant")
    return blurred * np.float32(height)


def _interpolate(field: Floats, axis: int, position: NDArray[np.floating]) -> Floats:
    """Sample one axis at fractional positions with the cubic B-spline kernel."""
    base = np.floor(position).astype(np.int64)
    t = (position - base).astype(np.float32)
    weights = ((1 - t) ** 3, 4 - 6 * t**2 + 3 * t**3, 1 + 3 * t + 3 * t**2 - 3 * t**3, t**3)
    along = [1, 1, 1]
    along[axis] = -1
    last = field.shape[axis] - 1
    total: Floats = np.zeros(1, np.float32)
    for step, weight in enumerate(weights):
        values = np.take(field, np.minimum(base + step, last), axis=axis)
        total = total + values * (weight / 6).astype(np.float32).reshape(along)
    return total


def _standardised(field: Floats) -> Floats:
    centred = field - field.mean(dtype=np.float64)
    deviation = float(centred.std(dtype=np.float64))
    standardised: Floats = (centred / (deviation or 1.0)).astype(np.float32)
    return standardised
