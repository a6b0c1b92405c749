"""How long a plan will take: the arithmetic of its trainings, at the speed of this machine."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from functools import cache

import torch
from torch.utils.flop_counter import FlopCounterMode

from emds.config import TrainConfig
from emds.io import open_volume
from emds.networks.device import choose_device
from emds.networks.device import place as put
from emds.networks.joint import JointNetwork
from emds.segmentation.offset_sets import choose_offsets
from emds.stages.reproduce.plan import System, Task
from emds.stages.reproduce.records import read_record
from emds.stages.reproduce.workspace import Workspace
from emds.training.recipes import get_recipe

_TRIAL_STEPS = 3
_FORWARD = 1 / 3  # of the operations of a step
_CUBE = (1.0, 1.0, 1.0)  # the voxel, where the offsets go by it: their number hardly does

Backbones = frozenset[str]


def estimate_seconds(place: Workspace, tasks: Sequence[Task]) -> dict[Task, float]:
    """Return the seconds that each of these tasks takes where nothing else computes.

    A training takes its floating-point operations at the speed of the fastest finished training
    with the same backbones, since whatever else a machine does can only slow a training down;
    where none is finished, at the speed of trial steps made here. Scoring takes as long as it
    took the quickest seed of the system; where none is scored, as the network alone needs.
    """
    speeds = _finished_speeds(place, tasks)
    scored = _scoring_seconds(place, tasks)
    seconds = {}
    for task in tasks:
        system, config = task.system, place.config(task.system)
        backbones = _backbones(system)
        if backbones not in speeds:
            speeds[backbones] = _trial_speed(config, place.settings.device)
        step = step_flops(config) / speeds[backbones]
        if task.kind == "train":
            seconds[task] = config.steps * step
        else:
            steps = _test_voxels(place, system.dataset) / (config.batch_size * config.crop**2)
            seconds[task] = scored.get(_alike(task), _FORWARD * steps * step)
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
    config = TrainConfig.model_validate_json(stored)
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        _step(_build(config), config)
    return int(counter.get_total_flops())


def _build(config: TrainConfig) -> JointNetwork:
    recipe = get_recipe(config.recipe)
    channels = choose_offsets(config.offsets, _CUBE, config.attractive).channels
    network = recipe.architecture(config, channels).build()
    for name, part in network.parts().items():
        part.requires_grad_(name in recipe.trained)
    return network


def _step(network: JointNetwork, config: TrainConfig) -> None:
    """Go forward and backward through a batch of zeros."""
    slices = network.architecture.in_slices
    prediction = network(torch.zeros(config.batch_size, slices, config.crop, config.crop))
    outputs = (prediction.coarse, prediction.logits, prediction.fused)
    losses = [output.sum() for output in outputs if output is not None and output.requires_grad]
    torch.stack(losses).sum().backward()  # type: ignore[no-untyped-call]


def _finished_speeds(place: Workspace, tasks: Sequence[Task]) -> dict[Backbones, float]:
    """Return operations per second of the fastest training of each kind that is done."""
    speeds: dict[Backbones, float] = {}
    for system in dict.fromkeys(task.system for task in tasks):
        record = place.record(system)
        if record.is_file():
            done = read_record(record)
            flops = step_flops(place.config(system)) * done["steps"]
            speed = flops / max(done["seconds"], 1e-3)
            backbones = _backbones(system)
            speeds[backbones] = max(speed, speeds.get(backbones, 0.0))
    return speeds


def _trial_speed(config: TrainConfig, device: str) -> float:
    """Return operations per second of the fastest of a few steps on synthetic images."""
    where = choose_device(device)
    half = torch.autocast(where.type, torch.bfloat16, enabled=config.precision == "bf16")
    network = _build(config)
    put(network, where)
    seconds = []
    for _ in range(_TRIAL_STEPS):  # of which the first also plans
        started = time.monotonic()
        with torch.device(where), half:
            _step(network, config)
        if where.type != "cpu":
            torch.accelerator.synchronize(where)
        seconds.append(time.monotonic() - started)
    return step_flops(config) / min(seconds)


def _scoring_seconds(place: Workspace, tasks: Sequence[Task]) -> dict[tuple[str, ...], float]:
    """Return how long scoring took the quickest seed of each system."""
    seconds: dict[tuple[str, ...], float] = {}
    for task in tasks:
        path = place.scores(task.system, task.blocks)
        if task.kind == "score" and path.is_file():
            took = read_record(path)["seconds"]
            seconds[_alike(task)] = min(took, seconds.get(_alike(task), math.inf))
    return seconds


def _test_voxels(place: Workspace, name: str) -> int:
    dataset = place.datasets[name]
    with open_volume(dataset.tested_raw, role="raw") as whole:
        return math.prod(dataset.test_box(whole.shape).shape)


def _backbones(system: System) -> Backbones:
    return frozenset(system.networks.split("+"))


def _alike(task: Task) -> tuple[str, ...]:
    """Name what is scored up to its seed and its noise."""
    system = task.system
    return system.dataset, system.recipe, system.networks, str(task.blocks)
