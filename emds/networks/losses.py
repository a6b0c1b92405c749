"""Training targets and losses, computed on the device in the step."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812  (the name everyone knows)
from torch import Tensor

from emds.geometry import Triple


def affinity_targets(labels: Tensor, offsets: Sequence[Triple]) -> tuple[Tensor, Tensor]:
    """Compare every pixel of the section in the middle with its partner.

    Background 0 is an ordinary label here, as in the paper: its pixels belong together.

    Parameters
    ----------
    labels : (n, z, y, x) int64
        Instance ids of a stack whose section in the middle is predicted; z is odd, and the stack
        so thick that every offset stays in it.
    offsets : sequence of (dz, dy, dx), length C
        Partner positions in pixels.

    Returns
    -------
    same : (n, C, y, x) float32
        1 where both pixels carry the same id, and 1 where the partner lies beside the crop.
    inside : (C, y, x) bool
        Where the partner lies inside the crop.

    Examples
    --------
    >>> stack = torch.tensor([[[[7, 9, 9]], [[7, 7, 9]], [[7, 7, 7]]]])
    >>> same, inside = affinity_targets(stack, [(0, 0, -1), (-1, 0, 0)])
    >>> same[0].tolist()
    [[[1.0, 1.0, 0.0]], [[1.0, 0.0, 1.0]]]
    >>> inside.tolist()
    [[[False, True, True]], [[True, True, True]]]
    """
    centre = labels.shape[1] // 2
    assert all(abs(dz) <= centre for dz, _, _ in offsets), "the stack is too thin"
    section = labels[:, centre]
    height, width = labels.shape[-2:]
    same = torch.ones((labels.shape[0], len(offsets), height, width), device=labels.device)
    inside = torch.zeros((len(offsets), height, width), dtype=torch.bool, device=labels.device)
    for channel, (dz, dy, dx) in enumerate(offsets):
        y = slice(max(0, -dy), min(height, height - dy))
        x = slice(max(0, -dx), min(width, width - dx))
        there = labels[:, centre + dz]
        partner = there[:, y.start + dy : y.stop + dy, x.start + dx : x.stop + dx]
        same[:, channel, y, x] = (section[:, y, x] == partner).float()
        inside[channel, y, x] = True
    return same, inside


def balance_weights(same: Tensor) -> Tensor:
    """Weigh the rarer class up, for each sample and channel on its own.

    With f the share of ones, clipped to [0.05, 0.99]: if f > 0.5 zeros weigh f / (1 - f), else
    ones weigh (1 - f) / f; the other class weighs 1, and a constant channel is left alone.

    Parameters
    ----------
    same : (n, C, y, x) float32
        Targets of `affinity_targets`.

    Returns
    -------
    (n, C, y, x) float32

    Examples
    --------
    >>> balance_weights(torch.tensor([1.0, 1.0, 1.0, 0.0]).reshape(1, 1, 1, 4)).flatten().tolist()
    [1.0, 1.0, 1.0, 3.0]
    """
    share = same.mean(dim=(-2, -1), keepdim=True)
    f = share.clamp(0.05, 0.99)
    ones = torch.where(f > 0.5, torch.ones_like(f), (1 - f) / f)
    zeros = torch.where(f > 0.5, f / (1 - f), torch.ones_like(f))
    weights = torch.where(same > 0.5, ones, zeros)
    constant = (share == 0) | (share == 1)
    return torch.where(constant, torch.ones_like(weights), weights)


def affinity_loss(logits: Tensor, same: Tensor, inside: Tensor | None = None) -> Tensor:
    """Return class-balanced binary cross-entropy, a mean over all N·C·Y·X entries.

    The sum is divided by the number of entries and not by the sum of the weights; the paper's
    α = 3 rests on that.

    Parameters
    ----------
    logits, same : (n, C, y, x)
        Prediction before the sigmoid, and targets.
    inside : (C, y, x) bool, optional
        Where given, pairs that leave the crop weigh nothing.
    """
    weights = balance_weights(same)
    if inside is not None:
        weights = weights * inside
    return F.binary_cross_entropy_with_logits(logits.float(), same, weight=weights)


def image_loss(image: Tensor, clean: Tensor) -> Tensor:
    """Return the mean squared error; images in [-1, 1], the scale α and β belong to."""
    return F.mse_loss(image.float(), clean)
