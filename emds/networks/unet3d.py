"""A U-Net in three dimensions, for a stack of sections: it convolves along all axes.

Sections are the depth of the features and not their channels, so one kernel serves every section
of the stack. Sections are few, often far apart, and pooling would blur the one in the middle; so
depth is never pooled, and of two convolutions one stays within sections.
"""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from torch import Tensor, nn
from typing_extensions import override

from emds.geometry import middle
from emds.networks.unet import Widths


class UNet3d(nn.Module):
    """Residual units at full, half, quarter and eighth resolution, skips that are added.

    Parameters
    ----------
    sections : int
        Depth of the stack that goes in, odd. Of a single section the network is a U-Net in the
        plane: its kernels have no depth.
    sections_out : int
        Sections in the middle of the stack that are predicted, odd.
    channels_out : int
        Outputs for a voxel, without activation: grey values or affinities.
    widths : (int, int, int)
        Feature channels at resolution 1, 1/2 and 1/4; at 1/8 there are twice the last.

    References
    ----------
    Lee et al., Superhuman accuracy on the SNEMI3D connectomics challenge, arXiv:1706.00120: units
    that begin within sections, sums for skips, pooling in y and x. Their units hold one more
    convolution.

    Examples
    --------
    >>> sum(p.numel() for p in UNet3d(5, 3, 1, (16, 32, 64)).parameters())
    922641
    """

    def __init__(self, sections: int, sections_out: int, channels_out: int, widths: Widths) -> None:
        super().__init__()
        self.sections_out = sections_out
        full, half, quarter = widths
        depth = min(3, sections)
        self.encode_full = Unit(1, full, depth)
        self.encode_half = Unit(full, half, depth)
        self.encode_quarter = Unit(half, quarter, depth)
        self.pool = nn.MaxPool3d((1, 2, 2))
        self.bottleneck = Unit(quarter, 2 * quarter, depth)
        self.up_quarter = upsample(2 * quarter, quarter)
        self.decode_quarter = Unit(quarter, quarter, depth)
        self.up_half = upsample(quarter, half)
        self.decode_half = Unit(half, half, depth)
        self.up_full = upsample(half, full)
        self.decode_full = Unit(full, full, depth)
        self.head = nn.Conv3d(full, channels_out, (1, 3, 3), padding=(0, 1, 1))

    @override
    def forward(self, image: Tensor) -> Tensor:
        """Map (n, sections, y, x) to (n, channels_out · sections_out, y, x)."""
        full = self.encode_full(image.unsqueeze(1))
        half = self.encode_half(self.pool(full))
        quarter = self.encode_quarter(self.pool(half))
        deepest = self.bottleneck(self.pool(quarter))
        up = self.decode_quarter(self.up_quarter(deepest) + quarter)
        up = self.decode_half(self.up_half(up) + half)
        up = self.decode_full(self.up_full(up) + full)
        out: Tensor = self.head(up[:, :, middle(up.shape[2], self.sections_out)])
        return out.flatten(1, 2)


class Unit(nn.Module):
    """A convolution within sections, then one across `depth` of them beside a shortcut."""

    def __init__(self, channels_in: int, channels_out: int, depth: int) -> None:
        super().__init__()
        self.within = conv_norm(channels_in, channels_out, 1)
        self.across = conv_norm(channels_out, channels_out, depth)

    @override
    def forward(self, features: Tensor) -> Tensor:
        """Map (n, channels_in, z, y, x) to (n, channels_out, z, y, x)."""
        within = F.relu(self.within(features))
        return F.relu(within + self.across(within))


def conv_norm(channels_in: int, channels_out: int, depth: int) -> nn.Sequential:
    """Return a depth×3×3 convolution without bias, and batch normalisation."""
    return nn.Sequential(
        nn.Conv3d(channels_in, channels_out, (depth, 3, 3), padding=(depth // 2, 1, 1), bias=False),
        nn.BatchNorm3d(channels_out),
    )


def upsample(channels_in: int, channels_out: int) -> nn.ConvTranspose3d:
    """Return a transposed convolution that doubles the resolution within sections."""
    return nn.ConvTranspose3d(channels_in, channels_out, (1, 2, 2), stride=(1, 2, 2))
