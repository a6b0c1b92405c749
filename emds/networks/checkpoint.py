"""The model file: weights and everything needed to use them, as tensors and JSON alone.

Nothing about the model is ever passed again on the command line, and nothing in the file is
code. It is read by `emds.networks.archive`, which refuses what is damaged; what is whole but says
what cannot be, such as a crop of no pixels or weights that are no numbers, is refused here.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    ValidationError,
    field_validator,
    model_validator,
)
from torch import Tensor

import emds
from emds.errors import CheckpointError, ConfigError
from emds.files import note_input, write_whole
from emds.networks.archive import HASH, read_archive, write_archive
from emds.networks.intensity import Intensity
from emds.networks.joint import Architecture, JointNetwork, Part, Side
from emds.numbers import STRIDE
from emds.segmentation.settings import LabelSettings

FORMAT = 2  # which has a hash of its content; 1 is read, too
_KIND = "emds-checkpoint"
_BESIDE = ("kind", "format", HASH, "in_slices")  # the last was always 1; the architecture has it
_LABELS_OF_FORMAT_1 = ("mutex_strides", "min_size", "bias")  # which stood beside the others
_TRAINING_ONLY = "detach_affinities"  # an older architecture says how it was trained


def _plain(values: Any) -> Any:
    """Refuse what JSON has no word for: tensors, keys that are no text, nan and infinity."""
    if isinstance(values, Mapping):
        if not all(isinstance(key, str) for key in values):
            raise ValueError("every key must be text")
        return {key: _plain(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_plain(value) for value in values]
    if isinstance(values, float) and not math.isfinite(values):
        raise ValueError(f"{values} is not a number that can be")
    if values is None or isinstance(values, bool | int | float | str):
        return values
    raise ValueError(f"a {type(values).__name__} is not plain data")


Record = Annotated[dict[str, Any], AfterValidator(_plain)]
_Step = Annotated[int, Field(ge=-2048, le=2048)]
_Nanometres = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False)]


class _NoiseOfVolume(BaseModel):
    """What `emds adapt` found, grey levels and voxels; see `emds.stages.seen_noise.FoundNoise`."""

    model_config = ConfigDict(extra="forbid")
    deviation: Annotated[float, Field(ge=0, allow_inf_nan=False)]
    grey: FiniteFloat
    length: Annotated[float, Field(gt=0, allow_inf_nan=False)] | None


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
    labels : LabelSettings
        How affinities become labels. The fusion network sees the affinities without the bias.
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
    offsets: tuple[tuple[_Step, _Step, _Step], ...] = ()
    attractive: tuple[bool, ...] = ()
    labels: LabelSettings = LabelSettings((1, 5, 5))
    intensity: Intensity = Intensity()
    crop: Annotated[Side, Field(multiple_of=STRIDE)]
    voxel_size: tuple[_Nanometres, _Nanometres, _Nanometres] | None = None
    recipe: str
    noise: list[Record] = []
    config: Record = {}
    data_hash: str = ""
    metrics: Record = {}
    adaptation: Record = {}
    versions: dict[str, str] = {}
    license: str = "unstated"
    attribution: str = ""

    @field_validator("architecture")
    @classmethod
    def _complete(cls, values: dict[str, Any]) -> dict[str, Any]:
        return build_architecture(values).to_dict()

    @field_validator("adaptation")
    @classmethod
    def _says_the_noise(cls, values: dict[str, Any]) -> dict[str, Any]:
        if values.get("noise") is not None:
            _NoiseOfVolume.model_validate(values["noise"])
        return values

    @model_validator(mode="after")
    def _one_for_each_affinity(self) -> Checkpoint:
        channels = self.architecture["affinity_channels"] if "segmenter" in self.networks else 0
        if len(self.offsets) != channels or len(self.attractive) != channels:
            raise ValueError(
                f"{len(self.offsets)} offsets, of which {len(self.attractive)} are said to attract "
                f"or not, for {channels} channels of affinities"
            )
        if len(set(self.offsets)) < channels or (0, 0, 0) in self.offsets:
            raise ValueError("an offset is zero, or there twice")
        if channels and not any(self.attractive):
            raise ValueError("no offset attracts")
        if len(self.labels.bias) not in (0, channels):
            raise ValueError(f"{len(self.labels.bias)} biases for {channels} offsets")
        return self

    def build(self) -> JointNetwork:
        """Return the network with these weights, in evaluation mode.

        Raises
        ------
        CheckpointError
            If the weights do not fit the architecture, or are no numbers.
        """
        self.check_weights()
        network = build_architecture(self.architecture).build()
        network.load_state_dict(self.weights)
        return network.eval()

    def check_weights(self) -> None:
        """Compare names, sizes and values of the weights with what the architecture needs.

        The network is not made for it: its size may be anything, as long as no file has it.

        Raises
        ------
        CheckpointError
            If they do not fit, or are no numbers.
        """
        try:
            with torch.device("meta"):
                needed = build_architecture(self.architecture).build().state_dict()
        except ConfigError as error:
            raise CheckpointError(f"the checkpoint's architecture cannot be: {error}") from None
        for name in needed.keys() | self.weights.keys():
            there, wanted = (_described(side.get(name)) for side in (self.weights, needed))
            if there != wanted:
                raise CheckpointError(
                    f"the checkpoint's weights do not fit its architecture {self.architecture}: "
                    f"{name} is {there}, and must be {wanted}. The file is damaged, or from "
                    "another program."
                )
            if not self.weights[name].isfinite().all():
                raise CheckpointError(
                    f"the checkpoint's weights {name} hold nan or infinity, so that nothing it "
                    "gives would be a number. The file is damaged, or its training diverged."
                )

    @property
    def networks(self) -> tuple[Part, ...]:
        """Which of denoiser, segmenter and fusion there are."""
        return tuple(self.architecture["networks"])

    def summary(self) -> dict[str, Any]:
        """Return all but the weights, as JSON primitives."""
        described = self.model_dump(mode="json", exclude={"weights"})
        described["parameters"] = parameter_count(self.weights)
        return described


def build_architecture(values: Mapping[str, Any]) -> Architecture:
    """Return the `Architecture` of a checkpoint's plain data; raises `ValueError`."""
    used = {name: value for name, value in values.items() if name != _TRAINING_ONLY}
    if "networks" not in used:
        raise ValueError("not an architecture: it has no networks")
    try:
        return Architecture(**used)
    except ValidationError as error:
        raise ValueError(f"not an architecture: {_list_problems(error)}") from None


