"""What `emds adapt` learns from, what it is judged by, and how: decided before any step."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from emds import numbers
from emds.config import TrainConfig, parse_train_config
from emds.errors import CheckpointError, DataError, UsageError
from emds.geometry import Roi, Triple
from emds.io.identity import volume_identity
from emds.io.volume import Volume
from emds.networks.checkpoint import Checkpoint, build_architecture, load_checkpoint
from emds.networks.intensity import Intensity
from emds.networks.joint import Part
from emds.noise.correlation import correlation_reach
from emds.noise.estimate import NoiseEstimate
from emds.noise.patches import LAGS
from emds.numbers import Checked
from emds.stages.estimate_noise import check_region, estimate_noise
from emds.stages.grey_values import warn_of_misfit
from emds.stages.plan import grey_scale
from emds.stages.provenance import described_roi, model_provenance
from emds.stages.seen_noise import FoundNoise
from emds.training.blind_spot import least_side
from emds.training.recipes import LossWeights, Recipe

_IMAGE_SIDE: tuple[Part, ...] = ("denoiser", "fusion")
_SAMPLES = 4  # of a step
_FEWEST_HELD, _MOST_HELD = 4, 24  # sections held out; fewer tell no gain from chance
_WARMUP = 10
_SETTINGS = {"steps", "seed", "crop", "batch_size", "ema_decay", "optimizer"}
_ALIKE = 1.5  # correlation length along z that remains of the image do not explain


@dataclass(frozen=True, slots=True)
class AdaptOptions(Checked):
    """What a user may choose; None lets emds decide.

    Attributes
    ----------
    steps : int
        Optimiser steps.
    lr : float
        Highest learning rate.
    roi : Roi or None
        Part of the volume to learn from and to be judged by, in its voxels.
    held_out : (int, int) or None
        Sections to be judged by, half-open, in the volume; default: the last third of the region,
        but from 4 to 24 of them.
    intensity : (low, high), "auto" or None
        As in `InferenceOptions`.
    seed : int
        Random seed for samples and blind spots.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``mps``.
    """

    steps: numbers.Steps = 100
    lr: numbers.LearningRate = 1e-3
    roi: Roi | None = None
    held_out: numbers.Sections | None = None
    intensity: numbers.Intensity | None = None
    seed: numbers.Seed = 0
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class AdaptPlan:
    """An adaptation of which everything is settled; see `plan_adaptation`.

    Attributes
    ----------
    parent : Checkpoint
        The model to start from.
    region : Roi
        Part of the volume that is used.
    held_out : (int, int)
        Sections to be judged by.
    starts : tuple of int
        First sections of the stacks that may be learnt from; none meets a held-out section.
    slices : (int, int)
        Sections that the network sees, and those of them that it makes images of.
    intensity : Intensity
        Grey values that map to -1 and +1.
    noise : NoiseEstimate
        Noise of the region.
    reach : (z, y, x)
        Correlation length of that noise, voxels.
    recipe : Recipe
        Which networks move.
    config : TrainConfig
        Steps, optimiser, size of samples.
    described : dict
        JSON; all that decides the outcome, and where it came from.
    """

    parent: Checkpoint
    region: Roi
    held_out: tuple[int, int]
    starts: tuple[int, ...]
    slices: tuple[int, int]
    intensity: Intensity
    noise: NoiseEstimate
    reach: Triple
    recipe: Recipe
    config: TrainConfig
    described: dict[str, Any]


def plan_adaptation(
    path: Path,
    source: Volume,
    options: AdaptOptions,
    progress: Callable[[int, int, str], None],
) -> AdaptPlan:
    """Settle what the options leave open, and refuse what cannot work.

    Parameters
    ----------
    path : Path
        The model file to start from.
    source : Volume
        Noisy grey values.
    options : AdaptOptions
        Options of the user.
    progress : callable
        Told (done, total, text) while the noise is estimated.

    Raises
    ------
    CheckpointError
        If the model makes no image.
    DataError, UsageError
        If the volume cannot be used, is too small, or its noise is film grain or reaches too far.
    """
    parent = load_checkpoint(path)
    recipe = _recipe(parent, path)
    region = options.roi or source.roi
    check_region(source, region)
    intensity = grey_scale(source, parent, options.intensity, region)
    if options.intensity != "auto":
        warn_of_misfit(source, region, options.intensity)
    architecture = build_architecture(parent.architecture)
    seen = architecture.in_slices
    predicted = architecture.out_slices if "denoiser" in parent.networks else 1
    held_out = _held_out(region, options.held_out)
    starts = _starts(source, region, held_out, seen)
    noise = estimate_noise(source, roi=region, seed=options.seed, progress=progress).estimate
    if noise.is_film:
        raise DataError(
            f"the noise of {source.location} looks like film grain, which multiplies and is alike "
            "over several voxels. What is hidden to learn from it is so wide that to fill it in "
            "well is not to denoise well, and nothing tells how dark the grain made the image. "
            "Train a checkpoint for such noise: emds train, with noise models of kind film."
        )
    reach = _reach(noise, source, seen)
    side = parent.crop * -(-least_side(reach) // parent.crop)
    if min(region.shape[1:]) < side:
        raise DataError(
            f"the region of {source.location} is {region.shape} (z, y, x) and must be at least "
            f"{side} voxels wide along y and x, for samples as the checkpoint was trained on and "
            "blind spots as wide as the noise. Give a larger region."
        )
    config = _config(side, options)
    described = {
        "parent": model_provenance(path, parent.recipe),
        "volume": volume_identity(source),
        **described_roi(region),
        "held_out": list(held_out),
        "intensity": [intensity.low, intensity.high],
        "noise": FoundNoise.of(noise, intensity).to_dict(),
        "reach": list(reach),
        "settings": config.model_dump(mode="json", include=_SETTINGS),
    }
    return AdaptPlan(
        parent,
        region,
        held_out,
        starts,
        (seen, predicted),
        intensity,
        noise,
        reach,
        recipe,
        config,
        described,
    )


def _recipe(parent: Checkpoint, path: Path) -> Recipe:
    """Return what moves: all that makes images, and nothing of the segmenter."""
    trained = tuple(name for name in _IMAGE_SIDE if name in parent.networks)
    if not trained:
        raise CheckpointError(
            f"{path} (recipe {parent.recipe!r}) makes no image, it has only "
            f"{', '.join(parent.networks)}; what is adapted is the denoiser and the fusion. Use a "
            "checkpoint of a recipe that denoises, such as joint."
        )
    return Recipe(parent.networks, trained, LossWeights(coarse=1, fused=1), select="psnr")


def _config(side: int, options: AdaptOptions) -> TrainConfig:
    optimizer = {
        "lr": options.lr,
        "weight_decay": 0.0,
        "warmup_steps": min(_WARMUP, options.steps),
        "clip_norm": 1.0,
    }
    return parse_train_config(
        {
            "crop": side,
            "batch_size": _SAMPLES,
            "steps": options.steps,
            "seed": options.seed,
            "ema_decay": 0.99,
            "save_every": 50,
            "optimizer": optimizer,
        }
    )


def _held_out(region: Roi, asked: tuple[int, int] | None) -> tuple[int, int]:
    begin, end = region.offset[0], region.end[0]
    if asked is None:
        return end - int(np.clip((end - begin) // 3, _FEWEST_HELD, _MOST_HELD)), end
    if not begin <= asked[0] < asked[1] <= end:
        raise UsageError(
            f"--held-out {asked[0]}:{asked[1]} must be sections of the region, {begin}:{end}."
        )
    if asked[1] - asked[0] < _FEWEST_HELD:
        raise UsageError(
            f"--held-out {asked[0]}:{asked[1]} must be at least {_FEWEST_HELD} sections: fewer "
            "do not tell a gain from chance."
        )
    return asked


def _starts(source: Volume, region: Roi, held_out: tuple[int, int], seen: int) -> tuple[int, ...]:
    begin, end = region.offset[0], region.end[0]
    starts = tuple(
        z for z in range(begin, end - seen + 1) if z + seen <= held_out[0] or z >= held_out[1]
    )
    if starts:
        return starts
    raise DataError(
        f"with {held_out[1] - held_out[0]} sections held out, none of the {end - begin} of the "
        f"region of {source.location} are left to learn from, of which the checkpoint sees {seen} "
        f"at once. At least {_FEWEST_HELD + seen} sections are needed."
    )


def _reach(noise: NoiseEstimate, source: Volume, seen: int) -> Triple:
    """Return how far from a spot nothing may be seen.

    Noise is taken to be new in every section, unless sections resemble each other more than the
    image alone explains: then a spot is hidden in all of them.
    """
    y, x = (correlation_reach(one) for one in noise.correlation[1:])
    if max(y, x) >= LAGS - 1:
        raise DataError(
            f"the noise of {source.location} resembles itself over {LAGS - 1} voxels or more along "
            "y or x: no spot can be hidden that is wide enough. Is it noise, or structure of the "
            "image (see `emds estimate-noise`)?"
        )
    length = noise.lengths[0]
    return (seen // 2 if length is not None and length > _ALIKE else 0), y, x
