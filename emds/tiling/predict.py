"""From grey values to denoised image and affinities: the network as a tile predictor."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from emds.networks.device import place
from emds.networks.intensity import Intensity
from emds.networks.joint import JointNetwork


class NetworkPredictor:
    """Runs a `JointNetwork` on batches of tiles, section by section with its neighbours.

    Parameters
    ----------
    network : JointNetwork
        In evaluation mode.
    outputs : tuple of str
        What to return, stacked along the channel axis in this order: ``fused`` or ``coarse``
        (one channel, in grey values) and ``affinities`` (one channel per offset, 0 to 1).
    intensity : Intensity
        Grey values that map to -1 and +1, both ways.
    device : torch.device
        Device to compute on.
    batch_size : int
        Tiles per call.
    precision : {"fp32", "bf16"}
        bf16 computes convolutions in 16 bits; faster where the hardware has it.
    """

    def __init__(
        self,
        network: JointNetwork,
        outputs: tuple[Literal["fused", "coarse", "affinities"], ...],
        *,
        intensity: Intensity,
        device: torch.device,
        batch_size: int,
        precision: Literal["fp32", "bf16"] = "fp32",
    ) -> None:
        place(network, device)
        self.network = network
        self.outputs = outputs
        self.intensity = intensity
        self.device = device
        self.batch_size = batch_size
        self.precision = precision
        offsets = network.architecture.affinity_channels
        self.channels = sum(offsets if name == "affinities" else 1 for name in outputs)
        self.halo = network.architecture.in_slices // 2

    @torch.inference_mode()
    def __call__(self, tiles: NDArray[Any]) -> NDArray[np.float32]:
        """Map (n, halo + z + halo, y, x) grey values to (n, channels, z, y, x) float32."""
        grey = torch.from_numpy(tiles.astype(np.float32)).to(self.device)
        values = self.intensity.to_network(grey)
        stacks = values.unfold(1, 2 * self.halo + 1, 1).movedim(-1, 2)
        n, z, _, y, x = stacks.shape
        stacks = stacks.flatten(0, 1).contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
            prediction = self.network(stacks)
        images = {"fused": prediction.fused, "coarse": prediction.coarse_section}
        parts = []
        for name in self.outputs:
            if name == "affinities":
                parts.append(torch.sigmoid(prediction.logits.float()))
            else:
                parts.append(self.intensity.from_network(images[name].float()))
        stacked = torch.cat(parts, dim=1).cpu().numpy()
        return stacked.reshape(n, z, self.channels, y, x).transpose(0, 2, 1, 3, 4)
