"""What a person may configure: frozen models, unknown keys refused, presets as plain data.

Precedence: command line (`--set a.b=v`) over file over preset over default.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    model_validator,
)

from emds.errors import ConfigError
from emds.geometry import Roi, Triple

Range = tuple[float, float]
Backbone = Literal[
    "unet",
    "unet3d",
    "dncnn",
    "dncnn-light",
    "dncnn-released",
    "ridnet",
    "ridnet-light",
    "ridnet-released",
    "transunet",
    "transunet-s",
    "transunet-xs",
]
"""`3d`: convolves across sections; `light`: 16 features; `released`: as in the paper's code; `s`,
`xs`: smaller transformers."""


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataConfig(_Model):
    """Where the training sections are."""

    raw: str | None = Field(None, description="location of the clean images, uint8")
    labels: str | None = Field(None, description="location of the instance labels")
    train: tuple[int, int] | None = Field(
        None, description="sections to train on, half-open; default: those before the held-out"
    )
    validation: tuple[int, int] | None = Field(
        None, description="sections held out for selection; default: the last tenth, at least one"
    )
    rows: tuple[int, int] | None = Field(
        None, description="rows of every section to use, half-open; default: all"
    )
    columns: tuple[int, int] | None = Field(
        None, description="columns of every section to use, half-open; default: all"
    )
    cache_gib: float = Field(
        4.0, gt=0, description="training sections up to this size are kept in memory, GiB"
    )

    def box(self, sections: tuple[int, int], shape: Triple) -> Roi:
        """Return the part of these sections that is used, of a volume of this shape."""
        ranges = (sections, self.rows or (0, shape[1]), self.columns or (0, shape[2]))
        (z, y, x), (depth, height, width) = zip(*((a, b - a) for a, b in ranges), strict=True)
        return Roi((z, y, x), (depth, height, width))


class NoiseModelConfig(_Model):
    """One noise model; what is left out keeps the model's default."""

    kind: Literal["gaussian-poisson", "film", "gaussian", "poisson"] = "gaussian-poisson"
    sigma: Range | None = Field(None, description="Gaussian sd, grey levels")
    lam: Range | None = Field(None, description="expected electrons per grey level")
    mode: str | None = Field(None, description="shot, additive, gain; film: minmax, unitmean")
    kernel: int | None = Field(None, description="film: side of the box blur, voxels")
    maximum: float | None = Field(None, description="film: largest multiplier")
    share: float = Field(1.0, gt=0, description="how often this model is drawn, relative")

    def options(self) -> dict[str, Any]:
        """Return what `emds.noise.make_noise_model` takes besides the kind."""
        return self.model_dump(exclude={"kind", "share"}, exclude_none=True)


class NoiseConfig(_Model):
    """How clean images become the network's input."""

    online: bool = Field(True, description="draw new noise for every sample; else fixed by place")
    models: tuple[NoiseModelConfig, ...] = Field(
        (NoiseModelConfig(),),  # type: ignore[call-arg]
        min_length=1,
        description="drawn per sample; validation uses the first",
    )


class AugmentConfig(_Model):
    """Changes that leave the task the same."""

    dihedral: bool = Field(
        True, description="flips and quarter turns in the plane, flips of a stack of sections"
    )
    planes: Literal["xy", "all", "oblique"] = Field(
        "xy",
        description="all: also cut samples along xz and yz; oblique: along any plane, "
        "interpolated; both for isotropic voxels only",
    )
    zoom: Range = Field((1.0, 1.0), description="magnification of oblique samples")
    contrast: Range = Field((1.0, 1.0), description="factor on the contrast, around mid-grey")
    brightness: Range = Field((0.0, 0.0), description="added to the image, grey levels")


class OptimizerConfig(_Model):
    """How the weights move."""

    name: Literal["adam", "adamw", "sgd"] = Field(
        "adamw", description="sgd takes the first of betas as its momentum"
    )
    lr: float = Field(3e-4, gt=0)
    betas: tuple[
        Annotated[float, Field(ge=0, lt=1)],
        Annotated[float, Field(ge=0, lt=1)],
    ] = (0.9, 0.999)
    eps: float = Field(1e-8, gt=0)
    weight_decay: float = Field(1e-4, ge=0)
    amsgrad: bool = False
    schedule: Literal["poly", "cosine"] = Field(
        "cosine", description="poly: (1 - t)^0.9; cosine: to zero, after the warm-up"
    )
    warmup_steps: int = Field(200, ge=0)
    clip_norm: float | None = Field(1.0, gt=0, description="largest gradient norm")


class LossConfig(_Model):
    """Weights of the loss terms, and how they change; None keeps the recipe's."""

    coarse: float | None = Field(None, ge=0, description="MSE of the coarse image")
    affinities: float | None = Field(None, ge=0, description="α, balanced cross-entropy")
    fused: float | None = Field(None, ge=0, description="β, MSE of the fused image")
    balance: Literal["fixed", "uncertainty"] | None = Field(
        None, description="uncertainty: the weights are those at the start, and are trained"
    )
    ramp: float | None = Field(
        None, ge=0, le=1, description="share of the training over which β rises from 0"
    )
    detach_until: float | None = Field(
        None,
        ge=0,
        le=1,
        description="share of the training in which the fused image does not train the segmenter",
    )
    mask_border: bool = Field(False, description="ignore pairs that leave the crop")


