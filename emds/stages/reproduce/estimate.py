"""How long a training will take: its arithmetic, counted, at the speed seen so far."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Sequence
from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from emds.config import TrainConfig
from emds.networks.device import choose_device
from emds.segmentation.offset_sets import choose_offsets
from emds.stages.reproduce.plan import System, Task
from emds.stages.reproduce.workspace import Workspace
from emds.training.recipes import get_recipe

_TRIAL_STEPS = 2
_CUBE = (1.0, 1.0, 1.0)  # the voxel, where the offsets go by it: their number hardly does


def estimate_seconds(place: Workspace, tasks: Sequence[Task]) -> dict[Task, float]:
    """Return the seconds that each of these tasks will take, if nothing of it is done.

    A training takes its floating-point operations at the speed of finished trainings of the same
    recipe and networks; failing that, of any; failing that, of trial steps of the first one, made
    here. Scoring takes the mean time of what was scored, if anything was.
    """
    speeds = _speeds(place, tasks)
    every = [speed for alike in speeds.values() for speed in alike]
    if not every:
        every = [_trial_speed(place.config(tasks[0].system), place.settings.device)]
    scored = [
        json.loads(path.read_text(encoding="utf-8"))["seconds"]
        for path in {place.scores(task.system, task.blocks) for task in tasks}
        if path.is_file()
    ]
    seconds = {}
    for task in tasks:
        if task.kind == "score":
            seconds[task] = statistics.fmean(scored) if scored else 0.0
        else:
            config = place.config(task.system)
            speed = statistics.fmean(speeds.get(_kind(task.system), every))
            seconds[task] = step_flops(config) * config.steps / speed
    return seconds


def step_flops(config: TrainConfig) -> int:
    """Count the operations of an optimisation step: forward through all, backward as needed.

    Examples
    --------
    >>> from emds.config import load_train_config
    >>> alone, joint = (step_flops(load_train_config("cpu", overrides=[f"recipe={name}"]))
    ...                 for name in ("dn_only", "joint"))
    >>> 3 < joint / alone < 4
    True
    """
    # What changes no arithmetic is left out, so that little has to be counted.
    return _step_flops(config.model_dump_json(exclude={"seed", "init", "data", "noise", "steps"}))


@cache
def _step_flops(stored: str) -> int:
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        _forward_and_backward(TrainConfig.model_validate_json(stored))
    return int(counter.get_total_flops())


def _forward_and_backward(config: TrainConfig) -> None:
    recipe = get_recipe(config.recipe)
    channels = choose_offsets(config.offsets, _CUBE, config.attractive).channels
    network = recipe.architecture(config, channels).build()
    for name, part in network.parts().items():
        part.requires_grad_(name in recipe.trained)
    slices = network.architecture.in_slices
    prediction = network(torch.zeros(config.batch_size, slices, config.crop, config.crop))
    outputs = (prediction.coarse, prediction.logits, prediction.fused)
    losses = [output.sum() for output in outputs if output is not None and output.requires_grad]
    torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]


def _speeds(place: Workspace, tasks: Sequence[Task]) -> dict[tuple[str, str], list[float]]:
    """Return operations per second of the trainings that are done, by kind."""
    speeds: dict[tuple[str, str], list[float]] = {}
    for system in dict.fromkeys(task.system for task in tasks):
        record = place.record(system)
        if record.is_file():
            done = json.loads(record.read_text(encoding="utf-8"))
            flops = step_flops(place.config(system)) * done["steps"]
            speeds.setdefault(_kind(system), []).append(flops / max(done["seconds"], 1e-3))
    return speeds


def _kind(system: System) -> tuple[str, str]:
    return system.recipe, system.networks


def _trial_speed(config: TrainConfig, device: str) -> float:
    """Return operations per second of training steps on made-up images."""
    where = choose_device(device)
    half = torch.autocast(where.type, torch.bfloat16, enabled=config.precision == "bf16")
    with torch.device(where), half:
        _forward_and_backward(config)  # the first step also plans
        started = time.monotonic()
        for _ in range(_TRIAL_STEPS):
            _forward_and_backward(config)
    return step_flops(config) * _TRIAL_STEPS / (time.monotonic() - started)
