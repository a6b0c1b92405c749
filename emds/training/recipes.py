"""What is trained, from what, on which loss: a recipe is data, never a subclass."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from emds.errors import ConfigError


@dataclass(frozen=True, slots=True)
class LossWeights:
    """Weights of the three loss terms; a term whose network is absent is left out."""

    coarse: float = 0.0
    affinities: float = 0.0
    fused: float = 0.0


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
        Of the loss terms, for images in [-1, 1].
    starts_from : mapping
        Network → the recipe whose checkpoint it must start from.
    select : str
        The validation metric that decides which checkpoint is best; for ``voi`` that of the
        volume, where offsets leave the section.

    References
    ----------
    Wang et al., MICCAI 2024: equation 6 and section 3.
    """

    networks: tuple[str, ...]
    trained: tuple[str, ...]
    weights: LossWeights
    starts_from: Mapping[str, str] = field(default_factory=dict)
    select: Literal["voi", "psnr"] = "voi"


RECIPES: Mapping[str, Recipe] = {
    "dn_only": Recipe(("denoiser",), ("denoiser",), LossWeights(coarse=1), select="psnr"),
    "seg_only": Recipe(("segmenter",), ("segmenter",), LossWeights(affinities=1)),
    "sequential": Recipe(
        ("denoiser", "segmenter"),
        ("segmenter",),
        LossWeights(affinities=1),
        starts_from={"denoiser": "dn_only"},
    ),
    "joint": Recipe(
        ("denoiser", "segmenter", "fusion"),
        ("denoiser", "segmenter", "fusion"),
        LossWeights(coarse=1, affinities=3, fused=50),
    ),
}


def get_recipe(name: str) -> Recipe:
    """Return a recipe by name; raises `ConfigError` for an unknown one."""
    if name not in RECIPES:
        raise ConfigError(f"unknown recipe {name!r}; there are {', '.join(RECIPES)}.")
    return RECIPES[name]
