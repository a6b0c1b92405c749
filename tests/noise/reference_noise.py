"""Slow, obvious versions of the noise models, one voxel after the other."""

from __future__ import annotations

import math

import numpy as np
from scipy.ndimage import uniform_filter
from scipy.special import ndtri

from emds.noise import Film, GaussianPoisson

_MASK = 2**32 - 1


def philox_words(key: tuple[int, int], counter: tuple[int, int, int, int]) -> list[int]:
    """Philox4x32-10 in Python integers."""
    (k0, k1), (c0, c1, c2, c3) = key, counter
    for _ in range(10):
        first, second = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = (
            (second >> 32) ^ c1 ^ k0,
            second & _MASK,
            (first >> 32) ^ c3 ^ k1,
            first & _MASK,
        )
        k0, k1 = (k0 + 0x9E3779B9) & _MASK, (k1 + 0xBB67AE85) & _MASK
    return [c0, c1, c2, c3]


def uniforms(seed: int, kind_id: int, z: int, y: int, x: int, draw: int) -> tuple[float, float]:
    key = np.random.SeedSequence([seed, kind_id]).generate_state(2, np.uint32).tolist()
    a, b, c, d = philox_words((key[0], key[1]), (x, y, z, draw))
    return ((b << 32 | a) // 2**12 + 0.5) / 2**52, ((d << 32 | c) // 2**12 + 0.5) / 2**52


def normal(seed: int, kind_id: int, z: int, y: int, x: int) -> float:
    return float(ndtri(uniforms(seed, kind_id, z, y, x, 0)[0]))


def poisson(mean: float, seed: int, kind_id: int, z: int, y: int, x: int) -> int:
    """Inversion below 10, Hörmann's PTRS as printed from there on."""
    draw = 1
    u, v = uniforms(seed, kind_id, z, y, x, draw)
    if mean < 10:
        k = 0
        while u > math.fsum(math.exp(-mean) * mean**i / math.factorial(i) for i in range(k + 1)):
            k += 1
        return k
    b = 0.931 + 2.53 * math.sqrt(mean)
    a = -0.059 + 0.02483 * b
    while True:
        u -= 0.5
        us = 0.5 - abs(u)
        k = math.floor((2 * a / us + b) * u + mean + 0.43)
        if us >= 0.07 and v <= 0.9277 - 3.6224 / (b - 2):
            return k
        if k >= 0 and not (us < 0.013 and v > us):
            left = math.log(v * (1.1239 + 1.1328 / (b - 3.4)) / (a / us**2 + b))
            if left <= -mean + k * math.log(mean) - math.lgamma(k + 1):
                return k
        draw += 1
        u, v = uniforms(seed, kind_id, z, y, x, draw)


def to_grey(value: float) -> int:
    return round(min(max(value, 0), 255))


def shot_noise(image: np.ndarray, sigma: float, lam: float, seed: int, origin) -> np.ndarray:
    """GaussianPoisson in mode shot with given parameters."""
    noisy = np.empty_like(image)
    for (z, y, x), grey in np.ndenumerate(image):
        place = tuple(int(i) for i in np.add((z, y, x), origin))
        count = poisson(lam * int(grey), seed, GaussianPoisson.kind_id, *place)
        readout = sigma * normal(seed, GaussianPoisson.kind_id, *place)
        noisy[z, y, x] = to_grey(count / lam + readout)
    return noisy


def film_field(shape: tuple[int, int, int], kernel: int, seed: int) -> np.ndarray:
    """The field z of film noise: whole sections, blurred by scipy."""
    field = np.empty(shape)
    for place in np.ndindex(shape):
        field[place] = normal(seed, Film.kind_id, *place)
    return kernel * uniform_filter(field, size=(1, kernel, kernel), mode="reflect")
