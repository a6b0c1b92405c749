"""Samples of a noisy volume with blind spots, each a function of (seed, step, index) alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emds.geometry import Roi, Triple, middle
from emds.io.volume import Volume
from emds.networks.intensity import Intensity
from emds.training.augment import dihedral
from emds.training.blind_spot import hide_spots

_FLIPS = (0, 2, 4, 6)  # of `dihedral`: those that leave rows rows, as the noise may run along them


@dataclass(frozen=True, slots=True)
class HiddenBatch:
    """Samples of one step, in the range of networks.

    Attributes
    ----------
    hidden : (n, K, y, x) float32
        Adjacent noisy sections, the spots overwritten.
    noisy : (n, M, y, x) float32
        The sections in the middle as they are.
    spots : (n, M, y, x) bool
        Where to compare with them.
    """

    hidden: NDArray[np.float32]
    noisy: NDArray[np.float32]
    spots: NDArray[np.bool_]


class HiddenSampler:
    """Draws stacks of square sections with blind spots.

    Parameters
    ----------
    volume : Volume
        Noisy grey values.
    region : Roi
        The stacks lie inside.
    starts : sequence of int
        First sections of the stacks that may be drawn.
    slices : (int, int)
        Sections that the network sees, and those of them that it predicts: K and M.
    side : int
        Side of the squares, pixels.
    count : int
        Samples of a step.
    reach : (z, y, x)
        Correlation length of the noise, see `hide_spots`.
    intensity : Intensity
        Grey values that map to -1 and +1.
    seed : int
        Not negative.
    """

    def __init__(
        self,
        volume: Volume,
        region: Roi,
        starts: Sequence[int],
        *,
        slices: tuple[int, int],
        side: int,
        count: int,
        reach: Triple,
        intensity: Intensity,
        seed: int,
    ) -> None:
        self.volume = volume
        self.region = region
        self.starts = starts
        self.slices = slices
        self.side = side
        self.count = count
        self.reach = reach
        self.intensity = intensity
        self.seed = seed

    def batch(self, step: int) -> HiddenBatch:
        """Return the samples of one step."""
        drawn = [self._sample(step, index) for index in range(self.count)]
        hidden, noisy, spots = (np.stack(column) for column in zip(*drawn, strict=True))
        return HiddenBatch(hidden, noisy, spots)

    def _sample(self, step: int, index: int) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        rng = np.random.default_rng(np.random.SeedSequence([self.seed, step, index]))
        seen, predicted = self.slices
        corner = tuple(
            int(rng.integers(begin, end - self.side + 1))
            for begin, end in zip(self.region.offset[1:], self.region.end[1:], strict=True)
        )
        z = int(rng.choice(self.starts))
        box = Roi((z, corner[0], corner[1]), (seen, self.side, self.side))
        stack = self.intensity.to_network(self.volume.read(box).astype(np.float32))
        hidden, spots = hide_spots(stack, predicted, self.reach, rng)
        flip = int(rng.choice(_FLIPS)) + 8 * int(rng.integers(2))
        noisy = stack[middle(seen, predicted)]
        return dihedral(hidden, flip), dihedral(noisy, flip), dihedral(spots, flip)
