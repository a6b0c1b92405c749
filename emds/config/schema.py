"""What a person may configure: frozen models that refuse unknown keys."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    model_validator,
)

from emds import numbers
from emds.geometry import Roi, Triple

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
    train: numbers.Sections | None = Field(
        None, description="sections to train on, half-open; default: those before the held-out"
    )
    validation: numbers.Sections | None = Field(
        None, description="sections held out for selection; default: the last tenth, at least one"
    )
    rows: numbers.Sections | None = Field(
        None, description="rows of every section to use, half-open; default: all"
    )
    columns: numbers.Sections | None = Field(
        None, description="columns of every section to use, half-open; default: all"
    )
    cache_gib: numbers.Positive = Field(
        4.0, description="training sections up to this size are kept in memory, GiB"
    )

    def box(self, sections: tuple[int, int], shape: Triple) -> Roi:
        """Return the part of these sections that is used, of a volume of this shape."""
        ranges = (sections, self.rows or (0, shape[1]), self.columns or (0, shape[2]))
        (z, y, x), (depth, height, width) = zip(*((a, b - a) for a, b in ranges), strict=True)
        return Roi((z, y, x), (depth, height, width))


class NoiseModelConfig(_Model):
    """One noise model; what is left out keeps the model's default."""

    kind: Literal["gaussian-poisson", "film", "gaussian", "poisson"] = "gaussian-poisson"
    sigma: numbers.ShiftRange | None = Field(None, description="Gaussian sd, grey levels")
    lam: numbers.ShiftRange | None = Field(None, description="expected electrons per grey level")
    mode: str | None = Field(None, description="shot, additive, gain; film: minmax, unitmean")
    kernel: numbers.Size | None = Field(None, description="film: side of the box blur, voxels")
    maximum: numbers.Weight | None = Field(None, description="film: largest multiplier")
    share: numbers.Positive = Field(1.0, description="how often this model is drawn, relative")

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
    planes: Literal["xy", "all", "oblique", "mixed"] = Field(
        "xy",
        description="all: also cut samples along xz and yz; oblique: along any plane, "
        "interpolated; mixed: half of them each; all three for isotropic voxels only",
    )
    zoom: numbers.FactorRange = Field((1.0, 1.0), description="magnification of oblique samples")
    contrast: numbers.FactorRange = Field(
        (1.0, 1.0), description="factor on the contrast, around mid-grey"
    )
    brightness: numbers.ShiftRange = Field(
        (0.0, 0.0), description="added to the image, grey levels"
    )


class OptimizerConfig(_Model):
    """How the weights move."""

    name: Literal["adam", "adamw", "sgd"] = Field(
        "adamw", description="sgd takes the first of betas as its momentum"
    )
    lr: numbers.LearningRate = 3e-4
    betas: tuple[numbers.Decay, numbers.Decay] = (0.9, 0.999)
    eps: numbers.Positive = 1e-8
    weight_decay: numbers.Weight = 1e-4
    amsgrad: bool = False
    schedule: Literal["poly", "cosine"] = Field(
        "cosine", description="poly: (1 - t)^0.9; cosine: to zero, after the warm-up"
    )
    warmup_steps: numbers.Waiting = 200
    clip_norm: numbers.Positive | None = Field(1.0, description="largest gradient norm")


class LossConfig(_Model):
    """Weights of the loss terms, and how they change; None keeps the recipe's."""

    coarse: numbers.Weight | None = Field(None, description="MSE of the coarse image")
    affinities: numbers.Weight | None = Field(None, description="α, balanced cross-entropy")
    fused: numbers.Weight | None = Field(None, description="β, MSE of the fused image")
    balance: Literal["fixed", "uncertainty"] | None = Field(
        None, description="uncertainty: the weights are those at the start, and are trained"
    )
    ramp: numbers.Fraction | None = Field(
        None, description="share of the training over which β rises from 0"
    )
    detach_until: numbers.Fraction | None = Field(
        None,
        description="share of the training in which the fused image does not train the segmenter",
    )
    mask_border: bool = Field(False, description="ignore pairs that leave the crop")


class ValidationConfig(_Model):
    """How often and on what the run is judged; how labels are made goes into the checkpoint."""

    every: numbers.Steps = Field(500, description="steps between validations")
    sections: numbers.Count = Field(
        8,
        description="held-out sections used: evenly spaced; adjacent where the network sees "
        "several or an offset leaves the section",
    )
    mutex_strides: numbers.SizeTriple = Field((1, 5, 5), description="of the mutex edges, voxels")
    min_size: numbers.Voxels = Field(0, description="smaller segments join a neighbour, voxels")


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
    in_slices: numbers.TileSide = Field(
        1, description="adjacent noisy sections the network sees, odd"
    )
    out_slices: numbers.TileSide = Field(
        1, description="coarse sections the denoiser makes of them, odd: those in the middle"
    )
    crop: Annotated[
        numbers.TileSide,
        Field(ge=16, multiple_of=numbers.STRIDE, description="side of a sample, pixels"),
    ] = 256
    batch_size: numbers.BatchSize = 8
    steps: numbers.Steps = 20_000
    seed: numbers.Seed = 555
    precision: Literal["fp32", "bf16"] = "fp32"
    ema_decay: numbers.Decay = Field(0.999, description="0 keeps the raw weights")
    log_every: numbers.Steps = Field(10, description="steps between lines in metrics.jsonl")
    save_every: numbers.Steps = Field(250, description="steps between resumable states")
    offsets: Annotated[
        Annotated[Literal["planar", "isotropic", "anisotropic", "auto"], Tag("set")]
        | Annotated[tuple[numbers.ReachTriple, ...], Tag("list")],
        Discriminator(lambda value: "set" if isinstance(value, str) else "list"),
    ] = Field(
        "planar",
        description="(dz, dy, dx) of the affinities, or a set of them: planar, the paper's ten; "
        "isotropic or anisotropic, across sections too; auto, one of the two by the voxel size",
    )
    attractive: numbers.Count | None = Field(
        None, description="how many of the first offsets attract; default: the neighbours"
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
        if self.augment.zoom != (1, 1) and self.augment.planes not in ("oblique", "mixed"):
            raise ValueError(
                "augment.zoom magnifies oblique samples only; set augment.planes=oblique or mixed"
            )
        return self
