"""The model file: weights and everything needed to use them, as tensors and JSON alone.

Nothing about the model is ever passed again on the command line, and nothing in the file is
code: it is read with ``weights_only=True``, so a pickle that would run something is refused.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from pydantic import (
    BaseModel,
    ConfigDict,
    FiniteFloat,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from torch import Tensor

import emds
from emds.errors import CheckpointError
from emds.files import note_input, write_whole
from emds.geometry import Triple
from emds.networks.intensity import Intensity
from emds.networks.joint import Architecture, JointNetwork

FORMAT = 1
_KIND = "emds-checkpoint"
_BESIDE = ("kind", "format", "in_slices")  # the last was always 1; the architecture has it now
_TRAINING_ONLY = "detach_affinities"  # an older architecture says how it was trained


class Checkpoint(BaseModel):
    """A trained model and its story.

    Attributes
    ----------
    architecture : dict
        Arguments of `Architecture`.
    weights : dict of str to Tensor
        State of the `JointNetwork` (the moving average, where training kept one).
    offsets : tuple of (dz, dy, dx)
        One per affinity channel, voxels; empty without a segmenter.
    attractive : tuple of bool
        Which offsets attract; the others are mutex edges.
    mutex_strides : (z, y, x)
        On which voxels mutex edges are used.
    min_size : int
        Segments smaller than this, in voxels, join a neighbour.
    bias : tuple of float
        Added to the logits of each offset's affinities before they are stored or segmented, see
        `emds.segmentation.bias`; empty where nothing is. The fusion network sees them without.
    intensity : Intensity
        Normalisation of the input.
    crop : int
        Side of a training sample, pixels.
    voxel_size : (z, y, x) or None
        Nanometres of the training data.
    recipe, noise, config, data_hash, metrics, versions, license, attribution
        How the weights came to be.
    adaptation : dict
        What they were fine-tuned on since, from which checkpoint, and what it gained; see
        `emds.stages.adapt`. Empty otherwise.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    architecture: dict[str, Any]
    weights: dict[str, Tensor]
    offsets: tuple[Triple, ...] = ()
    attractive: tuple[bool, ...] = ()
    mutex_strides: Triple = (1, 5, 5)
    min_size: int = 0
    bias: tuple[FiniteFloat, ...] = ()
    intensity: Intensity = Intensity()
    crop: int
    voxel_size: tuple[float, float, float] | None = None
    recipe: str
    noise: list[dict[str, Any]] = []
    config: dict[str, Any] = {}
    data_hash: str = ""
    metrics: dict[str, Any] = {}
    adaptation: dict[str, Any] = {}
    versions: dict[str, str] = {}
    license: str = "unstated"
    attribution: str = ""

    @field_validator("architecture")
    @classmethod
    def _complete(cls, values: dict[str, Any]) -> dict[str, Any]:
        return build_architecture(values).to_dict()

    @field_validator("bias")
    @classmethod
    def _one_per_offset(cls, bias: tuple[float, ...], info: ValidationInfo) -> tuple[float, ...]:
        offsets = info.data.get("offsets", ())
        if bias and len(bias) != len(offsets):
            raise ValueError(f"{len(bias)} biases for {len(offsets)} offsets")
        return bias

    def build(self) -> JointNetwork:
        """Return the network with these weights, in evaluation mode.

        Raises
        ------
        CheckpointError
            If the weights do not fit the architecture.
        """
        try:
            network = build_architecture(self.architecture).build()
            network.load_state_dict(self.weights)
        except (RuntimeError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"the checkpoint's weights do not fit its architecture {self.architecture}: "
                f"{str(error).splitlines()[0]}. The file is damaged, or from another program."
            ) from None
        return network.eval()

    @property
    def networks(self) -> tuple[str, ...]:
        """Which of denoiser, segmenter and fusion there are."""
        return tuple(self.architecture["networks"])

    def summary(self) -> dict[str, Any]:
        """Return all but the weights, as JSON primitives."""
        described = self.model_dump(mode="json", exclude={"weights"})
        described["parameters"] = parameter_count(self.weights)
        return described


def build_architecture(values: Mapping[str, Any]) -> Architecture:
    """Return the `Architecture` of a checkpoint's plain data."""
    used = {name: value for name, value in values.items() if name != _TRAINING_ONLY}
    try:
        return Architecture(**(used | {"networks": tuple(values["networks"])}))
    except (KeyError, TypeError) as error:
        raise ValueError(f"not an architecture: {error}") from None


def parameter_count(weights: Mapping[str, Tensor]) -> int:
    """Count trainable numbers: all but the running statistics."""
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    return sum(t.numel() for name, t in weights.items() if not name.endswith(statistics))


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write the file whole or not at all; an older one is replaced."""
    content = checkpoint.model_dump(mode="json", exclude={"weights"})
    content["versions"] = {"emds": emds.__version__, "torch": str(torch.__version__)}
    content |= {"kind": _KIND, "format": FORMAT}
    content["weights"] = {k: v.detach().cpu().contiguous() for k, v in checkpoint.weights.items()}
    save_atomically(content, path)


def save_atomically(content: Mapping[str, Any], path: Path) -> None:
    """`torch.save` a file whole or not at all, flushed to disk."""
    packed = io.BytesIO()  # PyTorch makes a RuntimeError of any error of a file
    torch.save(dict(content), packed)
    with write_whole(path) as file:
        file.write(packed.getbuffer())


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a model file without running anything in it.

    Raises
    ------
    CheckpointError
        If the file is missing, not a checkpoint of emds, damaged, of a newer format, or holds
        anything but tensors and plain data.
    """
    content = load_tensors(path)
    note_input(path)
    if content.get("kind") != _KIND:
        raise CheckpointError(
            f"{path} is not an emds checkpoint (its keys: {', '.join(map(str, content))[:80]}). "
            "Expected a file written by `emds train`, e.g. best.pt in a run folder."
        )
    if content.get("format") != FORMAT:
        raise CheckpointError(
            f"{path} has checkpoint format {content.get('format')}, this emds {emds.__version__} "
            f"reads format {FORMAT}. Install the emds that wrote it: {content.get('versions')}."
        )
    try:
        return Checkpoint.model_validate(
            {key: value for key, value in content.items() if key not in _BESIDE}
        )
    except ValidationError as error:
        places = ", ".join(".".join(map(str, p["loc"])) for p in error.errors()[:5])
        raise CheckpointError(
            f"{path} is an emds checkpoint with missing or malformed fields: {places}."
        ) from None


def load_tensors(path: Path) -> dict[str, Any]:
    """Read a `torch.save` file of tensors and plain data; refuse anything else."""
    if not path.is_file():
        raise CheckpointError(f"no checkpoint at {path}: there is no such file.")
    if not zipfile.is_zipfile(path):
        raise CheckpointError(
            f"cannot read {path}: it is not a model file written by `emds train`, or it is cut off."
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        # torch raises UnpicklingError, RuntimeError, EOFError, KeyError... as the damage decides.
        unsafe = "weights_only" in str(error) or "Unsupported" in str(error)
        reason = (
            "it holds objects other than tensors and plain data, which could run code when loaded"
            if unsafe
            else f"it is damaged ({type(error).__name__})"
        )
        raise CheckpointError(
            f"refused to load {path}: {reason}. Use a file written by `emds train`."
        ) from None
    if not isinstance(content, dict):
        raise CheckpointError(f"{path} holds a {type(content).__name__}, not an emds checkpoint.")
    return content


def checkpoint_hash(path: Path) -> str:
    """Return the SHA-256 of the file: which weights made an output."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
