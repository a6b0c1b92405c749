"""How far noise resembles itself from voxel to voxel, and what that does to a filter."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import toeplitz

from emds.noise.patches import Axes

Floats = NDArray[np.float64]

_NO_CORRELATION = 0.03  # what is left of the image correlates this much at most
_CELL = 8
_TAIL = 0.05  # about 0: where the sum for the length ends


def autocorrelation(lagged: Floats) -> Floats:
    """Return the correlation at each lag from mean products, as one number a lag for all patches.

    Parameters
    ----------
    lagged : (P, LAGS) float64
        `Patches.lagged` of one axis; NaN from some lag on, or everywhere.

    Returns
    -------
    (L,) float64
        1 at lag 0; L is the number of lags that were measured, and is 1 where there is none.
        Small numbers are 0: they cannot be told from remains of the image.
    """
    measured = lagged[:, np.isfinite(lagged).all(axis=0)].mean(axis=0)
    if measured.size < 2 or measured[0] <= 0:
        return np.ones(1)
    correlation: Floats = measured / measured[0]
    correlation[np.abs(correlation) < _NO_CORRELATION] = 0.0
    return correlation


def correlation_length(correlation: Floats) -> float:
    """Return the number of voxels along a line that share one noise value.

    1 for white noise, K for noise that was averaged over K voxels: one plus twice the sum of the
    correlations, up to the first that is about 0.

    Examples
    --------
    >>> correlation_length(np.array([1.0, 0.0])), correlation_length(np.array([1, 0.5, 0.0]))
    (1.0, 2.0)
    """
    return 1.0 + 2.0 * float(correlation[1 : _end(correlation)].sum())


def correlation_reach(correlation: Floats) -> int:
    """Return the greatest lag at which noise resembles itself; 0 for white noise.

    Noise that was averaged over K voxels reaches K - 1.

    Examples
    --------
    >>> correlation_reach(np.array([1.0, 0.0])), correlation_reach(np.array([1, 0.67, 0.33, 0.0]))
    (0, 2)
    """
    return _end(correlation) - 1


def _end(correlation: Floats) -> int:
    """Return the first lag at which the correlation is about 0, or the number of lags."""
    ends = np.flatnonzero(correlation < _TAIL)
    return int(ends[0]) if ends.size else len(correlation)


def passed_by(weights: Sequence[float], correlation: Floats) -> float:
    """Return the share of the noise's variance that a filter along one axis lets pass.

    Parameters
    ----------
    weights : sequence of float
        Of the filter; scaled to square sum 1, so that white noise passes whole.
    correlation : (L,) float64
        Correlation of the noise along that axis; 0 from L on.

    Examples
    --------
    >>> passed_by([1, -2, 1], np.array([1.0])), passed_by([1, -1], np.array([1.0, 0.5]))
    (1.0, 0.5)
    """
    row = np.zeros(len(weights))
    known = min(len(weights), len(correlation))
    row[:known] = correlation[:known]
    scaled = np.asarray(weights, np.float64)
    return float(scaled @ toeplitz(row) @ scaled / (scaled @ scaled))


def passed_by_differences(axes: Axes, correlations: Sequence[Floats]) -> float:
    """Return the share that second differences along `axes` let pass."""
    return float(np.prod([passed_by([1, -2, 1], correlations[axis]) for axis in axes]))


def passed_by_cells(correlations: Sequence[Floats]) -> float:
    """Return the share that differences of neighbouring cells, `Patches.coarse`, let pass."""
    shares = [
        [
            passed_by([1, 1, -1, -1] if other == axis else [1, 1], correlations[other])
            for other in range(3)
        ]
        for axis in range(3)
    ]
    return float(np.mean(np.prod(shares, axis=1)))


def section_correlation(blocks: Iterable[NDArray[Any]]) -> float:
    """Return how much adjacent sections resemble each other, from about -1 to 1.

    Compared are means of 8 × 8 voxels less the mean of their section, in which noise counts
    little.

    Parameters
    ----------
    blocks : iterable of (Z, Y, X)
        Parts of the image, 16 voxels or more wide; 0 is returned if they have one section.
    """
    shared = own = 0.0
    for block in blocks:
        depth, height, width = block.shape[0], block.shape[1] // _CELL, block.shape[2] // _CELL
        whole = np.asarray(block[:, : height * _CELL, : width * _CELL], np.float64)
        cells = whole.reshape(depth, height, _CELL, width, _CELL).mean(axis=(2, 4))
        cells -= cells.mean(axis=(1, 2), keepdims=True)
        if depth > 1:
            shared += float((cells[1:] * cells[:-1]).mean())
            own += float(np.square(cells).mean())
    return shared / own if own > 0 else 0.0
