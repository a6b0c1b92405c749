"""RIDNet: residual blocks with dilated branches and attention over channels."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from typing_extensions import override

from emds.geometry import middle

_BLOCKS = 4
_REDUCTION = 16  # of the channel attention's hidden layer


class RIDNet(nn.Module):
    """Head, four `EnhancementBlock`, tail, all at full resolution, without normalisation.

    Parameters
    ----------
    channels_in, channels_out : int
        Image channels; the output has no activation.
    features : int
        Channels between head and tail. The published code for the paper has 128.
    residual : bool
        The sections in the middle are added to the output, as a denoiser does and a segmenter
        cannot.

    Notes
    -----
    The channel attention averages over the whole image, so a result depends on the size of what
    the network is shown.

    References
    ----------
    Anwar and Barnes, Real Image Denoising with Feature Attention, ICCV 2019.

    Examples
    --------
    >>> sum(p.numel() for p in RIDNet(1, 1).parameters())
    1497041
    """

    def __init__(
        self, channels_in: int, channels_out: int, features: int = 64, *, residual: bool = True
    ) -> None:
        super().__init__()
        self.residual = residual
        self.head = nn.Sequential(_conv(channels_in, features), nn.ReLU(inplace=True))
        self.blocks = nn.Sequential(*(EnhancementBlock(features) for _ in range(_BLOCKS)))
        self.tail = _conv(features, channels_out)

    @override
    def forward(self, image: Tensor) -> Tensor:
        """Map (n, channels_in, y, x) to (n, channels_out, y, x)."""
        features = self.head(image)
        out: Tensor = self.tail(self.blocks(features) + features)
        return out + image[:, middle(image.shape[1], out.shape[1])] if self.residual else out


class EnhancementBlock(nn.Module):
    """Two dilated branches, three residual stages, a weight for every channel, and a skip."""

    def __init__(self, features: int) -> None:
        super().__init__()
        relu = nn.ReLU(inplace=True)
        self.near = nn.Sequential(
            _conv(features, features, dilation=1), relu, _conv(features, features, dilation=2), relu
        )
        self.far = nn.Sequential(
            _conv(features, features, dilation=3), relu, _conv(features, features, dilation=4), relu
        )
        self.merge = nn.Sequential(_conv(2 * features, features), relu)
        self.refine = nn.Sequential(_conv(features, features), relu, _conv(features, features))
        self.enhance = nn.Sequential(
            _conv(features, features),
            relu,
            _conv(features, features),
            relu,
            nn.Conv2d(features, features, 1),
        )
        self.attention = nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Conv2d(features, features // _REDUCTION, 1),
            relu,
            nn.Conv2d(features // _REDUCTION, features, 1),
            nn.Sigmoid(),
        )

    @override
    def forward(self, features: Tensor) -> Tensor:
        """Return enriched features; both are (n, features, y, x)."""
        branches = torch.cat([self.near(features), self.far(features)], dim=1)
        first = self.merge(branches) + features
        second = torch.relu(self.refine(first) + first)
        third = torch.relu(self.enhance(second) + second)
        out: Tensor = third * self.attention(third) + features
        return out


def _conv(channels_in: int, channels_out: int, dilation: int = 1) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 3, padding=dilation, dilation=dilation)
