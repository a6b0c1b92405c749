"""Random bits as a pure function of (key, voxel position, draw): Philox4x32-10.

A stateful generator hands out numbers in the order they are asked for, so its noise would
depend on chunking and threads. Philox is a keyed bijection of a 128-bit counter; with the
position as the counter every voxel owns its numbers, and any box can be made on its own, in
any order. Why Philox rather than a cheaper integer hash: neighbouring counters are what it was
made for, it passes BigCrush with three of its ten rounds to spare, there are published test
vectors, and it is nothing but 32-bit products, so a row of voxels runs in SIMD.

References
----------
Salmon, Moraes, Dror & Shaw, Parallel random numbers: as easy as 1, 2, 3, SC 2011.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emds.kernels import njit

_LOW = np.uint64(0xFFFFFFFF)
_HALF = np.uint64(32)
_DROPPED = np.uint64(12)
_MULTIPLIER_0 = np.uint64(0xD2511F53)
_MULTIPLIER_1 = np.uint64(0xCD9E8D57)
_KEY_STEP_0 = np.uint64(0x9E3779B9)
_KEY_STEP_1 = np.uint64(0xBB67AE85)

Key = tuple[np.uint64, np.uint64]


def make_key(*entropy: int) -> Key:
    """Hash non-negative integers (seed, kind of noise) into a Philox key.

    Returns
    -------
    (uint64, uint64)
        Two words of 32 bits.
    """
    low, high = np.random.SeedSequence(entropy).generate_state(2, np.uint32)
    return np.uint64(low), np.uint64(high)


@njit(inline="always")
def philox(
    key: Key, c0: np.uint64, c1: np.uint64, c2: np.uint64, c3: np.uint64
) -> tuple[np.uint64, np.uint64, np.uint64, np.uint64]:
    """Return the four 32-bit words of one counter; all in and out are uint64 below 2**32."""
    k0, k1 = key
    for _ in range(10):
        first = c0 * _MULTIPLIER_0
        second = c2 * _MULTIPLIER_1
        c0 = (second >> _HALF) ^ c1 ^ k0
        c1 = second & _LOW
        c2 = (first >> _HALF) ^ c3 ^ k1
        c3 = first & _LOW
        k0 = (k0 + _KEY_STEP_0) & _LOW
        k1 = (k1 + _KEY_STEP_1) & _LOW
    return c0, c1, c2, c3


@njit(inline="always")
def voxel_uniforms(
    key: Key, z: np.uint64, y: np.uint64, x: np.uint64, draw: np.uint64
) -> tuple[float, float]:
    """Return two numbers of a voxel, uniform on the open interval (0, 1).

    Each is the middle of one of 2**52 equal cells, so neither 0 nor 1 ever comes.
    """
    w0, w1, w2, w3 = philox(key, x, y, z, draw)
    first = ((w1 << _HALF) | w0) >> _DROPPED
    second = ((w3 << _HALF) | w2) >> _DROPPED
    return (np.float64(first) + 0.5) * 2.0**-52, (np.float64(second) + 0.5) * 2.0**-52


@njit()
def fill_uniforms(
    key: Key,
    z: np.uint64,
    y: np.uint64,
    xs: NDArray[np.uint64],
    draw: np.uint64,
    first: NDArray[np.float64],
    second: NDArray[np.float64],
) -> None:
    """Fill two buffers with the `voxel_uniforms` of a row."""
    for i in range(xs.size):
        first[i], second[i] = voxel_uniforms(key, z, y, xs[i], draw)
