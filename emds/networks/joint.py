"""Denoiser → segmenter → fusion: the forward path of every recipe.

A recipe is a choice of which of the three networks exist. What is absent is passed through:
without a denoiser the segmenter reads the noisy image, without a segmenter there is nothing to
fuse. So there is one forward path, and no class per recipe.

All three see a stack of adjacent sections as the channels of an image, and what they say is about
the section in the middle. The denoiser makes M coarse sections of K noisy ones; segmenter and
fusion see those M, or all K noisy ones where there is no denoiser.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn
from typing_extensions import override

from emds.geometry import middle
from emds.networks.fusion import FusionNetwork
from emds.networks.iem import IemMode
from emds.networks.unet import WIDTHS, UNet

NETWORKS = ("denoiser", "segmenter", "fusion")
"""The parts a `JointNetwork` may have, in the order data flows through them."""


@dataclass(frozen=True, slots=True)
class Architecture:
    """Everything needed to build the networks again; stored in the checkpoint.

    Attributes
    ----------
    networks : tuple of str
        Which of `NETWORKS` exist.
    width : str
        A key of `WIDTHS`.
    affinity_channels : int
        Offsets the segmenter predicts.
    window : int
        Attention window in pixels, the training crop.
    iem_mode : str
        See `emds.networks.iem.InstanceEmbedding`.
    in_slices : int
        Adjacent noisy sections that go in, odd: K.
    out_slices : int
        Coarse sections that come out of the denoiser, odd, at most K: M, those in the middle.
        Without a denoiser it means nothing.
    """

    networks: tuple[str, ...] = NETWORKS
    width: str = "small"
    affinity_channels: int = 10
    window: int = 256
    iem_mode: IemMode = "window"
    in_slices: int = 1
    out_slices: int = 1

    def to_dict(self) -> dict[str, Any]:
        """Return JSON primitives."""
        return asdict(self) | {"networks": list(self.networks)}

    def build(self) -> JointNetwork:
        """Return the network with PyTorch's default initialisation."""
        return JointNetwork(self)


@dataclass(frozen=True, slots=True)
class Prediction:
    """What a `JointNetwork` returns; None where the network for it is absent.

    Attributes
    ----------
    coarse : (n, M, y, x) or None
        Output of the denoiser, in [-1, 1] but not clamped.
    logits : (n, c, y, x) or None
        Affinities of the section in the middle, before the sigmoid.
    fused : (n, 1, y, x) or None
        Output of the fusion network, the section in the middle.
    """

    coarse: Tensor | None
    logits: Tensor | None
    fused: Tensor | None

    @property
    def coarse_section(self) -> Tensor | None:
        """The coarse section in the middle, (n, 1, y, x)."""
        return None if self.coarse is None else self.coarse[:, middle(self.coarse.shape[1])]

    @property
    def image(self) -> Tensor | None:
        """The best image of the section in the middle: fused, else coarse."""
        return self.coarse_section if self.fused is None else self.fused


class JointNetwork(nn.Module):
    """Up to three networks in a row, trained end to end.

    Examples
    --------
    >>> network = Architecture(width="tiny", window=32).build()
    >>> sum(p.numel() for p in network.parameters())
    344852
    >>> network(torch.zeros(1, 1, 32, 32)).logits.shape
    torch.Size([1, 10, 32, 32])
    """

    def __init__(self, architecture: Architecture) -> None:
        super().__init__()
        self.architecture = architecture
        widths = WIDTHS[architecture.width]
        channels = architecture.affinity_channels
        parts = architecture.networks
        noisy, coarse = architecture.in_slices, architecture.out_slices
        seen = coarse if "denoiser" in parts else noisy
        self.denoiser = UNet(noisy, coarse, widths) if "denoiser" in parts else None
        self.segmenter = UNet(seen, channels, widths) if "segmenter" in parts else None
        self.fusion = (
            FusionNetwork(seen, channels, widths, architecture.window, architecture.iem_mode)
            if "fusion" in parts
            else None
        )

    @override
    def forward(self, noisy: Tensor) -> Prediction:
        """Run the networks there are.

        Parameters
        ----------
        noisy : (n, K, y, x)
            Adjacent sections in the order of z, in [-1, 1]; y and x multiples of 8.
        """
        coarse = self.denoiser(noisy) if self.denoiser is not None else None
        image = noisy if coarse is None else coarse
        logits = self.segmenter(image) if self.segmenter is not None else None
        fused = (
            self.fusion(image, torch.sigmoid(logits))
            if self.fusion is not None and logits is not None
            else None
        )
        return Prediction(coarse, logits, fused)

    def keep_only(self, outputs: Sequence[str]) -> JointNetwork:
        """Drop the networks that these outputs (fused, coarse, affinities) do not need."""
        if "fused" not in outputs:
            self.fusion = None
            if "affinities" not in outputs:
                self.segmenter = None
        return self

    def parts(self, names: Sequence[str] = NETWORKS) -> dict[str, nn.Module]:
        """Return the named networks that exist."""
        found = {name: getattr(self, name) for name in names}
        return {name: part for name, part in found.items() if part is not None}
