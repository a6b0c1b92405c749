"""The training loop: plain PyTorch, resumable to the bit.

A step depends on the weights, the optimiser's state and the step's number, nothing else, so
the state on disk is small and a run that was killed continues on the very curve it was on.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from emds.compare import differences
from emds.config import TrainConfig
from emds.errors import ConfigError, DataError, InterruptedRunError
from emds.files import write_text
from emds.geometry import Triple, middle
from emds.networks.checkpoint import load_tensors, save_atomically
from emds.networks.device import place
from emds.networks.joint import JointNetwork
from emds.networks.losses import affinity_loss, affinity_targets, image_loss
from emds.signals import stop_signal
from emds.training.balance import LossBalance
from emds.training.optimizers import ScheduledOptimizer, make_optimizers
from emds.training.patches import Batch, PatchSampler, iter_batches
from emds.training.recipes import Recipe

Metrics = dict[str, float]
Validate = Callable[[JointNetwork], Metrics]


@dataclass(slots=True)
class RunFolder:
    """Where a run keeps its state: ``state.pt``, ``metrics.jsonl``, ``best.pt``, ``last.pt``."""

    path: Path

    @property
    def state(self) -> Path:
        """The resumable state."""
        return self.path / "state.pt"

    @property
    def log(self) -> Path:
        """The loss curve, one JSON object a line."""
        return self.path / "metrics.jsonl"


@dataclass(slots=True)
class TrainingState:
    """All that decides the rest of a run."""

    network: JointNetwork
    balance: LossBalance
    averaged: AveragedModel
    optimizers: list[ScheduledOptimizer]
    step: int = 0
    best: float | None = None
    metrics: Metrics = field(default_factory=dict)
    seconds: float = 0.0
    cpu_seconds: float = 0.0

    def save(self, path: Path, config: Mapping[str, Any]) -> None:
        """Write the state whole or not at all."""
        content = {
            "config": dict(config),
            "network": self.network.state_dict(),
            "balance": self.balance.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimizers": [one.optimizer.state_dict() for one in self.optimizers],
            **{name: getattr(self, name) for name in _COUNTERS},
        }
        save_atomically(content, path)

    def load(self, path: Path, config: Mapping[str, Any]) -> None:
        """Continue from `path`; raises `ConfigError` naming the fields that differ."""
        content = load_tensors(path)
        differing = differences(content["config"], config)
        if differing:
            raise ConfigError(
                f"cannot resume {path.parent}: the run was started with another configuration. "
                f"Differing: {'; '.join(differing)}. Repeat the options of the first start, or "
                "choose another --out."
            )
        self.network.load_state_dict(content["network"])
        # An older state has none, as it has nothing to hold where weights are fixed.
        self.balance.load_state_dict(content.get("balance", {}))
        self.averaged.load_state_dict(content["averaged"])
        for one, stored in zip(self.optimizers, content["optimizers"], strict=True):
            one.optimizer.load_state_dict(stored)
        for name in _COUNTERS:
            setattr(self, name, content[name])

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


Save = Callable[[str, TrainingState], None]
"""Writes a checkpoint of the averaged network; told "best" or "last"."""

_LARGEST_SEED = 2**63 - 1
_SHOWN = ("psnr", "coarse_psnr", "voi", "voi_3d")
_COUNTERS = ("step", "best", "metrics", "seconds", "cpu_seconds")


def start_state(
    network: JointNetwork, recipe: Recipe, config: TrainConfig, device: torch.device
) -> TrainingState:
    """Freeze what the recipe freezes, and set up the optimiser and the moving average.

    Raises
    ------
    ConfigError
        If the configured weights of the loss leave nothing to train.
    """
    place(network, device)
    balance = LossBalance(recipe.loss_weights(config)).to(device)
    for name, part in network.parts().items():
        part.requires_grad_(name in recipe.trained)
    averaged = AveragedModel(
        network, multi_avg_fn=_moving_average(config.ema_decay), use_buffers=True
    )
    optimizers = make_optimizers(network, recipe, config.optimizer, balance)
    return TrainingState(network, balance, averaged, optimizers)


def train(
    state: TrainingState,
    sampler: PatchSampler,
    recipe: Recipe,
    config: TrainConfig,
    *,
    offsets: tuple[Triple, ...],
    device: torch.device,
    folder: RunFolder,
    validate: Validate,
    save: Save,
    progress: Callable[[int, int, str], None],
) -> None:
    """Run the remaining steps.

    Parameters
    ----------
    state : TrainingState
        Fresh, or loaded from the folder.
    sampler : PatchSampler
        Gives the batch of a step.
    recipe, config
        What is trained, and how.
    offsets : tuple of (dz, dy, dx)
        Of the affinity channels.
    device : torch.device
        Where to compute.
    folder : RunFolder
        Receives the state and the curve.
    validate, save : callable
        Judge the averaged network; write a checkpoint.
    progress : callable
        Told (done, total, text) with every line of the curve.

    Raises
    ------
    InterruptedRunError
        On SIGTERM or SIGUSR1, after the state was saved.
    """
    stored = config.model_dump(mode="json")
    started = time.monotonic() - state.seconds
    started_cpu = time.process_time() - state.cpu_seconds
    with stop_signal() as stop, _log(folder.log, state.step) as log:
        for batch in iter_batches(sampler, state.step, config.steps, device):
            losses = _step(state, batch, recipe, config, offsets, device)
            state.step += 1
            state.seconds = time.monotonic() - started
            state.cpu_seconds = time.process_time() - started_cpu
            done = state.step == config.steps
            if state.step % config.log_every == 0:
                values = {name: loss.item() for name, loss in losses.items()}
                if not math.isfinite(values["loss"]):
                    raise DataError(
                        f"the loss is {values['loss']} at step {state.step}: training diverged. "
                        f"The state of an earlier step is kept in {folder.path}; start again with "
                        "a lower --set optimizer.lr=... or --set precision=fp32."
                    )
                log({"step": state.step, **values})
                progress(state.step, config.steps, _headline(values, state.metrics))
            if done or state.step % config.validation.every == 0:
                state.metrics = validate(_averaged_network(state))
                log({"step": state.step, "validation": state.metrics})
                score = _score(state.metrics, recipe)
                if state.best is None or score > state.best:
                    state.best = score
                    save("best", state)
            if done or stop.is_set() or state.step % config.save_every == 0:
                state.save(folder.state, stored)
                save("last", state)
            if stop.is_set() and not done:
                raise InterruptedRunError(
                    f"stopped by a signal at step {state.step} of {config.steps}; the state is "
                    f"saved in {folder.path}. Continue with --resume."
                )


def _step(
    state: TrainingState,
    batch: Batch,
    recipe: Recipe,
    config: TrainConfig,
    offsets: tuple[Triple, ...],
    device: torch.device,
) -> dict[str, Tensor]:
    network, weights = state.network, state.balance.weights
    torch.manual_seed((config.seed << 32) + state.step & _LARGEST_SEED)  # decides the dropout
    for name, part in network.parts().items():
        part.train(name in recipe.trained)
    noisy, clean = (_to_network_range(image, device) for image in (batch.noisy, batch.clean))
    with torch.autocast(device.type, torch.bfloat16, enabled=config.precision == "bf16"):
        prediction = network(
            clean if recipe.reads == "clean" else noisy,
            detach_affinities=state.step < weights.detach_until * config.steps,
        )
    losses: dict[str, Tensor] = {}
    if prediction.coarse is not None and weights.coarse:
        losses["coarse"] = image_loss(prediction.coarse, clean)
    if prediction.logits is not None and weights.affinities:
        same, inside = affinity_targets(torch.from_numpy(batch.labels).to(device), offsets)
        losses["affinities"] = affinity_loss(
            prediction.logits, same, inside if config.loss.mask_border else None
        )
    if prediction.fused is not None and weights.fused:
        losses["fused"] = image_loss(prediction.fused, clean[:, middle(clean.shape[1])])
    loss: Tensor = state.balance(losses, (state.step + 1) / config.steps)
    state.descend(loss, config)
    return {"loss": loss.detach()} | {name: value.detach() for name, value in losses.items()}


def _averaged_network(state: TrainingState) -> JointNetwork:
    network = state.averaged.module
    assert isinstance(network, JointNetwork)
    return network


def _to_network_range(image: Any, device: torch.device) -> Tensor:
    values = torch.from_numpy(image).to(device)
    return (values.float() / 127.5 - 1).contiguous(memory_format=torch.channels_last)


def _moving_average(decay: float) -> Callable[[Any, Any, Any], None]:
    """Exponential moving average whose memory grows with the run, so short runs work too."""

    @torch.no_grad()
    def update(averaged: list[Tensor], current: list[Tensor], count: Tensor) -> None:
        steps = float(count)
        keep = min(decay, (1 + steps) / (10 + steps))
        pairs = list(zip(averaged, current, strict=True))
        real = [(old, new) for old, new in pairs if old.is_floating_point()]
        if real:  # all at once, for a GPU takes longer to be asked than to do it
            torch._foreach_lerp_([old for old, _ in real], [new for _, new in real], 1 - keep)
        for old, new in pairs:
            if not old.is_floating_point():
                old.copy_(new)

    return update


def _score(metrics: Metrics, recipe: Recipe) -> float:
    """Return what the best checkpoint has most of; labels of a volume are judged as a volume."""
    if recipe.select == "psnr":
        return metrics["psnr"]
    return -metrics.get("voi_3d", metrics["voi"])


def _headline(losses: Metrics, metrics: Metrics) -> str:
    parts = [f"{name} {value:.4f}" for name, value in losses.items()]
    parts += [f"{k} {metrics[k]:.3f}" for k in _SHOWN if k in metrics]
    return "  ".join(parts)


@contextmanager
def _log(path: Path, step: int) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Append to the curve, after dropping what a killed run wrote past its saved state."""
    kept = []
    if step and path.exists():
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                if json.loads(line)["step"] > step:
                    break
            except ValueError:  # the line the kill tore
                break
            kept.append(line + "\n")
    write_text(path, "".join(kept))
    with path.open("a", encoding="utf-8") as file:

        def write(line: Mapping[str, Any]) -> None:
            file.write(json.dumps(line) + "\n")
            file.flush()

        yield write
