"""How well does a network predict noisy sections? The judge of `emds adapt`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from emds.geometry import Roi, Triple
from emds.io import read_padded
from emds.io.volume import Volume
from emds.metrics.intervals import section_interval
from emds.networks.intensity import Intensity
from emds.networks.joint import JointNetwork
from emds.numbers import STRIDE
from emds.training.blind_spot import hide_spots
from emds.training.noisy_mean import NoisyMean

_MOST_SECTIONS = 16
_LARGEST = 512  # pixels a side: of larger sections the central part is enough to judge by
_ROUNDS = 2  # in which spots are hidden at other places


@dataclass(frozen=True, slots=True)
class Judgement:
    """Errors at blind spots before and after, section by section.

    Attributes
    ----------
    before, after : (S,) float64
        Mean square of the final image less the noisy one, grey levels²; most of it is noise that
        nothing can predict.
    """

    before: NDArray[np.float64]
    after: NDArray[np.float64]

    @property
    def difference(self) -> float:
        """After less before: below 0 if hidden places are predicted better.

        That is no proof of a better image where nothing is hidden: spots are filled in as well.
        """
        return float((self.after - self.before).mean())

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the difference, over sections."""
        return section_interval((self.after - self.before).tolist())

    @property
    def is_better(self) -> bool:
        """Whether the error fell beyond chance."""
        return self.interval[1] < 0

    def __str__(self) -> str:
        """Return one sentence without an end."""
        low, high = self.interval
        return (
            f"at blind spots of {len(self.before)} held-out sections the error went from "
            f"{self.before.mean():.1f} to {self.after.mean():.1f} grey levels² (by "
            f"{self.difference:+.2f}, 95 % interval {low:+.2f} to {high:+.2f})"
        )

    def rows(self) -> list[tuple[str, float, str]]:
        """Return (name, value, remark) for a table."""
        low, high = self.interval
        return [
            ("error before", float(self.before.mean()), "grey levels², most of it noise"),
            ("error after", float(self.after.mean()), "at the same blind spots"),
            ("difference", self.difference, f"95 % interval {low:.4g} to {high:.4g}"),
            ("sections", float(len(self.before)), "held out"),
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON primitives, grey levels²."""
        return {
            "before": float(self.before.mean()),
            "after": float(self.after.mean()),
            "difference": self.difference,
            "interval": list(self.interval),
            "sections": len(self.before),
        }


class HeldOut:
    """Sections to judge by, with the same blind spots for every network.

    Spots lie in the section that is predicted alone; the sections around it are seen as they are,
    as in inference.

    Parameters
    ----------
    volume : Volume
        Noisy grey values.
    region : Roi
        Of it the central part of the sections is used.
    sections : (int, int)
        The held-out range; of many, some evenly spaced.
    slices : int
        Adjacent sections that the network sees.
    reach : (z, y, x)
        Correlation length of the noise, see `hide_spots`.
    noisy_mean : NoisyMean
        Expected noisy value for a given true grey value.
    intensity : Intensity
        Grey values that map to -1 and +1.
    seed : int
        Chooses the spots.
    device : torch.device
        Device to compute on.
    """

    def __init__(
        self,
        volume: Volume,
        region: Roi,
        sections: tuple[int, int],
        *,
        slices: int,
        reach: Triple,
        noisy_mean: NoisyMean,
        intensity: Intensity,
        seed: int,
        device: torch.device,
    ) -> None:
        self.noisy_mean = noisy_mean
        self.scale = (intensity.high - intensity.low) / 2
        self.device = device
        self.half = slices // 2
        count = min(_MOST_SECTIONS, sections[1] - sections[0])
        chosen = np.linspace(sections[0], sections[1] - 1, count).round().astype(int)
        self.stacks: list[NDArray[np.float32]] = []
        self.hidden: list[NDArray[np.float32]] = []
        self.spots: list[NDArray[np.bool_]] = []
        for z in chosen.tolist():
            box = _central(region, z, self.half)
            stack = intensity.to_network(read_padded(volume, box).astype(np.float32))
            rng = np.random.default_rng(np.random.SeedSequence([seed, z]))
            drawn = [hide_spots(stack, 1, reach, rng) for _ in range(_ROUNDS)]
            hidden, spots = (np.stack(column) for column in zip(*drawn, strict=True))
            self.stacks.append(stack[self.half])
            self.hidden.append(hidden)
            self.spots.append(spots[:, 0])

    @torch.inference_mode()
    def __call__(self, network: JointNetwork) -> NDArray[np.float64]:
        """Return the mean square error of each section at its spots, (S,) in grey levels²."""
        errors = []
        for noisy, hidden, spots in zip(self.stacks, self.hidden, self.spots, strict=True):
            images = [network(torch.from_numpy(one[None]).to(self.device)).image for one in hidden]
            seen = self.noisy_mean(torch.cat(images)[:, 0]).cpu().numpy()
            off = (seen - noisy)[spots].astype(np.float64)
            errors.append(float(np.square(off).mean()) * self.scale**2)
        return np.array(errors)


def _central(region: Roi, z: int, half: int) -> Roi:
    """Return the stack around section `z`, of a width that networks take."""
    sides = [min(n - n % STRIDE, _LARGEST) for n in region.shape[1:]]
    corner = [
        begin + (n - side) // 2
        for begin, n, side in zip(region.offset[1:], region.shape[1:], sides, strict=True)
    ]
    return Roi((z - half, corner[0], corner[1]), (2 * half + 1, sides[0], sides[1]))
