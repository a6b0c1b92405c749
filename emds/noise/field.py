"""Noise of one section of a box of voxels, generated from global positions alone."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emds.kernels import njit
from emds.noise.distributions import fill_normal, fill_poisson
from emds.noise.philox import Key


@njit(inline="always")
def _to_grey(value: float) -> int:
    # Clipped before the cast: 256 and -1 would come out as 0 and 255.
    return int(np.rint(min(max(value, 0.0), 255.0)))


@njit()
def sensor_section(
    grey: NDArray[np.uint8],
    key: Key,
    z: int,
    ys: NDArray[np.uint64],
    xs: NDArray[np.uint64],
    base: NDArray[np.float64],
    scale: float,
    table: NDArray[np.float64],
    sigma: float,
) -> None:
    """Replace each grey level g by ``base[g] + scale * Poisson(mean[g]) + Normal(0, sigma**2)``.

    Parameters
    ----------
    grey : (Y, X) uint8
        The section, changed in place: callers hand over a copy.
    key : (uint64, uint64)
        From `make_key`.
    z, ys, xs : int, (Y,) uint64, (X,) uint64
        Global position of the section, its rows and its columns, each below 2**32.
    base : (256,) float64
        Noise-free part by grey value, grey levels.
    scale : float
        Grey levels per count; 0 leaves the Poisson part out.
    table : (256, 7) float64
        `poisson_table` of the mean counts by grey value.
    sigma : float
        Standard deviation of the normal part, grey levels; 0 leaves it out.
    """
    section = np.uint64(z)
    normals, counts = np.zeros(xs.size), np.zeros(xs.size)
    for i in range(ys.size):
        if sigma > 0.0:
            fill_normal(key, section, ys[i], xs, normals)
        if scale > 0.0:
            fill_poisson(key, section, ys[i], xs, table, grey[i], counts)
        for j in range(xs.size):
            value = base[grey[i, j]] + scale * counts[j] + sigma * normals[j]
            grey[i, j] = _to_grey(value)


def reflect(start: int, stop: int, size: int) -> NDArray[np.uint64]:
    """Map positions from `start` to `stop` into ``range(size)`` by mirrors at both edges.

    The edge voxel is repeated, ``b a | a b c d | d c``: scipy.ndimage calls this ``reflect``.

    Examples
    --------
    >>> reflect(-2, 6, 4).tolist()
    [1, 0, 0, 1, 2, 3, 3, 2]
    """
    place = np.arange(start, stop) % (2 * size)
    return np.where(place < size, place, 2 * size - 1 - place).astype(np.uint64)


@njit()
def film_section(
    grey: NDArray[np.uint8],
    key: Key,
    z: int,
    ys: NDArray[np.uint64],
    xs: NDArray[np.uint64],
    kernel: int,
    centre: float,
    gain: float,
    lowest: float,
    highest: float,
) -> None:
    """Multiply grey levels by ``clip(centre + gain * z, lowest, highest)``, z a blurred field.

    z is the mean of kernel × kernel standard normal numbers times `kernel`. A running sum would
    be cheaper, but its rounding would depend on where the box starts.

    Parameters
    ----------
    grey : (Y, X) uint8
        The section, changed in place: callers hand over a copy.
    key : (uint64, uint64)
        From `make_key`.
    z, ys, xs : int, (Y + kernel - 1,) uint64, (X + kernel - 1,) uint64
        Global position of the section and of the rows and columns under the kernel.
    kernel : int
        Side of the box, voxels.
    """
    height, width = grey.shape
    normals = np.empty(xs.size)
    across = np.zeros((ys.size, width))
    for i in range(ys.size):
        fill_normal(key, np.uint64(z), ys[i], xs, normals)
        for k in range(kernel):
            for j in range(width):
                across[i, j] += normals[j + k]
    total = np.empty(width)
    for i in range(height):
        total[:] = 0.0
        for k in range(kernel):
            for j in range(width):
                total[j] += across[i + k, j]
        for j in range(width):
            multiplier = min(max(centre + gain * (total[j] / kernel), lowest), highest)
            grey[i, j] = _to_grey(grey[i, j] * multiplier)
