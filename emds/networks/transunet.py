"""TransUNet: a ResNet, a transformer on its deepest features, a decoder with skips.

The network is made for squares of one size, the training crop: its positions are learnt, and
its group normalisation looks at the whole square. A larger image is therefore cut into squares
that are computed one by one, as the paper tests it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from torch import Tensor, nn
from typing_extensions import override

from emds.errors import ConfigError

PATCH = 16
"""Pixels a token stands for, on each axis."""


@dataclass(frozen=True, slots=True)
class TransUNetSize:
    """How large the parts are.

    Attributes
    ----------
    width : int
        Channels of the first convolution; the three ResNet blocks have 4, 8 and 16 times as many.
    units : (int, int, int)
        Residual units of each block.
    hidden, layers, heads, mlp : int
        Sizes of the transformer.
    decoder : (int, int, int, int)
        Channels at 1/8, 1/4, 1/2 and full resolution.
    """

    width: int
    units: tuple[int, int, int]
    hidden: int
    layers: int
    heads: int
    mlp: int
    decoder: tuple[int, int, int, int]


SIZES: Mapping[str, TransUNetSize] = {
    "transunet": TransUNetSize(64, (3, 4, 9), 768, 12, 12, 3072, (256, 128, 64, 16)),
    "transunet-s": TransUNetSize(32, (3, 4, 6), 384, 6, 6, 1536, (128, 64, 32, 16)),
    "transunet-xs": TransUNetSize(32, (2, 2, 2), 192, 4, 3, 768, (128, 64, 32, 16)),
}
"""The published R50-ViT-B/16, and two that a CPU can train."""

_BOTTOM = 512  # channels that the decoder starts from, whatever the size
_DROPOUT = 0.1
_EPS = 1e-6


class TransUNet(nn.Module):
    """Encoder, transformer and decoder, for squares of `crop` pixels.

    Parameters
    ----------
    channels_in, channels_out : int
        Image channels; the output has no activation.
    size : TransUNetSize
        One of `SIZES`.
    crop : int
        Side of the squares, pixels; the training crop.

    Raises
    ------
    ConfigError
        If the crop is no multiple of `PATCH`, or a single token, of which norms are no use.

    References
    ----------
    Chen et al., TransUNet, arXiv:2102.04306.
    """

    def __init__(
        self, channels_in: int, channels_out: int, size: TransUNetSize, crop: int = 256
    ) -> None:
        super().__init__()
        if crop % PATCH or crop == PATCH:
            raise ConfigError(
                f"TransUNet sees squares of whole tokens of {PATCH} pixels, two or more a side: "
                f"crop = {crop} must be a multiple of {PATCH} from {2 * PATCH} up. "
                f"Set crop={max(2, crop // PATCH) * PATCH}."
            )
        self.crop = crop
        self.encoder = ResNet(3 if channels_in == 1 else channels_in, size.width, size.units)
        self.embedding = nn.Conv2d(16 * size.width, size.hidden, 1)
        self.positions = nn.Parameter(torch.zeros(1, (crop // PATCH) ** 2, size.hidden))
        self.dropout = nn.Dropout(_DROPOUT)
        self.layers = nn.ModuleList(
            TransformerLayer(size.hidden, size.heads, size.mlp) for _ in range(size.layers)
        )
        self.norm = nn.LayerNorm(size.hidden, eps=_EPS)
        self.widen = conv_norm(size.hidden, _BOTTOM)
        skips = (8 * size.width, 4 * size.width, size.width, 0)
        inputs = (_BOTTOM, *size.decoder[:-1])
        self.decoder = nn.ModuleList(
            nn.Sequential(conv_norm(below + skip, out), conv_norm(out, out))
            for below, skip, out in zip(inputs, skips, size.decoder, strict=True)
        )
        self.head = nn.Conv2d(size.decoder[-1], channels_out, 3, padding=1)

    @override
    def forward(self, image: Tensor) -> Tensor:
        """Map (n, channels_in, y, x) to (n, channels_out, y, x), square by square.

        Squares start every `crop` pixels and the last of an axis ends at the edge, over its
        neighbour; an image smaller than a square is continued by its edge.
        """
        height, width = image.shape[-2:]
        padding = (0, max(0, self.crop - width), 0, max(0, self.crop - height))
        image = F.pad(image, padding, mode="replicate")
        tops, lefts = (_starts(n, self.crop) for n in image.shape[-2:])
        if len(tops) == len(lefts) == 1:
            return self._square(image)[..., :height, :width]
        rows = []
        for y in tops:
            squares = [
                self._square(image[..., y : y + self.crop, x : x + self.crop]) for x in lefts
            ]
            rows.append(_join(squares, lefts, dim=-1))
        return _join(rows, tops, dim=-2)[..., :height, :width]

    def _square(self, image: Tensor) -> Tensor:
        """Return the output of (n, c, crop, crop)."""
        if image.shape[1] == 1:
            image = image.expand(-1, 3, -1, -1)
        skips, deepest = self.encoder(image)
        tokens = self.embedding(deepest)
        side = tokens.shape[-1]
        tokens = self.dropout(tokens.flatten(2).transpose(1, 2) + self.positions)
        for layer in self.layers:
            tokens = layer(tokens)
        features = self.norm(tokens).transpose(1, 2).unflatten(2, (side, side))
        features = self.widen(features)
        for block, skip in zip(self.decoder, (*skips, None), strict=True):
            up = F.interpolate(features, scale_factor=2.0, mode="bilinear", align_corners=True)
            features = block(up if skip is None else torch.cat([up, skip], dim=1))
        out: Tensor = self.head(features)
        return out


class ResNet(nn.Module):
    """Weight-standardised convolutions with group normalisation, down to 1/16."""

    def __init__(self, channels_in: int, width: int, units: tuple[int, int, int]) -> None:
        super().__init__()
        self.root = nn.Sequential(
            StandardisedConv(channels_in, width, 7, stride=2, padding=3, bias=False),
            _group_norm(width),
            nn.ReLU(inplace=True),
        )
        self.pool = nn.MaxPool2d(3, stride=2)
        channels = (width, 4 * width, 8 * width, 16 * width)
        self.blocks = nn.ModuleList(
            nn.Sequential(
                Bottleneck(channels[i], channels[i + 1], stride=1 if i == 0 else 2),
                *(Bottleneck(channels[i + 1], channels[i + 1]) for _ in range(count - 1)),
            )
            for i, count in enumerate(units)
        )

    @override
    def forward(self, image: Tensor) -> tuple[tuple[Tensor, Tensor, Tensor], Tensor]:
        """Return features at 1/8, 1/4 and 1/2, and those at 1/16."""
        half = self.root(image)
        quarter = self.blocks[0](self.pool(half))
        eighth = self.blocks[1](quarter)
        # The pooling without padding loses a row and a column, which only the skip misses.
        missing = [half.shape[-1] // 2 - quarter.shape[-1], half.shape[-2] // 2 - quarter.shape[-2]]
        padded = F.pad(quarter, (0, missing[0], 0, missing[1]))
        return (eighth, padded, half), self.blocks[2](eighth)


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolution beside a shortcut."""

    def __init__(self, channels_in: int, channels_out: int, stride: int = 1) -> None:
        super().__init__()
        middle = channels_out // 4
        self.branch = nn.Sequential(
            StandardisedConv(channels_in, middle, 1, bias=False),
            _group_norm(middle),
            nn.ReLU(inplace=True),
            StandardisedConv(middle, middle, 3, stride=stride, padding=1, bias=False),
            _group_norm(middle),
            nn.ReLU(inplace=True),
            StandardisedConv(middle, channels_out, 1, bias=False),
            _group_norm(channels_out),
        )
        self.shortcut = (
            nn.Identity()
            if stride == 1 and channels_in == channels_out
            else nn.Sequential(
                StandardisedConv(channels_in, channels_out, 1, stride=stride, bias=False),
                nn.GroupNorm(channels_out, channels_out),
            )
        )

    @override
    def forward(self, features: Tensor) -> Tensor:
        return F.relu(self.branch(features) + self.shortcut(features))