class ValidationConfig(_Model):
    """How often and on what the run is judged; how labels are made goes into the checkpoint."""

    every: int = Field(500, gt=0, description="steps between validations")
    sections: int = Field(
        8,
        gt=0,
        description="held-out sections used: evenly spaced; adjacent where the network sees "
        "several or an offset leaves the section",
    )
    mutex_strides: Triple = Field((1, 5, 5), description="of the mutex edges, voxels")
    min_size: int = Field(0, ge=0, description="smaller segments join a neighbour, voxels")


class TrainConfig(_Model):
    """Everything that decides the outcome of a training run."""

    recipe: str = "joint"
    denoiser: Backbone = Field("unet", description="network of the denoiser")
    segmenter: Backbone = Field("unet", description="network of the segmenter")
    width: Literal["tiny", "small", "paper", "large"] = Field(
        "small", description="of the U-Nets and the fusion"
    )
    iem_mode: Literal["window", "global", "window_shift", "linear", "released", "cat"] | None = (
        Field(None, description="how the fusion looks at affinities; None keeps the recipe's")
    )
    in_slices: int = Field(1, gt=0, description="adjacent noisy sections the network sees, odd")
    out_slices: int = Field(
        1, gt=0, description="coarse sections the denoiser makes of them, odd: those in the middle"
    )
    crop: Annotated[int, Field(ge=16, multiple_of=8, description="side of a sample, pixels")] = 256
    batch_size: int = Field(8, gt=0)
    steps: int = Field(20_000, gt=0)
    seed: int = Field(555, ge=0)
    precision: Literal["fp32", "bf16"] = "fp32"
    ema_decay: float = Field(0.999, ge=0, lt=1, description="0 keeps the raw weights")
    log_every: int = Field(10, gt=0, description="steps between lines in metrics.jsonl")
    save_every: int = Field(250, gt=0, description="steps between resumable states")
    offsets: Annotated[
        Annotated[Literal["planar", "isotropic", "anisotropic", "auto"], Tag("set")]
        | Annotated[tuple[Triple, ...], Tag("list")],
        Discriminator(lambda value: "set" if isinstance(value, str) else "list"),
    ] = Field(
        "planar",
        description="(dz, dy, dx) of the affinities, or a set of them: planar, the paper's ten; "
        "isotropic or anisotropic, across sections too; auto, one of the two by the voxel size",
    )
    attractive: int | None = Field(
        None, gt=0, description="how many of the first offsets attract; default: the neighbours"
    )
    init: Mapping[Literal["denoiser", "segmenter", "fusion"], str] = Field(
        default_factory=dict, description="checkpoints that networks start from"
    )
    license: str = Field("unstated", description="licence of the weights, kept in the checkpoint")
    attribution: str = Field("", description="credit for the data, kept in the checkpoint")
    data: DataConfig = DataConfig()  # type: ignore[call-arg]
    noise: NoiseConfig = NoiseConfig()  # type: ignore[call-arg]
    augment: AugmentConfig = AugmentConfig()  # type: ignore[call-arg]
    optimizer: OptimizerConfig = OptimizerConfig()  # type: ignore[call-arg]
    loss: LossConfig = LossConfig()  # type: ignore[call-arg]
    validation: ValidationConfig = ValidationConfig()  # type: ignore[call-arg]

    @model_validator(mode="after")
    def _a_stack_has_a_middle(self) -> TrainConfig:
        slices = (self.in_slices, self.out_slices)
        if not all(n % 2 for n in slices) or self.out_slices > self.in_slices:
            raise ValueError(
                f"in_slices={self.in_slices} and out_slices={self.out_slices} must be odd, for "
                "there is a section in the middle, and the second must not exceed the first"
            )
        return self

    @model_validator(mode="after")
    def _fixed_noise_is_one_model_and_has_a_place(self) -> TrainConfig:
        if not self.noise.online and len(self.noise.models) > 1:
            raise ValueError(
                f"noise.online=false fixes one noise for all, but noise.models lists "
                f"{len(self.noise.models)}; leave one, or set noise.online=true"
            )
        if self.augment.planes != "xy" and not self.noise.online:
            raise ValueError(
                f"augment.planes={self.augment.planes} cuts across sections, but "
                "noise.online=false fixes the noise per section; set noise.online=true or "
                "augment.planes=xy"
            )
        changed = self.augment.contrast != (1, 1) or self.augment.brightness != (0, 0)
        if changed and not self.noise.online:
            raise ValueError(
                "augment.contrast and augment.brightness change the image before its noise is "
                "drawn, but noise.online=false fixes the noise; set noise.online=true"
            )
        if self.augment.zoom != (1, 1) and self.augment.planes != "oblique":
            raise ValueError(
                "augment.zoom magnifies oblique samples only; set augment.planes=oblique"
            )
        return self


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
