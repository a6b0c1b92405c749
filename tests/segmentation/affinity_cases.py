"""Small volumes of affinities for Hypothesis, with as many or as few ties as one likes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from hypothesis import strategies as st

from emds.segmentation.affinities import AffinitySpec

PLANAR_OFFSETS = [(0, -1, 0), (0, 0, -1), (0, 1, 0), (0, -3, 0), (0, 0, 2), (0, 2, -2), (0, 0, -9)]
ALL_OFFSETS = [*PLANAR_OFFSETS, (-1, 0, 0), (1, 0, 0), (-2, 1, 0), (1, -1, -1), (-4, 0, 0)]


@dataclass
class Case:
    affinities: np.ndarray
    spec: AffinitySpec
    strides: tuple[int, int, int]
    mask: np.ndarray | None
    origin: tuple[int, int, int]

    @property
    def options(self):
        return {"strides": self.strides, "mask": self.mask, "origin": self.origin}


@st.composite
def specs(draw):
    offsets = draw(st.permutations(draw(st.sampled_from([PLANAR_OFFSETS, ALL_OFFSETS]))))
    count = draw(st.sampled_from([1, 3, 5, 7]))
    flags = [True, *draw(st.lists(st.booleans(), min_size=count - 1, max_size=count - 1))]
    return AffinitySpec(tuple(offsets[:count]), tuple(draw(st.permutations(flags))))


@st.composite
def cases(draw, tied=True):
    spec = draw(specs())
    # Sizes come from a short list and values from a generator: Hypothesis by itself would draw
    # mostly volumes of a few voxels, in which nothing can go wrong.
    shape = tuple(draw(st.sampled_from(sizes)) for sizes in ([1, 2, 3], [4, 5], [1, 5, 6]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = (spec.channels, *shape)
    if tied:
        dtype = draw(st.sampled_from([np.uint8, np.uint16]))
        levels = draw(st.sampled_from([2, 4, 12, 1000]))
        palette = rng.integers(0, np.iinfo(dtype).max + 1, levels)
        # The larger of two draws: with one, mutexes would come first and keep everything apart.
        affinities = np.maximum(rng.choice(palette, size), rng.choice(palette, size)).astype(dtype)
    else:
        affinities = untied_affinities(rng, spec, shape)
    mask = rng.random(shape) < 0.8 if draw(st.booleans()) else None
    strides = tuple(rng.integers(1, 4, 3).tolist())
    origin = tuple(rng.integers(0, 5, 3).tolist())
    return Case(affinities, spec, strides, mask, origin)


def untied_affinities(rng, spec, shape):
    """Affinities of type uint16 with which no two edges have the same weight."""
    size = (spec.channels, *shape)
    weights = rng.permutation(65536)[: np.prod(size)].reshape(size)
    attractive = np.array(spec.attractive)[:, None, None, None]
    return np.where(attractive, weights, 65535 - weights).astype(np.uint16)
