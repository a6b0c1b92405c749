"""``emds train``: from labelled clean sections to a checkpoint."""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from emds.config import TrainConfig
from emds.errors import CheckpointError, ConfigError, DataError, OutputExistsError, UsageError
from emds.execution.presence import held
from emds.io import open_volume
from emds.io.identity import volume_identity
from emds.io.volume import CachedVolume, Volume
from emds.metrics.alignment import align
from emds.networks.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from emds.networks.device import choose_device
from emds.progress import Progress
from emds.segmentation.affinities import AffinitySpec
from emds.segmentation.offset_sets import choose_offsets
from emds.stages.given_labels import given_labels
from emds.stages.grey_values import warn_of_misfit
from emds.stages.initial_weights import load_initial_weights
from emds.stages.validation import Validator, label_settings
from emds.training.loop import start_state
from emds.training.loop import train as run_training
from emds.training.patches import PatchSampler
from emds.training.recipes import Recipe, get_recipe
from emds.training.run_folder import RunFolder
from emds.training.state import TrainingState

logger = logging.getLogger("emds")


def train(
    config: TrainConfig,
    out: Path,
    *,
    resume: bool = False,
    overwrite: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
) -> Path:
    """Train by a recipe and write ``best.pt`` and ``last.pt`` into a run folder.

    Parameters
    ----------
    config : TrainConfig
        Configuration of the training.
    out : Path
        Run folder: the checkpoints, the resumable ``state.pt`` and the curve ``metrics.jsonl``.
    resume : bool
        Continue the run in `out`; its configuration must be the same.
    overwrite : bool
        Replace the run in `out`, file by file; what else lies there stays.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``mps``.
    progress : callable, optional
        Told (done, total, text).

    Returns
    -------
    Path
        The best checkpoint.

    Raises
    ------
    DataError, ConfigError, OutputExistsError, InterruptedRunError
        As their names say; `InterruptedRunError` leaves a run that can be resumed.
    """
    recipe = get_recipe(config.recipe)
    folder = RunFolder(out)
    _may_begin(folder, resume, overwrite)
    raw, labels = _open_data(config, recipe)
    train_range, validation_range = _split(config, raw)
    warn_of_misfit(raw, config.data.box(train_range, raw.shape), None, option=False)
    spec = choose_offsets(config.offsets, raw.voxel_size, config.attractive)
    _check_offsets(spec, config)
    chosen = choose_device(device)

    torch.manual_seed(config.seed)
    network = recipe.architecture(config, spec.channels).build()
    load_initial_weights(network, config, recipe, out)
    sampler = PatchSampler(
        _cached(raw, train_range, config),
        labels and _cached(labels, train_range, config),
        train_range,
        config,
        reach=spec.reach[0],
    )
    validator = Validator(raw, labels, validation_range, config, spec, chosen)
    state = start_state(network, recipe, config, chosen)
    identity = volume_identity(raw)
    segmenting = "segmenter" in recipe.networks
    noise = config.noise.models if recipe.reads == "noisy" else ()

    def describe(state: TrainingState) -> Checkpoint:
        averaged: Any = state.averaged.module
        try:
            return Checkpoint(
                architecture=network.architecture.to_dict(),
                weights=averaged.state_dict(),
                offsets=spec.offsets if segmenting else (),
                attractive=spec.attractive if segmenting else (),
                labels=label_settings(config),
                crop=config.crop,
                voxel_size=raw.voxel_size,
                recipe=config.recipe,
                noise=[model.model_dump(exclude_none=True) for model in noise],
                config=config.model_dump(mode="json"),
                data_hash=identity,
                metrics={
                    "step": state.step,
                    "seconds": round(state.seconds, 1),
                    "cpu_seconds": round(state.cpu_seconds, 1),
                    "validation_sections": list(validation_range),
                    # JSON has no word for the PSNR of two images that are the same.
                    **{k: v if math.isfinite(v) else None for k, v in state.metrics.items()},
                },
                license=config.license,
                attribution=config.attribution,
            )
        except ValidationError as error:
            wrong = error.errors()[0]
            place = ".".join(map(str, wrong["loc"]))
            raise DataError(
                f"no checkpoint can say that {place} = {wrong['input']!r:.80}: {wrong['msg']}. "
                "Change the configuration, or what the volume says of itself."
            ) from None

    describe(state)  # refuses what cannot be stored before anything is written
    folder.path.mkdir(parents=True, exist_ok=True)
    with held(folder.path):
        # Another process may have been here since.
        if _may_begin(folder, resume, overwrite):
            _take_up(state, folder, config)
        else:
            folder.begin()
            state.save(folder.state, config.model_dump(mode="json"))
        run_training(
            state,
            sampler,
            recipe,
            config,
            offsets=spec.offsets,
            device=chosen,
            folder=folder,
            validate=validator,
            save=lambda which, state: save_checkpoint(describe(state), out / f"{which}.pt"),
            progress=progress or (lambda *_: None),
        )
    return folder.best


