"""What a run is to do: settled before any work, and told to other processes as JSON."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import TypeAdapter

from emds.errors import CheckpointError, DataError, UsageError
from emds.geometry import Roi, iter_blocks
from emds.io import Volume, open_volume
from emds.io.volume import CroppedVolume, Nanometres
from emds.io.writable import clipped_chunks
from emds.memory import memory_limit, room_for_data
from emds.metrics.alignment import common_region
from emds.segmentation.affinities import AffinitySpec
from emds.segmentation.plan import LabelPlan, plan_labels
from emds.segmentation.settings import LabelSettings
from emds.stages.given_labels import GivenLabels
from emds.stages.plan import InferenceOptions, InferencePlan, plan_inference
from emds.stages.provenance import described_input, described_roi, model_provenance, provenance

if TYPE_CHECKING:
    from emds.networks.checkpoint import Checkpoint

Command = Literal["run", "denoise", "segment"]
Output = Literal["fused", "coarse", "affinities"]


@dataclass(frozen=True, slots=True)
class Request:
    """What the user asked for; with this alone another process can take part.

    Attributes
    ----------
    command : str
        ``run``, ``denoise`` or ``segment``.
    source : str
        Location of the grey values, or of affinities where there is no checkpoint.
    checkpoint : str or None
        The model file.
    mask : str or None
        Location of the mask.
    options : InferenceOptions
        Region, tiles, device and the like.
    keep_affinities : bool
        Whether affinities stay in the output.
    """

    command: Command
    source: str
    checkpoint: str | None
    mask: str | None
    options: InferenceOptions
    keep_affinities: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return JSON primitives."""
        described: dict[str, Any] = _REQUEST.dump_python(self, mode="json")
        return described

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Request:
        """Return what `to_dict` described."""
        return _REQUEST.validate_python(stored)

    def among(self, workers: int) -> Request:
        """Return this request with the memory that one of so many processes may use."""
        share = memory_limit(self.options.max_memory) // workers
        return replace(self, options=replace(self.options, max_memory=share))

    def with_blocks_of(self, other: Request) -> Request:
        """Return this request with chunks and blocks of another where it leaves them open.

        What is chosen by memory alone is no reason to refuse a run on another machine.
        """
        ours, theirs = self.options, other.options
        options = replace(
            ours,
            chunk_shape=ours.chunk_shape or theirs.chunk_shape,
            block_shape=ours.block_shape or theirs.block_shape,
            label_block_shape=ours.label_block_shape or theirs.label_block_shape,
        )
        return replace(self, options=options)


_REQUEST = TypeAdapter(Request)


@dataclass(frozen=True, slots=True)
class Model:
    """A checkpoint, and what it is asked for."""

    path: Path
    checkpoint: Checkpoint
    outputs: tuple[Output, ...]
    plan: InferencePlan