def parameter_count(weights: Mapping[str, Tensor]) -> int:
    """Count trainable numbers: all but the running statistics."""
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    return sum(t.numel() for name, t in weights.items() if not name.endswith(statistics))


def save_checkpoint(checkpoint: Checkpoint, path: Path) -> None:
    """Write the file whole or not at all; an older one is replaced.

    Raises
    ------
    CheckpointError
        If it is one that `load_checkpoint` would refuse.
    """
    _checked(dict(checkpoint), f"cannot write {path}")
    content = checkpoint.model_dump(mode="json", exclude={"weights"})
    content["versions"] = {"emds": emds.__version__, "torch": str(torch.__version__)}
    content |= {"kind": _KIND, "format": FORMAT}
    content["weights"] = {k: v.detach().cpu().contiguous() for k, v in checkpoint.weights.items()}
    save_atomically(content, path)


def save_atomically(content: Mapping[str, Any], path: Path) -> None:
    """Write an archive of tensors whole or not at all, flushed to disk."""
    with write_whole(path) as file:
        write_archive(content, file)


def load_checkpoint(path: Path, *, own: bool = False) -> Checkpoint:
    """Read a model file without running anything in it.

    Parameters
    ----------
    path : Path
        Of the file.
    own : bool
        The running command writes it, and reads back what it wrote. Any other is an input, and
        the command does not replace it.

    Raises
    ------
    CheckpointError
        If the file is missing, not a checkpoint of emds, damaged, of a newer format, or holds
        anything but tensors and plain data.
    """
    content = read_archive(path)
    if not own:
        note_input(path)
    if content.get("kind") != _KIND:
        raise CheckpointError(
            f"{path} is not an emds checkpoint (its keys: {', '.join(map(str, content))[:80]}). "
            "Expected a file written by `emds train`, e.g. best.pt in a run folder."
        )
    written, hashed = content.get("format"), HASH in content
    if (written, hashed) not in ((1, False), (FORMAT, True)):
        raise CheckpointError(
            f"{path} has checkpoint format {written}{'' if hashed else ' without a hash'}, this "
            f"emds {emds.__version__} reads formats 1 and {FORMAT}. Install the emds that wrote "
            f"it: {content.get('versions')}."
        )
    fields = {key: value for key, value in content.items() if key not in _BESIDE}
    if written == 1:
        fields["labels"] = {key: fields.pop(key) for key in _LABELS_OF_FORMAT_1 if key in fields}
    return _checked(fields, f"refused to load {path}")


def _checked(fields: Mapping[str, Any], failing: str) -> Checkpoint:
    try:
        checkpoint = Checkpoint.model_validate(fields)
        checkpoint.check_weights()
    except ValidationError as error:
        raise CheckpointError(
            f"{failing}: it is an emds checkpoint with missing or malformed fields: "
            f"{_list_problems(error)}. Use a file as `emds train` wrote it."
        ) from None
    except CheckpointError as error:
        raise CheckpointError(f"{failing}: {error}") from None
    return checkpoint


def _described(weights: Tensor | None) -> str:
    if weights is None:
        return "absent"
    return f"{weights.dtype} {tuple(weights.shape)}".removeprefix("torch.")


def _list_problems(error: ValidationError) -> str:
    """Name the first fields that are wrong, and what is wrong with them."""
    problems = [
        f"{'.'.join(map(str, one['loc'])) or 'together'} ({one['msg']})"
        for one in error.errors(include_input=False)[:3]
    ]
    return ", ".join(problems)


def checkpoint_hash(path: Path) -> str:
    """Return the SHA-256 of the file: which weights made an output."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