class StandardisedConv(nn.Conv2d):
    """A convolution whose weights have mean 0 and variance 1 in every output channel."""

    @override
    def forward(self, input: Tensor) -> Tensor:
        variance, mean = torch.var_mean(self.weight, dim=(1, 2, 3), keepdim=True, unbiased=False)
        weight = (self.weight - mean) / torch.sqrt(variance + 1e-5)
        out: Tensor = self._conv_forward(input, weight, self.bias)
        return out


class TransformerLayer(nn.Module):
    """Self-attention and a two-layer perceptron, each after a layer norm and beside a skip."""

    def __init__(self, hidden: int, heads: int, mlp: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(hidden, eps=_EPS)
        self.query = nn.Linear(hidden, hidden)
        self.key = nn.Linear(hidden, hidden)
        self.value = nn.Linear(hidden, hidden)
        self.out = nn.Linear(hidden, hidden)
        self.norm_mlp = nn.LayerNorm(hidden, eps=_EPS)
        self.widen = nn.Linear(hidden, mlp)
        self.narrow = nn.Linear(mlp, hidden)
        self.dropout = nn.Dropout(_DROPOUT)
        for linear in (self.widen, self.narrow):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.normal_(linear.bias, std=1e-6)

    @override
    def forward(self, tokens: Tensor) -> Tensor:
        """Map (n, tokens, hidden) to the same shape."""
        normed = self.norm_attention(tokens)
        query, key, value = (
            project(normed).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for project in (self.query, self.key, self.value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)
        tokens = tokens + self.out(mixed)
        widened = self.dropout(F.gelu(self.widen(self.norm_mlp(tokens))))
        out: Tensor = tokens + self.dropout(self.narrow(widened))
        return out


def conv_norm(channels_in: int, channels_out: int) -> nn.Sequential:
    """Return 3×3 convolution without bias, batch normalisation, ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )


def _group_norm(channels: int) -> nn.GroupNorm:
    # Of the light networks' few channels, a group holds four, not one.
    return nn.GroupNorm(min(32, channels // 4), channels, eps=_EPS)


def _starts(length: int, size: int) -> list[int]:
    return [*range(0, length - size, size), length - size]


def _join(pieces: list[Tensor], starts: list[int], dim: int) -> Tensor:
    """Put pieces in a row; where the last overlaps its neighbour, it wins."""
    ends = [*starts[1:], starts[-1] + pieces[-1].shape[dim]]
    cut = [p.narrow(dim, 0, b - a) for p, a, b in zip(pieces, starts, ends, strict=True)]
    return torch.cat(cut, dim=dim)
