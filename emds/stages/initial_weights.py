"""The weights that networks start from: what a recipe demands, and what the user names."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from emds.config import TrainConfig
from emds.errors import ConfigError, UsageError
from emds.networks.checkpoint import load_checkpoint
from emds.networks.joint import Architecture, JointNetwork
from emds.networks.transunet import TransUNet
from emds.networks.vit_weights import load_vit_weights
from emds.training.recipes import Recipe


def load_initial_weights(
    network: JointNetwork, config: TrainConfig, recipe: Recipe, out: Path
) -> None:
    """Fill the parts that `config.init` names, from checkpoints or published `.npz` weights.

    Parameters
    ----------
    network : JointNetwork
        Changed in place.
    config : TrainConfig
        Its `init` maps a part to a checkpoint of emds; for a TransUNet also to an ``.npz`` file,
        see `emds.networks.vit_weights`.
    recipe : Recipe
        Parts it starts from must be named.
    out : Path
        The run folder; no file in it may be named.

    Raises
    ------
    ConfigError, UsageError, CheckpointError
        If a part is missing, or a file does not fit.
    """
    for part, source in recipe.starts_from.items():
        if part not in config.init:
            raise ConfigError(
                f"recipe {config.recipe!r} starts from a trained {part}: give --init {part}=PATH, "
                f"the checkpoint of a {source!r} run."
            )
    for part, name in config.init.items():
        path = Path(name)
        if path.resolve().is_relative_to(out.resolve()):
            raise UsageError(f"--init {part}={path} lies in --out {out}; choose another --out.")
        target = network.parts().get(part)
        if target is None:
            raise ConfigError(
                f"init.{part} = {path}: the recipe has no {part}, only "
                f"{', '.join(recipe.networks)}."
            )
        if path.suffix == ".npz":
            _load_published(target, part, path)
        else:
            _load_part(target, part, path, network.architecture)


def _load_published(target: nn.Module, part: str, path: Path) -> None:
    if not isinstance(target, TransUNet):
        raise ConfigError(
            f"init.{part} = {path}: published .npz weights are for a TransUNet; set "
            f"{part}=transunet, or name a checkpoint of emds."
        )
    load_vit_weights(target, path)


def _load_part(target: nn.Module, part: str, path: Path, wanted: Architecture) -> None:
    source = load_checkpoint(path)
    if part not in source.networks:
        raise ConfigError(
            f"init.{part} = {path}: the checkpoint has no {part}, only "
            f"{', '.join(source.networks)}."
        )
    prefix = f"{part}."
    weights = {k.removeprefix(prefix): v for k, v in source.weights.items() if k.startswith(prefix)}
    try:
        target.load_state_dict(weights)
    except RuntimeError:
        here = wanted.to_dict()
        differing = [
            f"its {name} is {source.architecture[name]!r}, this run's {here[name]!r}"
            for name in (part, "width", "window", "in_slices", "out_slices", "affinity_channels")
            if source.architecture[name] != here[name]
        ]
        raise ConfigError(
            f"init.{part} = {path} does not fit this run: {'; '.join(differing)}."
        ) from None
