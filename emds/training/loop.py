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
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from emds.config import TrainConfig
from emds.errors import DataError
from emds.files import write_text
from emds.geometry import Triple, middle
from emds.networks.device import place
from emds.networks.intensity import Intensity
from emds.networks.joint import JointNetwork
from emds.networks.losses import affinity_loss, affinity_targets, image_loss
from emds.signals import stop_signal
from emds.training.balance import LossBalance
from emds.training.optimizers import make_optimizers
from emds.training.patches import Batch, PatchSampler, iter_batches
from emds.training.recipes import Recipe
from emds.training.run_folder import RunFolder
from emds.training.state import Metrics, TrainingState

Validate = Callable[[JointNetwork], Metrics]


Save = Callable[[str, TrainingState], None]
"""Writes a checkpoint of the averaged network; told "best" or "last"."""

_LARGEST_SEED = 2**63 - 1
_SHOWN = ("psnr", "coarse_psnr", "voi", "voi_3d")


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
        Offsets of the affinity channels.
    device : torch.device
        Device to compute on.
    folder : RunFolder
        Receives the state and the curve.
    validate, save : callable
        Judge the averaged network; write a checkpoint.
    progress : callable
        Told (done, total, text) with every line of the curve.

    Raises
    ------
    InterruptedRunError
        On a signal (see `emds.signals`), after the state was saved.
    """
    stored = config.model_dump(mode="json")
    started = time.monotonic() - state.seconds
    started_cpu = time.process_time() - state.cpu_seconds
    with stop_signal() as stop, _log(folder.log, state.curve) as log:
        if state.step:  # a kill may have come between the state and what follows from it
            save("last", state)
        for batch in iter_batches(sampler, state.step, config.steps, device):
            losses = _step(state, batch, recipe, config, offsets, device)
            state.step += 1
            state.seconds = time.monotonic() - started
            state.cpu_seconds = time.process_time() - started_cpu
            done = state.step == config.steps
            if state.step % config.log_every == 0:
                values = {name: loss.item() for name, loss in losses.items()}
                _refuse_divergence(state, values["loss"], folder)
                log({"step": state.step, **values})
                progress(state.step, config.steps, _headline(values, state.metrics))
            if done or state.step % config.validation.every == 0:
                _refuse_divergence(state, losses["loss"].item(), folder)
                state.metrics = validate(_averaged_network(state))
                log({"step": state.step, "validation": state.metrics})
                score = _score(state.metrics, recipe)
                if state.best is None or score > state.best:
                    state.best = score
                    save("best", state)
            if done or stop.is_set() or state.step % config.save_every == 0:
                _refuse_divergence(state, losses["loss"].item(), folder)
                save("last", state)
                state.save(folder.state, stored)  # the last of all: what came before is made again
            if stop.is_set() and not done:
                raise stop.error(
                    f"at step {state.step} of {config.steps}; the state is saved in {folder.path}. "
                    "Continue with --resume."
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


def _refuse_divergence(state: TrainingState, loss: float, folder: RunFolder) -> None:
    """Stop before weights that are no numbers take the place of those that are."""
    weights = _averaged_network(state).state_dict().values()
    if math.isfinite(loss) and torch.stack([one.isfinite().all() for one in weights]).all():
        return
    raise DataError(
        f"the loss is {loss} at step {state.step}: training diverged. The state of an earlier "
        f"step is kept in {folder.path}; start again with a lower --set optimizer.lr=... or --set "
        "precision=fp32."
    )


def _averaged_network(state: TrainingState) -> JointNetwork:
    network = state.averaged.module
    assert isinstance(network, JointNetwork)
    return network


def _to_network_range(image: Any, device: torch.device) -> Tensor:
    values = torch.from_numpy(image).to(device)
    seen = Intensity().to_network(values.float())
    return seen.contiguous(memory_format=torch.channels_last)


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
def _log(path: Path, curve: list[str]) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Write the curve as far as the state knows it, and append to both."""
    write_text(path, "".join(curve))
    with path.open("a", encoding="utf-8") as file:

        def write(line: Mapping[str, Any]) -> None:
            curve.append(json.dumps(line) + "\n")
            file.write(curve[-1])
            file.flush()

        yield write
