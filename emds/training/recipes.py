"""What is trained, from what, on which loss: a recipe is data, never a subclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from pydantic import ValidationError

from emds.config import TrainConfig
from emds.errors import ConfigError
from emds.networks.fusion import FusionKind
from emds.networks.iem import IemMode
from emds.networks.joint import NETWORKS, Architecture, Part


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Weights of the three loss terms, and how they change.

    Attributes
    ----------
    coarse, affinities, fused : float
        Weights, for images in [-1, 1]; a term that weighs 0 is left out.
    balance : str
        ``fixed``, or by ``uncertainty``: see `LossBalance`.
    ramp : float
        Share of the training over which the fused term rises from nothing to its weight.
    detach_until : float
        Share of the training in which the fusion's gradients stop before the segmenter.
    """

    coarse: float = 0.0
    affinities: float = 0.0
    fused: float = 0.0
    balance: Literal["fixed", "uncertainty"] = "fixed"
    ramp: float = 0.0
    detach_until: float = 0.0

    def terms(self) -> dict[str, float]:
        """Return the weights that are not 0, by the name of the term."""
        named = {"coarse": self.coarse, "affinities": self.affinities, "fused": self.fused}
        return {name: weight for name, weight in named.items() if weight}


@dataclass(frozen=True, slots=True)
class Recipe:
    """One way to train.

    Attributes
    ----------
    networks : tuple of str
        Which networks exist; the forward path follows from that (`JointNetwork`).
    trained : tuple of str
        Those that move. The others are frozen: no gradients, and evaluation mode.
    weights : LossWeights
        Weights of the loss terms.
    starts_from : mapping
        Network → the recipe whose checkpoint it must start from.
    select : str
        The validation metric that decides which checkpoint is best; for ``voi`` that of the
        volume, where offsets leave the section.
    reads : str
        What goes in, in training and validation: the noisy sections, or the clean ones that a
        denoiser would make of them.
    fusion, iem_mode
        Of the `Architecture`.
    optimizer : mapping
        Network → settings in which its optimiser differs from the configured one.

    References
    ----------
    Wang et al., MICCAI 2024: equation 6 and section 3.
    """

    networks: tuple[Part, ...]
    trained: tuple[Part, ...]
    weights: LossWeights
    starts_from: Mapping[str, str] = field(default_factory=dict)
    select: Literal["voi", "psnr"] = "voi"
    reads: Literal["noisy", "clean"] = "noisy"
    fusion: FusionKind = "instance"
    iem_mode: IemMode = "window"
    optimizer: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def architecture(self, config: TrainConfig, affinity_channels: int) -> Architecture:
        """Return what to build; the attention that the configuration names wins.

        Raises
        ------
        ConfigError
            If the configuration asks for a network that no checkpoint may hold.
        """
        try:
            return Architecture(
                networks=self.networks,
                denoiser=config.denoiser,
                segmenter=config.segmenter,
                fusion=self.fusion,
                width=config.width,
                affinity_channels=affinity_channels,
                window=config.crop,
                iem_mode=config.iem_mode or self.iem_mode,
                in_slices=config.out_slices if self.reads == "clean" else config.in_slices,
                out_slices=config.out_slices,
            )
        except ValidationError as error:
            wrong = error.errors()[0]
            name = "crop" if wrong["loc"] == ("window",) else ".".join(map(str, wrong["loc"]))
            raise ConfigError(f"config: {name} = {wrong['input']}: {wrong['msg']}.") from None

    def loss_weights(self, config: TrainConfig) -> LossWeights:
        """Return how terms are weighed; what the configuration names wins.

        A term whose network is absent weighs nothing.

        Raises
        ------
        ConfigError
            If no term is left that moves a network.
        """
        asked = config.loss.model_dump(exclude={"mask_border"}, exclude_none=True)
        of = {"coarse": "denoiser", "affinities": "segmenter", "fused": "fusion"}
        absent = {term: 0.0 for term, part in of.items() if part not in self.networks}
        weights = replace(self.weights, **(asked | absent))
        if not weights.terms():
            raise ConfigError(
                f"config: with loss = {asdict(weights)} nothing is left to train in recipe "
                f"{config.recipe!r}, which has {', '.join(self.networks)}."
            )
        return weights


_ALL = NETWORKS
_JOINT = Recipe(_ALL, _ALL, LossWeights(coarse=1, affinities=3, fused=50))

RECIPES: Mapping[str, Recipe] = {
    "dn_only": Recipe(("denoiser",), ("denoiser",), LossWeights(coarse=1), select="psnr"),
    "seg_only": Recipe(("segmenter",), ("segmenter",), LossWeights(affinities=1)),
    # The segmenter that dms holds fast.
    "seg_clean": Recipe(("segmenter",), ("segmenter",), LossWeights(affinities=1), reads="clean"),
    # Prakash et al. 2020: segment what a finished denoiser gives.
    "sequential": Recipe(
        ("denoiser", "segmenter"),
        ("segmenter",),
        LossWeights(affinities=1),
        starts_from={"denoiser": "dn_only"},
    ),
    # Liu et al. 2018: denoise for a finished segmenter.
    "dms": Recipe(
        ("denoiser", "segmenter"),
        ("denoiser",),
        LossWeights(coarse=1, affinities=0.25),
        starts_from={"segmenter": "seg_clean"},
    ),
    "joint": _JOINT,
    # Better labels than joint at equal steps, and better images than dn_only: weights under which
    # no term starves the others, and a segmenter that learns from its own loss alone.
    "joint_balanced": replace(
        _JOINT, weights=LossWeights(coarse=5, affinities=3, fused=10, detach_until=1)
    ),
    # Ablations of the paper: no denoiser before the segmenter, no fusion after it.
    "wo_dn2seg": Recipe(
        ("segmenter", "fusion"), ("segmenter", "fusion"), LossWeights(affinities=3, fused=50)
    ),
    # As released: the segmenter alone moves by SGD, and denoising weighs 1 where joint has 51.
    "wo_seg2dn": Recipe(
        ("denoiser", "segmenter"),
        ("denoiser", "segmenter"),
        LossWeights(coarse=1, affinities=3),
        optimizer={"segmenter": {"name": "sgd", "weight_decay": 1e-4}},
    ),
    "wo_seg2dn_fair": Recipe(
        ("denoiser", "segmenter"), ("denoiser", "segmenter"), LossWeights(coarse=51, affinities=3)
    ),
    # Controls: what of joint is attention, sight of the affinities, feedback, or size?
    "joint_linear": replace(_JOINT, iem_mode="linear"),
    "joint_cat": replace(_JOINT, iem_mode="cat"),
    "joint_detach": replace(_JOINT, weights=replace(_JOINT.weights, detach_until=1)),
    "dn_deep": Recipe(
        ("denoiser", "fusion"),
        ("denoiser", "fusion"),
        LossWeights(coarse=1, fused=50),
        select="psnr",
        fusion="plain",
    ),
}


def get_recipe(name: str) -> Recipe:
    """Return a recipe by name; raises `ConfigError` for an unknown one."""
    if name not in RECIPES:
        raise ConfigError(f"unknown recipe {name!r}; there are {', '.join(RECIPES)}.")
    return RECIPES[name]
