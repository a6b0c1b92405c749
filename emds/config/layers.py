"""A configuration is layers of plain data, merged and then checked.

Command line (`--set a.b=v`) over file over preset over default.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ValidationError

from emds.config.schema import NoiseModelConfig, TrainConfig
from emds.errors import ConfigError
from emds.files import note_input

PRESETS: Mapping[str, Mapping[str, Any]] = {
    # Wang et al., MICCAI 2024, and what their training script sets.
    "paper": {
        "width": "paper",
        "crop": 256,
        "batch_size": 32,
        "steps": 400_000,
        "ema_decay": 0.0,
        "noise": {"online": False},
        "augment": {"dihedral": False},
        "optimizer": {
            "name": "adam",
            "lr": 1e-4,
            "eps": 0.01,
            "weight_decay": 1e-6,
            "amsgrad": True,
            "schedule": "poly",
            "warmup_steps": 0,
            "clip_norm": None,
        },
        "validation": {"every": 1000},
    },
    # What we would train on one GPU.
    "modern": {"width": "paper", "crop": 256, "batch_size": 16, "steps": 20_000},
    # What two CPU cores manage in an hour or two.
    "cpu": {
        "width": "small",
        "crop": 128,
        "batch_size": 8,
        "steps": 2_000,
        "optimizer": {"lr": 2e-3, "warmup_steps": 100},
        "validation": {"every": 250},
    },
}


def load_train_config(
    preset: str | None = None,
    file: Path | None = None,
    overrides: Iterable[str] = (),
    options: Mapping[str, Any] | None = None,
) -> TrainConfig:
    """Merge preset, file, `--set` overrides and command-line options into one configuration.

    Parameters
    ----------
    preset : str, optional
        A key of `PRESETS`; a file may name it too, under ``preset``.
    file : Path, optional
        YAML or JSON with the fields of `TrainConfig`.
    overrides : iterable of str
        ``a.b=value`` with a YAML value.
    options : mapping, optional
        Nested values that win over all others; None values are left out.

    Raises
    ------
    ConfigError
        If a key is unknown or a value does not fit; the message names the place.

    Examples
    --------
    >>> load_train_config("cpu", overrides=["optimizer.lr=0.001"]).optimizer.lr
    0.001
    """
    from_file = _read_mapping(file) if file is not None else {}
    preset = from_file.pop("preset", None) if preset is None else preset
    if preset is not None and (not isinstance(preset, str) or preset not in PRESETS):
        raise ConfigError(
            f"unknown preset {preset!r}; there are {', '.join(PRESETS)}."
            f"{_nearest(str(preset), PRESETS)}"
        )
    values: dict[str, Any] = {}
    for layer in (PRESETS.get(preset or "", {}), from_file, _parse_overrides(overrides)):
        values = _merge(values, layer)
    return parse_train_config(_merge(values, _without_none(options or {})))


def parse_train_config(values: Mapping[str, Any]) -> TrainConfig:
    """Check plain data against `TrainConfig`; raises `ConfigError` with the place and a hint."""
    try:
        return TrainConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError("\n".join(_explain(problem) for problem in error.errors())) from None


def _explain(problem: Any) -> str:
    place = ".".join(str(part) for part in problem["loc"])
    if problem["type"] != "extra_forbidden":
        shown = f"{place} = {problem['input']!r}: " if place else ""
        return f"config: {shown}{problem['msg']}."
    model: Any = TrainConfig
    for part in problem["loc"][:-1]:
        if isinstance(part, str) and issubclass(model, BaseModel):
            annotation = model.model_fields[part].annotation
            model = annotation if isinstance(annotation, type) else NoiseModelConfig
    known = list(model.model_fields)
    return (
        f"config: unknown key {place!r}.{_nearest(str(problem['loc'][-1]), known)} "
        f"Known here: {', '.join(known)}."
    )


def _nearest(word: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""


def _read_mapping(file: Path) -> dict[str, Any]:
    note_input(file)
    try:
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"cannot read config file {file}: {error}") from None
    if not isinstance(values, dict):
        raise ConfigError(f"config file {file} must hold a mapping of keys, not {values!r:.60}.")
    return values


def _parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or not all(key.split(".")):
            raise ConfigError(f"--set takes KEY=VALUE such as optimizer.lr=0.001, not {text!r}.")
        try:
            nested: Any = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise ConfigError(f"--set {key}: {value!r} is not a YAML value: {error}") from None
        for part in reversed(key.split(".")):
            nested = {part: nested}
        values = _merge(values, nested)
    return values


def _merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in over.items():
        old = merged.get(key)
        both = isinstance(old, Mapping) and isinstance(value, Mapping)
        merged[key] = _merge(old, value) if both else value  # type: ignore[arg-type]
    return merged


def _without_none(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        key: _without_none(value) if isinstance(value, Mapping) else value
        for key, value in values.items()
        if value is not None
    }
