"""Instance-aware Embedding Module: affinity features choose which image features to mix.

Queries come from the affinities, keys and values from the image, so a pixel gathers image
evidence from the places that the segmentation thinks alike. The result is added to the image
features: ``F_o = ReLU(MHA(q=F_s, k=F_i, v=F_i)) + F_i``.

The softmax has no notion of position, so with more tokens than in training it averages over
more of the image than the network has learnt to expect. `window` therefore attends within
squares of the training crop, which on a training crop is the same as `global`.

References
----------
Wang et al., MICCAI 2024, equation 1. Vaswani et al., NeurIPS 2017.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from torch import Tensor, nn
from typing_extensions import override

IemMode = Literal["window", "global", "window_shift", "linear", "released", "cat"]
IEM_MODES: tuple[IemMode, ...] = get_args(IemMode)


def make_embedding(channels: int, window: int, mode: IemMode) -> nn.Module:
    """Return the module of a mode: ``cat`` is a `ConcatEmbedding`, all others attend."""
    if mode == "cat":
        return ConcatEmbedding(channels)
    return InstanceEmbedding(channels, window, mode)


class ConcatEmbedding(nn.Module):
    """A 1×1 convolution over both inputs in place of the attention: a control.

    It sees the affinities as `InstanceEmbedding` does, but only those of its own pixel.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.mix = nn.Conv2d(2 * channels, channels, 1)

    @override
    def forward(self, affinity_features: Tensor, image_features: Tensor) -> Tensor:
        """Return enriched image features; all three are (n, channels, y, x)."""
        mixed = self.mix(torch.cat([affinity_features, image_features], dim=1))
        return F.relu(mixed) + image_features


class InstanceEmbedding(nn.Module):
    """Multi-head attention from affinity features to image features, with a residual.

    Parameters
    ----------
    channels : int
        Feature channels of both inputs; a multiple of `heads`.
    window : int
        Side of an attention window in tokens (not pixels): the training crop, seen at this depth.
    mode : str
        Any but ``cat``. ``window``: attention inside non-overlapping windows. ``global``: over
        all tokens.
        ``window_shift``: mean of windows at offset 0 and at half a window, which hides seams.
        ``linear``: values only, a control that cannot see the affinities. ``released``:
        each pixel attends over the images of the batch, as the published code does; then a
        sample's output depends on its batch-mates, and alone it equals ``linear``.
    heads : int
        Attention heads.
    """

    def __init__(
        self, channels: int, window: int, mode: IemMode = "window", heads: int = 4
    ) -> None:
        super().__init__()
        self.window = window
        self.mode: IemMode = mode
        self.heads = heads
        self.to_query = nn.Linear(channels, channels)
        self.to_key = nn.Linear(channels, channels)
        self.to_value = nn.Linear(channels, channels)
        self.to_out = nn.Linear(channels, channels)
        # The initialisation of nn.MultiheadAttention: one Xavier draw for q, k and v stacked.
        bound = (6 / (4 * channels)) ** 0.5
        for projection in (self.to_query, self.to_key, self.to_value):
            nn.init.uniform_(projection.weight, -bound, bound)
            nn.init.zeros_(projection.bias)
        nn.init.zeros_(self.to_out.bias)

    @override
    def forward(self, affinity_features: Tensor, image_features: Tensor) -> Tensor:
        """Return enriched image features; all three are (n, channels, y, x)."""
        if self.mode == "linear":
            mixed = self.to_out(self.to_value(_tokens(image_features)))
        else:
            query = self.to_query(_tokens(affinity_features))
            key = self.to_key(_tokens(image_features))
            value = self.to_value(_tokens(image_features))
            mixed = self.to_out(self._gather(query, key, value))
        return F.relu(mixed).permute(0, 3, 1, 2) + image_features

    def _gather(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Attend as `mode` says; all are (n, y, x, channels)."""
        if self.mode == "released":
            across = [t.permute(1, 2, 0, 3).flatten(0, 1) for t in (query, key, value)]
            n, y, x, channels = query.shape
            mixed = self._attend(*across)
            return mixed.reshape(y, x, n, channels).permute(2, 0, 1, 3)
        if self.mode == "global":
            return self._in_windows(query, key, value, max(query.shape[1:3]), 0)
        mixed = self._in_windows(query, key, value, self.window, 0)
        if self.mode == "window_shift":
            shifted = self._in_windows(query, key, value, self.window, self.window // 2)
            mixed = (mixed + shifted) / 2
        return mixed

    def _in_windows(
        self, query: Tensor, key: Tensor, value: Tensor, window: int, shift: int
    ) -> Tensor:
        """Attend inside each window; those at the border are as small as what is left."""
        rows = []
        for y in _cuts(query.shape[1], window, shift):
            row = []
            for x in _cuts(query.shape[2], window, shift):
                parts = [t[:, y, x] for t in (query, key, value)]
                mixed = self._attend(*(part.flatten(1, 2) for part in parts))
                row.append(mixed.reshape(parts[0].shape))
            rows.append(torch.cat(row, dim=2))
        return torch.cat(rows, dim=1)

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Return multi-head attention of (batch, tokens, channels), scores never stored whole."""
        query, key, value = (
            t.reshape(*t.shape[:2], self.heads, -1).transpose(1, 2) for t in (query, key, value)
        )
        mixed = F.scaled_dot_product_attention(query, key, value)
        return mixed.transpose(1, 2).flatten(2)


def _tokens(features: Tensor) -> Tensor:
    return features.permute(0, 2, 3, 1)


def _cuts(size: int, window: int, shift: int) -> list[slice]:
    starts = sorted({0, *range(shift, size, window)})
    return [slice(a, b) for a, b in zip(starts, [*starts[1:], size], strict=True)]