@dataclass(frozen=True, slots=True)
class Job:
    """A request with its inputs open and everything checked.

    Attributes
    ----------
    request : Request
        The request.
    source : Volume
        Grey values, or affinities.
    mask : Volume or None
        On the grid of the region.
    region : Roi
        Part of the source that is worked on.
    voxel_size, offset
        Of the output, nanometres.
    model : Model or None
        None where affinities are read.
    labels : LabelPlan or None
        None where no labels are made.
    history : dict
        Stored with every output: how it came to be.
    notes : list of str
        What the user should know of the mask.
    """

    request: Request
    source: Volume
    mask: Volume | None
    region: Roi
    voxel_size: Nanometres | None
    offset: Nanometres
    model: Model | None
    labels: LabelPlan | None
    history: dict[str, Any]
    notes: list[str]

    @property
    def image(self) -> Output | None:
        """Which image is written."""
        outputs = self.model.outputs if self.model else ()
        return outputs[0] if outputs and outputs[0] != "affinities" else None

    def identity(self) -> dict[str, Any]:
        """Return all that decides a byte of the output or the number of a block.

        Where the input lies is not part of it, what is in it is.
        """
        fields = {k: v for k, v in self.history.items() if k not in ("source", "mask", "roi")}
        fields["version"] = fields.pop("emds")
        fields["input"] = self.history["source"]["identity"]
        fields["mask"] = self.history["mask"] and self.history["mask"]["identity"]
        fields["keep_affinities"] = self.request.keep_affinities
        fields["image"] = self.image
        fields["place"] = {
            "voxel_size": self.voxel_size and list(self.voxel_size),
            "offset": list(self.offset),
        }
        fields["grid"] = {
            "region": [list(self.region.offset), list(self.region.shape)],
            "chunk_shape": self.model and list(self.model.plan.chunk_shape),
            "block_shape": self.model and list(self.model.plan.block_shape),
            "label_block_shape": self.labels and list(self.labels.scheme.block_shape),
        }
        if self.labels is not None:
            fields["labels"] = self.labels.described()
        return fields

    def with_inputs(self, source: Volume, mask: Volume | None) -> Job:
        """Return this job on other inputs, whole as `open_inputs` opens them."""
        inside = source if self.model else CroppedVolume(source, self.region)
        return replace(self, source=inside, mask=_cropped_mask(mask, source, self.region, []))

    def settled(self) -> Request:
        """Return the request with the chunks and blocks that were chosen, for other processes."""
        options = replace(
            self.request.options,
            chunk_shape=self.model.plan.chunk_shape if self.model else None,
            block_shape=self.model.plan.block_shape if self.model else None,
            label_block_shape=self.labels.scheme.block_shape if self.labels else None,
        )
        return replace(
            self.request,
            source=_absolute(self.request.source),
            mask=self.request.mask and _absolute(self.request.mask),
            checkpoint=self.request.checkpoint and _absolute(self.request.checkpoint),
            options=options,
        )


def open_inputs(request: Request) -> tuple[Volume, Volume | None]:
    """Open the source and the mask that a request names."""
    role: Literal["raw", "affinities"] = "raw" if request.checkpoint else "affinities"
    source = open_volume(request.source, role=role)
    return source, open_volume(request.mask, role="labels") if request.mask else None


def prepare(request: Request, source: Volume, mask: Volume | None) -> Job:
    """Settle what the options leave open, and refuse what cannot work, before any work.

    Raises
    ------
    DataError, UsageError, CheckpointError
        Whatever is wrong with the inputs, the options or the model.
    """
    options = request.options
    if options.uncertainty and not (options.tta and request.command != "segment"):
        raise UsageError(
            "--uncertainty is the standard deviation of the images that --tta averages: give "
            "--tta as well, and use emds run or emds denoise, which write an image."
        )
    if request.checkpoint is None:
        return _labelling_job(request, source, mask)
    from emds.networks.checkpoint import load_checkpoint
    from emds.networks.device import choose_device

    path = Path(request.checkpoint)
    checkpoint = load_checkpoint(path)
    labels = request.command != "denoise"
    outputs = _outputs(checkpoint, path, options, request.command != "segment", labels)
    device = choose_device(options.device)
    channels = sum(len(checkpoint.offsets) if o == "affinities" else 1 for o in outputs)
    channels += options.uncertainty
    plan = plan_inference(source, checkpoint, options, device.type, channels)
    notes: list[str] = []
    inside = _cropped_mask(mask, source, plan.roi, notes)
    label_plan = None
    if labels:
        settings = options.label_settings(checkpoint.labels)
        spec = AffinitySpec(checkpoint.offsets, checkpoint.attractive)
        label_plan = _label_plan(plan.roi, spec, settings, options)
    _refuse_constant(source, plan.roi)
    history = provenance(
        request.command,
        source,
        checkpoint=model_provenance(path, checkpoint.recipe),
        **plan.described(),
        device=device.type,
        precision=options.precision,
        tta=options.tta,
        uncertainty=options.uncertainty,
        mask=described_input(mask),
    )
    return Job(
        request=request,
        source=source,
        mask=inside,
        region=plan.roi,
        voxel_size=plan.voxel_size,
        offset=plan.offset,
        model=Model(path, checkpoint, outputs, plan),
        labels=label_plan,
        history=history,
        notes=notes,
    )


