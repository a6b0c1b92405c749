"""How loss terms are weighed against each other, from the first step to the last."""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor, nn
from typing_extensions import override

from emds.training.recipes import LossWeights


class LossBalance(nn.Module):
    """Adds up the loss terms of a step.

    Under ``fixed`` weights a term L with the weight w counts w L. Under ``uncertainty`` it counts
    exp(-s) L + s / 2, where s, the logarithm of the variance of what the term measures, is trained
    with the networks: it starts at -log w, and exp(-s) drifts towards 1 / (2 L), so a term weighs
    the more the smaller it is.

    Parameters
    ----------
    weights : LossWeights
        Those at the start, and how they change. Terms of weight 0 are never given.

    References
    ----------
    Kendall et al., Multi-task learning using uncertainty to weigh losses, CVPR 2018, equation 7;
    of the two forms there one is used, for they differ by a constant.

    Examples
    --------
    >>> balance = LossBalance(LossWeights(coarse=2, fused=10, ramp=0.5))
    >>> losses = {"coarse": torch.tensor(1.0), "fused": torch.tensor(1.0)}
    >>> [balance(losses, share).item() for share in (0.0, 0.25, 0.5, 1.0)]
    [2.0, 7.0, 12.0, 12.0]
    """

    def __init__(self, weights: LossWeights) -> None:
        super().__init__()
        self.weights = weights
        trained = weights.terms() if weights.balance == "uncertainty" else {}
        self.log_variances = nn.ParameterDict(
            {name: nn.Parameter(torch.tensor(-math.log(value))) for name, value in trained.items()}
        )

    @override
    def forward(self, losses: Mapping[str, Tensor], share: float) -> Tensor:
        """Return the loss; `share` of the training is done, 0 to 1."""
        return torch.stack([self._weigh(*term, share) for term in losses.items()]).sum()

    def _weigh(self, name: str, loss: Tensor, share: float) -> Tensor:
        ramp = self.weights.ramp
        risen = min(1.0, share / ramp) if name == "fused" and ramp else 1.0
        if name in self.log_variances:
            log_variance: Tensor = self.log_variances[name]
            return risen * (torch.exp(-log_variance) * loss + log_variance / 2)
        return risen * self.weights.terms()[name] * loss
