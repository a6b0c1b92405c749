"""What a person may configure, and how presets, files and options are merged into it."""

from emds.config.layers import PRESETS, load_train_config, parse_train_config
from emds.config.schema import (
    AugmentConfig,
    Backbone,
    NoiseConfig,
    NoiseModelConfig,
    OptimizerConfig,
    TrainConfig,
)

__all__ = [
    "PRESETS",
    "AugmentConfig",
    "Backbone",
    "NoiseConfig",
    "NoiseModelConfig",
    "OptimizerConfig",
    "TrainConfig",
    "load_train_config",
    "parse_train_config",
]