def _may_begin(folder: RunFolder, resume: bool, overwrite: bool) -> bool:
    """Return whether there is a state to continue; refuse a folder that is not this run's."""
    path = folder.path
    if path.exists() and not path.is_dir():
        raise UsageError(f"--out {path} must be a folder, and it is a file.")
    if resume and overwrite:
        raise UsageError("--resume continues a run and --overwrite discards it: give one of them.")
    if resume and not folder.is_begun():
        raise UsageError(
            f"nothing to resume: {path} holds no state.pt. Leave --resume out to start."
        )
    if not resume and not folder.is_free():
        if not overwrite:
            raise OutputExistsError(
                f"{path} is not empty. Continue that run with --resume, replace it with "
                "--overwrite, or choose another --out."
            )
        if not folder.is_marked():
            raise OutputExistsError(
                f"{path} holds something other than a training run, or one of an emds that did "
                "not mark them; --overwrite will not delete it. Choose another --out."
            )
    blocking = folder.in_the_way()
    if blocking is not None:
        raise OutputExistsError(
            f"{blocking} is in the way: a run has a file of that name, and this is a link or a "
            "folder. Move it away, or choose another --out."
        )
    if resume and not folder.state.is_file():
        logger.warning("%s was stopped before it saved a state: it starts at step 0", path)
    return resume and folder.state.is_file()


def _take_up(state: TrainingState, folder: RunFolder, config: TrainConfig) -> None:
    """Go on from a state, of which the best checkpoint so far is a part."""
    state.load(folder.state, config.model_dump(mode="json"))
    folder.adopt()
    if state.best is not None:
        try:
            load_checkpoint(folder.best, own=True)
        except CheckpointError as error:
            raise CheckpointError(
                f"cannot resume {folder.path}, whose best checkpoint is lost: {error} Start anew "
                "with --overwrite."
            ) from None


def _open_data(config: TrainConfig, recipe: Recipe) -> tuple[Volume, Volume | None]:
    if config.data.raw is None:
        raise ConfigError("no training images: name them as RAW, or set data.raw.")
    raw = open_volume(config.data.raw, role="raw")
    if raw.dtype != "uint8":
        raise DataError(
            f"training images must be uint8, the scale the noise models are defined on; "
            f"{raw.location} is {raw.dtype}. Convert it first."
        )
    if "segmenter" not in recipe.networks:
        return raw, None
    location = config.data.labels or config.data.raw
    labels = open_volume(location, role="labels")
    labels = given_labels(labels, "labels", raw)
    whole = raw
    labels, raw, notes = align(labels, raw, ("labels", "raw image"))
    for note in notes:
        logger.warning("%s%s", note, "" if raw is whole else "; sections count from there")
    return raw, labels


def _split(config: TrainConfig, raw: Volume) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return training and validation sections; without a word, the last tenth is held out."""
    sections = raw.shape[0]
    held = config.data.validation or (sections - max(1, sections // 10), sections)
    train = config.data.train or ((0, held[0]) if held[0] > 0 else (held[1], sections))
    used = {"train": train, "validation": held}
    limits = {"train": (sections, "sections"), "validation": (sections, "sections")}
    for name, axis in (("rows", 1), ("columns", 2)):
        used[name] = getattr(config.data, name) or (0, raw.shape[axis])
        limits[name] = (raw.shape[axis], name)
    for name, (begin, end) in used.items():
        limit, unit = limits[name]
        if not 0 <= begin < end <= limit:
            raise ConfigError(
                f"data.{name} = {begin}:{end} must be a non-empty range within the {limit} "
                f"{unit} of {raw.location}."
            )
    if max(train[0], held[0]) < min(train[1], held[1]):
        raise ConfigError(
            f"data.train = {train[0]}:{train[1]} and data.validation = {held[0]}:{held[1]} must "
            "not overlap: a score on training sections says nothing."
        )
    return train, held


def _check_offsets(spec: AffinitySpec, config: TrainConfig) -> None:
    """Refuse partners that the network cannot know anything about."""
    sections, *pixels = spec.reach
    seen = config.in_slices // 2
    if sections > seen:
        raise ConfigError(
            f"config: offsets reach dz = {sections} sections, and with in_slices = "
            f"{config.in_slices} the network sees {seen} on either side. Set in_slices="
            f"{2 * sections + 1} or more, or other offsets."
        )
    if max(pixels) >= config.crop:
        raise ConfigError(
            f"config: offsets reach {max(pixels)} pixels and must be shorter than crop = "
            f"{config.crop}."
        )


def _cached(volume: Volume, sections: tuple[int, int], config: TrainConfig) -> Volume:
    """Keep the training sections in memory if they are small enough, at their own place."""
    roi = config.data.box(sections, volume.shape)
    if roi.size * volume.dtype.itemsize > config.data.cache_gib * 2**30:
        return volume
    return CachedVolume(volume, roi)
