"""What a network's clean image would look like, on average, under the noise of a volume.

Noise that is clipped at black and white has a mean that differs from the clean value: dark places
seem brighter and bright ones darker. A network that sees only noisy values would learn that. So
the noisy values are compared with the values expected for the network's image.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from emds.networks.intensity import Intensity
from emds.noise.estimate import NoiseEstimate

_SPAN = 2.0  # the table reaches to twice the range of images, [-1, 1]
_STEPS = 1024


@dataclass(frozen=True, slots=True)
class NoisyMean:
    """The mean of the noisy value over the clean one, both in the range of networks.

    Attributes
    ----------
    table : (N,) float32
        At evenly spaced clean values from -2 to 2; between them lies a straight line.
    """

    table: Tensor

    @classmethod
    def of(cls, estimate: NoiseEstimate, intensity: Intensity, device: torch.device) -> NoisyMean:
        """Return the mean under noise that was estimated, in a volume with these intensities."""
        low, high = intensity.low, intensity.high
        clean = np.linspace(-_SPAN, _SPAN, _STEPS + 1)
        grey = low + (clean + 1) / 2 * (high - low)
        seen = estimate.line.mean_after_clipping(grey, estimate.levels)
        table = torch.from_numpy((seen - low) / (high - low) * 2 - 1).float()
        return cls(table.to(device))

    def __call__(self, clean: Tensor) -> Tensor:
        """Return the mean noisy values of places with these clean ones, of any shape."""
        place = (clean.float() + _SPAN) * (_STEPS / (2 * _SPAN))
        index = place.detach().floor().clamp(0, _STEPS - 1).nan_to_num().long()
        share = place - index
        return torch.lerp(self.table[index], self.table[index + 1], share)
