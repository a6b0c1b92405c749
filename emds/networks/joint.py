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
from typing import Annotated, Any, Literal, get_args

import torch
from pydantic import ConfigDict, Field, model_validator
from pydantic.dataclasses import dataclass as checked_dataclass
from torch import Tensor, nn
from typing_extensions import override

from emds.config import Backbone
from emds.geometry import middle
from emds.networks.backbones import BACKBONES, Surroundings
from emds.networks.fusion import FusionKind, make_fusion
from emds.networks.iem import IemMode
from emds.networks.unet import WIDTHS

Part = Literal["denoiser", "segmenter", "fusion"]
NETWORKS: tuple[Part, ...] = get_args(Part)
"""The parts a `JointNetwork` may have, in the order data flows through them."""

Side = Annotated[int, Field(ge=8, le=4096)]
"""Of a square of pixels that a network is made for: three poolings leave one of the least."""

Channels = Annotated[int, Field(ge=1, le=256)]


@checked_dataclass(frozen=True, slots=True, config=ConfigDict(extra="forbid"))
class Architecture:
    """Everything needed to build the networks again; stored in the checkpoint.

    Attributes
    ----------
    networks : tuple of str
        Which of `NETWORKS` exist.
    denoiser, segmenter : str
        Which network plays the part, a key of `BACKBONES`.
    fusion : str
        See `emds.networks.fusion.make_fusion`.
    width : str
        A key of `WIDTHS`, of the U-Nets and the fusion.
    affinity_channels : int
        Offsets the segmenter predicts.
    window : int
        Attention window in pixels, the training crop.
    iem_mode : str
        See `emds.networks.iem`.
    in_slices : int
        Adjacent noisy sections that go in, odd: K.
    out_slices : int
        Number M of coarse sections that the denoiser returns, odd, at most K; those in the middle.
        Without a denoiser it means nothing.

    Raises
    ------
    pydantic.ValidationError
        If a value is of another kind or out of its range, or two do not fit together.
    """

    networks: tuple[Part, ...] = NETWORKS
    denoiser: Backbone = "unet"
    segmenter: Backbone = "unet"
    fusion: FusionKind = "instance"
    width: Literal["tiny", "small", "paper", "large"] = "small"
    affinity_channels: Channels = 10
    window: Side = 256
    iem_mode: IemMode = "window"
    in_slices: Channels = 1
    out_slices: Channels = 1

    @model_validator(mode="after")
    def _fits_together(self) -> Architecture:
        if not self.networks or list(self.networks) != [n for n in NETWORKS if n in self.networks]:
            raise ValueError(
                f"networks are some of {', '.join(NETWORKS)}, in this order, each once"
            )
        if (
            "fusion" in self.networks
            and self.fusion == "instance"
            and "segmenter" not in self.networks
        ):
            raise ValueError("a fusion network of affinities needs a segmenter")
        if not self.in_slices % 2 or not self.out_slices % 2 or self.out_slices > self.in_slices:
            raise ValueError("in_slices and out_slices are odd, and the second at most the first")
        return self

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
        affinities, window = architecture.affinity_channels, architecture.window
        noisy, coarse = architecture.in_slices, architecture.out_slices
        seen = coarse if "denoiser" in architecture.networks else noisy
        images = Surroundings(noisy, coarse, denoises=True, widths=widths, crop=window)
        labels = Surroundings(seen, affinities, denoises=False, widths=widths, crop=window)
        self.denoiser = self.segmenter = self.fusion = None
        if "denoiser" in architecture.networks:
            self.denoiser = BACKBONES[architecture.denoiser](images)
        if "segmenter" in architecture.networks:
            self.segmenter = BACKBONES[architecture.segmenter](labels)
        if "fusion" in architecture.networks:
            self.fusion = make_fusion(
                architecture.fusion, seen, affinities, widths, window, architecture.iem_mode
            )

    @override
    def forward(self, noisy: Tensor, *, detach_affinities: bool = False) -> Prediction:
        """Run the networks there are.

        Parameters
        ----------
        noisy : (n, K, y, x)
            Adjacent sections in the order of z, in [-1, 1]; y and x multiples of 8.
        detach_affinities : bool
            The fusion's gradients stop before the segmenter.
        """
        coarse = self.denoiser(noisy) if self.denoiser is not None else None
        image = noisy if coarse is None else coarse
        logits = self.segmenter(image) if self.segmenter is not None else None
        affinities = None if logits is None else torch.sigmoid(logits)
        if affinities is not None and detach_affinities:
            affinities = affinities.detach()
        fused = self.fusion(image, affinities) if self.fusion is not None else None
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
