"""All that decides the rest of a training, and how it is kept between two processes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import BaseModel, Field, FiniteFloat, NonNegativeInt
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from emds.compare import differences
from emds.config import TrainConfig
from emds.errors import CheckpointError, ConfigError
from emds.networks.archive import read_archive
from emds.networks.checkpoint import save_atomically
from emds.networks.joint import JointNetwork
from emds.training.balance import LossBalance
from emds.training.optimizers import ScheduledOptimizer

Metrics = dict[str, float]


class _Counters(BaseModel):
    """What a state holds beside tensors and the configuration."""

    step: NonNegativeInt
    best: float | None
    metrics: Metrics
    seconds: Annotated[FiniteFloat, Field(ge=0)]
    cpu_seconds: Annotated[FiniteFloat, Field(ge=0)]


@dataclass(slots=True)
class TrainingState:
    """All that decides the rest of a run, and the curve so far."""

    network: JointNetwork
    balance: LossBalance
    averaged: AveragedModel
    optimizers: list[ScheduledOptimizer]
    step: int = 0
    best: float | None = None
    metrics: Metrics = field(default_factory=dict)
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    curve: list[str] = field(default_factory=list)

    def save(self, path: Path, config: Mapping[str, Any]) -> None:
        """Write the state whole or not at all."""
        content = {
            "config": dict(config),
            "network": self.network.state_dict(),
            "balance": self.balance.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizers": [one.optimizer.state_dict() for one in self.optimizers],
            "curve": torch.from_numpy(np.array(bytearray("".join(self.curve), "ascii"), np.uint8)),
            **{name: getattr(self, name) for name in _Counters.model_fields},
        }
        save_atomically(content, path)

    def load(self, path: Path, config: Mapping[str, Any]) -> None:
        """Continue from `path`.

        Raises
        ------
        ConfigError
            If the run had another configuration; it names the fields that differ.
        CheckpointError
            If the file is damaged, or holds something else.
        """
        content = read_archive(path)
        try:
            stored, counters = dict(content["config"]), _Counters.model_validate(content)
        except (KeyError, TypeError, ValueError) as error:
            raise _no_state(path, error) from None
        differing = differences(stored, config)
        if differing:
            raise ConfigError(
                f"cannot resume {path.parent}: the run was started with another configuration. "
                f"Differing: {'; '.join(differing)}. Repeat the options of the first start, or "
                "choose another --out."
            )
        try:
            self.network.load_state_dict(content["network"])
            # An older state has none, as it has nothing to hold where weights are fixed.
            self.balance.load_state_dict(content.get("balance", {}))
            self.averaged.load_state_dict(content["averaged"])
            for one, kept in zip(self.optimizers, content["optimizers"], strict=True):
                one.optimizer.load_state_dict(kept)
            if "curve" in content:
                curve = bytes(content["curve"].numpy()).decode("ascii")
            else:  # an older state has the file alone
                curve = _whole_lines(path.with_name("metrics.jsonl"), counters.step)
        except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise _no_state(path, error) from None
        self.curve = curve.splitlines(keepends=True)
        for name, value in counters:
            setattr(self, name, value)

    def descend(self, loss: Tensor, config: TrainConfig) -> None:
        """Move the weights, and their average, down the slope of a loss."""
        for module in (self.network, self.balance):
            module.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        if config.optimizer.clip_norm is not None:
            nn.utils.clip_grad_norm_(self.network.parameters(), config.optimizer.clip_norm)
        for optimizer in self.optimizers:
            optimizer.move(self.step, config.steps)
        self.averaged.update_parameters(self.network)


def _whole_lines(path: Path, step: int) -> str:
    """Return a curve up to a step, without the line that a kill tore."""
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        try:
            if json.loads(line)["step"] > step:
                break
        except (ValueError, KeyError, TypeError):
            break
        kept.append(line + "\n")
    return "".join(kept)


def _no_state(path: Path, error: Exception) -> CheckpointError:
    reason = (str(error) or type(error).__name__).splitlines()[0]
    return CheckpointError(
        f"cannot resume from {path}: it is not the state of a run of this emds "
        f"({type(error).__name__}: {reason}). Start anew with --overwrite, or choose another --out."
    )
