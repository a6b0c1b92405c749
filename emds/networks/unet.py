"""The U-Net that denoises and segments a stack of sections: three poolings, no global skip."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from typing_extensions import override

Widths = tuple[int, int, int]

WIDTHS: Mapping[str, Widths] = {
    "tiny": (8, 16, 32),
    "small": (16, 32, 64),
    "paper": (32, 64, 128),
    "large": (64, 128, 256),
}
"""Feature channels at full, half and quarter resolution, by name."""

"""Inputs must be a multiple of this many pixels on both axes: three poolings."""


def conv_block(channels_in: int, channels_out: int) -> nn.Sequential:
    """Return 3×3 convolution, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


def double_conv(channels_in: int, channels_out: int) -> nn.Sequential:
    """Return two `conv_block` in a row, the unit of every resolution level."""
    return nn.Sequential(
        conv_block(channels_in, channels_out), conv_block(channels_out, channels_out)
    )


def upsample(channels_in: int, channels_out: int) -> nn.Sequential:
    """Return a transposed convolution that doubles the resolution."""
    return nn.Sequential(
        nn.ConvTranspose2d(channels_in, channels_out, 3, stride=2, padding=1, output_padding=1),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    """Encoder–decoder with skips at full, half and quarter resolution.

    Parameters
    ----------
    channels_in, channels_out : int
        Image channels; the output has no activation.
    widths : (int, int, int)
        Feature channels at resolution 1, 1/2 and 1/4; the bottleneck at 1/8 doubles the last.

    References
    ----------
    Wang et al., MICCAI 2024, section 2; Ronneberger et al., MICCAI 2015.
    """

    def __init__(self, channels_in: int, channels_out: int, widths: Widths) -> None:
        super().__init__()
        full, half, quarter = widths
        self.encode_full = double_conv(channels_in, full)
        self.encode_half = double_conv(full, half)
        self.encode_quarter = double_conv(half, quarter)
        self.pool = nn.MaxPool2d(2)
        self.bottleneck = nn.Sequential(
            conv_block(quarter, 2 * quarter),
            conv_block(2 * quarter, quarter),
            upsample(quarter, quarter),
        )
        self.decode_quarter = nn.Sequential(
            conv_block(2 * quarter, quarter), conv_block(quarter, quarter), upsample(quarter, half)
        )
        self.decode_half = nn.Sequential(
            conv_block(2 * half, half), conv_block(half, half), upsample(half, full)
        )
        self.decode_full = nn.Sequential(
            conv_block(2 * full, full), nn.Conv2d(full, channels_out, 3, padding=1)
        )

    @override
    def forward(self, image: Tensor) -> Tensor:
        """Map (n, channels_in, y, x) to (n, channels_out, y, x)."""
        full = self.encode_full(image)
        half = self.encode_half(self.pool(full))
        quarter = self.encode_quarter(self.pool(half))
        return self.decode(full, half, quarter, self.pool(quarter))

    def decode(self, full: Tensor, half: Tensor, quarter: Tensor, deepest: Tensor) -> Tensor:
        """Climb from the features at 1/8 back to full resolution, using the skips."""
        up = self.decode_quarter(torch.cat([self.bottleneck(deepest), quarter], dim=1))
        up = self.decode_half(torch.cat([up, half], dim=1))
        out: Tensor = self.decode_full(torch.cat([up, full], dim=1))
        return out
