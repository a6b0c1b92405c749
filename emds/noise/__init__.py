"""Noise models, and random numbers keyed by position."""

from emds.noise.base import NoiseModel
from emds.noise.film import Film
from emds.noise.models import (
    NOISE_MODELS,
    add_noise,
    check_grey_levels,
    make_noise_model,
    noise_from_dict,
)
from emds.noise.sensor import Gaussian, GaussianPoisson, Poisson

__all__ = [
    "NOISE_MODELS",
    "Film",
    "Gaussian",
    "GaussianPoisson",
    "NoiseModel",
    "Poisson",
    "add_noise",
    "check_grey_levels",
    "make_noise_model",
    "noise_from_dict",
]