def _labelling_job(request: Request, source: Volume, mask: Volume | None) -> Job:
    """Settle a request to label affinities that an earlier run kept."""
    stored = source.attributes
    if source.channels is None:
        raise DataError(f"{source.location} holds grey values: segmenting needs a checkpoint.")
    if "offsets" not in stored:
        raise DataError(
            f"{source.location} has {source.channels} channels but no offsets in its attributes. "
            "Expected affinities written by emds with --keep-affinities."
        )
    options = request.options
    region = options.roi or source.roi
    notes: list[str] = []
    inside = _cropped_mask(mask, source, region, notes)
    settings = options.label_settings(_stored_settings(source))
    # Mutex edges are sampled where the run that kept the affinities would have sampled them.
    z, y, x = stored.get("roi", {}).get("offset", (0, 0, 0))
    place = region.shift((z, y, x))
    labels = _label_plan(place, AffinitySpec.from_dict(stored), settings, options)
    chain = {name: stored[name] for name in ("checkpoint", "source") if name in stored}
    history = provenance(
        "segment", source, **described_roi(place), mask=described_input(mask), affinities_from=chain
    )
    affinities = CroppedVolume(source, region)
    return Job(
        request=request,
        source=affinities,
        mask=inside,
        region=region,
        voxel_size=affinities.voxel_size,
        offset=affinities.offset,
        model=None,
        labels=labels,
        history=history,
        notes=notes,
    )


def _cropped_mask(mask: Volume | None, source: Volume, roi: Roi, notes: list[str]) -> Volume | None:
    """Return the mask of a region of the source, laid on it as their positions say."""
    if mask is None:
        return None
    given = GivenLabels(mask, "mask", notes.append)
    given.look()
    _, inside, found = common_region(source, given, roi, "mask")
    notes += found
    return inside


def _stored_settings(affinities: Volume) -> LabelSettings:
    """Return how labels are to be made of affinities, as the run that kept them has stored it."""
    stored = affinities.attributes
    # Before there was one entry, each setting had its own.
    flat = {name: stored[name] for name in ("mutex_strides", "min_size") if name in stored}
    try:
        return LabelSettings(**(stored.get("labels") or flat))
    except (TypeError, UsageError) as error:
        raise DataError(
            f"the attributes of {affinities.location} say of its labels what cannot be: {error}. "
            "Keep the affinities again with emds run --keep-affinities."
        ) from None


def _label_plan(
    region: Roi, spec: AffinitySpec, settings: LabelSettings, options: InferenceOptions
) -> LabelPlan:
    return plan_labels(
        region,
        spec,
        settings,
        chunk_shape=clipped_chunks(None, region.shape),
        memory=room_for_data(options.max_memory),
        block_shape=options.label_block_shape,
        max_residual=options.max_residual,
    )


def _outputs(
    checkpoint: Checkpoint, path: Path, options: InferenceOptions, image: bool, labels: bool
) -> tuple[Output, ...]:
    """Return what the network must give, or say which part of the model is missing."""
    wanted: list[Output] = []
    needed = []
    if image:
        fused = options.image == "fused" and "fusion" in checkpoint.networks
        wanted.append("fused" if fused else "coarse")
        needed.append("fusion" if fused else "denoiser")
    if labels:
        wanted.append("affinities")
        needed.append("segmenter")
    missing = [part for part in needed if part not in checkpoint.networks]
    if missing:
        raise CheckpointError(
            f"{path} (recipe {checkpoint.recipe!r}) has no {missing[0]}, only "
            f"{', '.join(checkpoint.networks)}. Use emds {'segment' if image else 'denoise'}, or a "
            "checkpoint of a recipe that trains both, such as joint."
        )
    return tuple(wanted)


def _refuse_constant(source: Volume, roi: Roi) -> None:
    """Read until a second grey value turns up; in an image that is in the first chunk."""
    value = None
    for block in iter_blocks(roi, source.chunk_shape):
        grey = source.read(block.write_roi)
        value = grey.flat[0] if value is None else value
        if (grey != value).any():
            return
    raise DataError(
        f"{source.location} is constant (every voxel read is {value:g}): there is nothing "
        "to denoise. Is it the right array, or an empty region?"
    )


def _absolute(location: str) -> str:
    return os.path.abspath(location)
