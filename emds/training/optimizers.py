"""How weights move: an optimiser for each way that a recipe asks for, and its learning rate."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from emds.config import OptimizerConfig
from emds.networks.joint import JointNetwork
from emds.training.balance import LossBalance
from emds.training.recipes import Recipe

_LOG_VARIANCES_FASTER = 10  # a factor on the rate, or weights would stay near where they start


@dataclass(frozen=True, slots=True)
class ScheduledOptimizer:
    """An optimiser with the settings its learning rate follows from."""

    optimizer: torch.optim.Optimizer
    config: OptimizerConfig

    def move(self, step: int, steps: int) -> None:
        """Change the weights by their gradients, at the rate of this step."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate(self.config, step, steps)
        self.optimizer.step()


def make_optimizers(
    network: JointNetwork, recipe: Recipe, config: OptimizerConfig, balance: LossBalance
) -> list[ScheduledOptimizer]:
    """Return an optimiser for the trained parts, and one for each part that has its own.

    Weights that need no gradient belong to none. Log variances of a balance that is trained are
    a part of their own.
    """
    parts = network.parts(recipe.trained)
    shared = [part for name, part in parts.items() if name not in recipe.optimizer]
    groups: list[tuple[list[nn.Module], OptimizerConfig]] = [(shared, config)] if shared else []
    for name, changes in recipe.optimizer.items():
        groups.append(([parts[name]], config.model_copy(update=dict(changes))))
    if balance.log_variances:
        changes = {"lr": _LOG_VARIANCES_FASTER * config.lr, "weight_decay": 0.0}
        groups.append(([balance], config.model_copy(update=changes)))
    return [
        ScheduledOptimizer(_make([p for part in members for p in part.parameters()], own), own)
        for members, own in groups
    ]


def learning_rate(config: OptimizerConfig, step: int, steps: int) -> float:
    """Return the learning rate of a step: a function of its number, so nothing to resume.

    Examples
    --------
    >>> config = OptimizerConfig(lr=1.0, schedule="cosine", warmup_steps=10)
    >>> [round(learning_rate(config, step, 110), 2) for step in (0, 9, 60, 110)]
    [0.1, 1.0, 0.5, 0.0]
    """
    if step < config.warmup_steps:
        return config.lr * (step + 1) / config.warmup_steps
    if config.schedule == "poly":
        return float(config.lr * (1 - step / steps) ** 0.9)
    share = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    return config.lr * (1 + math.cos(math.pi * share)) / 2


def _make(weights: list[torch.nn.Parameter], config: OptimizerConfig) -> torch.optim.Optimizer:
    if config.name == "sgd":
        return torch.optim.SGD(
            weights, lr=config.lr, momentum=config.betas[0], weight_decay=config.weight_decay
        )
    kind = torch.optim.Adam if config.name == "adam" else torch.optim.AdamW
    return kind(
        weights,
        lr=config.lr,
        betas=config.betas,
        eps=config.eps,
        weight_decay=config.weight_decay,
        amsgrad=config.amsgrad,
    )
