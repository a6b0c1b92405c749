"""Joint denoising and neuron segmentation of electron-microscopy volumes of any size.

The names below are the public interface. They are looked up when first used, so that
``import emds`` costs nothing: PyTorch, zarr and numba are imported only by what needs them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from emds.errors import EmdsError

if TYPE_CHECKING:
    from emds.config import TrainConfig
    from emds.execution import Execution
    from emds.io import create_volume, open_volume
    from emds.networks.checkpoint import load_checkpoint
    from emds.noise import add_noise, make_noise_model
    from emds.segmentation.affinities import AffinitySpec
    from emds.segmentation.watershed.mutex_watershed import mutex_watershed
    from emds.stages.adapt import adapt
    from emds.stages.check import check
    from emds.stages.estimate_noise import estimate_noise
    from emds.stages.evaluate import evaluate
    from emds.stages.execute import merge
    from emds.stages.inference import denoise, run, segment
    from emds.stages.info import info
    from emds.stages.plan import InferenceOptions
    from emds.stages.simulate_noise import simulate_noise
    from emds.stages.train import train
    from emds.stages.tune import tune

__version__ = "0.1.0"

__all__ = [
    "AffinitySpec",
    "EmdsError",
    "Execution",
    "InferenceOptions",
    "TrainConfig",
    "__version__",
    "adapt",
    "add_noise",
    "check",
    "create_volume",
    "denoise",
    "estimate_noise",
    "evaluate",
    "info",
    "load_checkpoint",
    "make_noise_model",
    "merge",
    "mutex_watershed",
    "open_volume",
    "run",
    "segment",
    "simulate_noise",
    "train",
    "tune",
]

_HOME = {
    "AffinitySpec": "emds.segmentation.affinities",
    "Execution": "emds.execution",
    "InferenceOptions": "emds.stages.plan",
    "TrainConfig": "emds.config",
    "adapt": "emds.stages.adapt",
    "add_noise": "emds.noise",
    "check": "emds.stages.check",
    "create_volume": "emds.io",
    "denoise": "emds.stages.inference",
    "estimate_noise": "emds.stages.estimate_noise",
    "evaluate": "emds.stages.evaluate",
    "info": "emds.stages.info",
    "load_checkpoint": "emds.networks.checkpoint",
    "make_noise_model": "emds.noise",
    "merge": "emds.stages.execute",
    "mutex_watershed": "emds.segmentation.watershed.mutex_watershed",
    "open_volume": "emds.io",
    "run": "emds.stages.inference",
    "segment": "emds.stages.inference",
    "simulate_noise": "emds.stages.simulate_noise",
    "train": "emds.stages.train",
    "tune": "emds.stages.tune",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'emds' has no attribute {name!r}")
    value = globals()[name] = getattr(import_module(_HOME[name]), name)
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
