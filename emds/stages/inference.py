"""``emds denoise``, ``segment`` and ``run``: from a noisy volume to images and neurons."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from emds.errors import CheckpointError, DataError
from emds.geometry import Roi, Triple
from emds.io import Container, Volume, create_container, read_padded
from emds.io.volume import CroppedVolume
from emds.networks.checkpoint import Checkpoint, load_checkpoint
from emds.networks.device import choose_device
from emds.segmentation.affinities import AffinitySpec, quantize
from emds.stages.label import LabelSettings, check_settings, write_labels
from emds.stages.plan import InferenceOptions, InferencePlan, plan_inference
from emds.stages.provenance import (
    described_input,
    described_roi,
    model_provenance,
    provenance,
    refuse_own_input,
)
from emds.tiling.predict import NetworkPredictor
from emds.tiling.stream import stream_blocks

Progress = Callable[[int, int, str], None]
_Output = Literal["fused", "coarse", "affinities"]

AFFINITIES = "affinities"


def run(
    source: Volume,
    checkpoint: Path,
    *,
    out: str | Path,
    options: InferenceOptions | None = None,
    mask: Volume | None = None,
    keep_affinities: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> str:
    """Denoise and segment a volume into one OME-Zarr container.

    Parameters
    ----------
    source : Volume
        Noisy grey values.
    checkpoint : Path
        Model with a denoiser and a segmenter.
    out : path
        The container: the denoised image at its root, ``labels/neurons``, and ``affinities`` if
        they are kept. It appears when everything is written, and not before.
    options : InferenceOptions
        Region, tiles, device and the like.
    mask : Volume, optional
        Where it is 0, labels are 0. On the grid of the source.
    keep_affinities, overwrite : bool
        As they say.
    progress : callable, optional
        Told (done, total, text).

    Returns
    -------
    str
        Location of the container.

    Raises
    ------
    DataError, UsageError, CheckpointError, OutputExistsError
        Before any work, for what can be known before.
    """
    return _infer(
        source,
        checkpoint,
        out,
        options,
        mask,
        progress,
        overwrite,
        image=True,
        labels=True,
        keep_affinities=keep_affinities,
    )


def denoise(
    source: Volume,
    checkpoint: Path,
    *,
    out: str | Path,
    options: InferenceOptions | None = None,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> str:
    """Denoise a volume; as `run`, without labels."""
    return _infer(
        source,
        checkpoint,
        out,
        options,
        None,
        progress,
        overwrite,
        image=True,
        labels=False,
        keep_affinities=False,
    )


def segment(
    source: Volume,
    checkpoint: Path | None,
    *,
    out: str | Path,
    options: InferenceOptions | None = None,
    mask: Volume | None = None,
    keep_affinities: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> str:
    """Segment a volume of grey values, or of affinities that emds wrote; as `run`, without image.

    With affinities as `source`, no checkpoint is needed.
    """
    if source.channels is None:
        if checkpoint is None:
            raise DataError(f"{source.location} holds grey values: segmenting needs a checkpoint.")
        return _infer(
            source,
            checkpoint,
            out,
            options,
            mask,
            progress,
            overwrite,
            image=False,
            labels=True,
            keep_affinities=keep_affinities,
        )
    options = options or InferenceOptions()
    if "offsets" not in source.attributes:
        raise DataError(
            f"{source.location} has {source.channels} channels but no offsets in its attributes. "
            "Expected affinities written by emds with --keep-affinities."
        )
    roi = options.roi or source.roi
    inside = _cropped_mask(mask, source, roi)
    spec = AffinitySpec.from_dict(source.attributes)
    stored = source.attributes
    settings = _label_settings(
        options, tuple(stored.get("mutex_strides", (1, 1, 1))), stored.get("min_size", 0)
    )
    check_settings(roi.shape, spec, settings)
    refuse_own_input(out, source, mask)
    # Mutex edges are sampled where the run that kept the affinities would have sampled them.
    z, y, x = stored.get("roi", {}).get("offset", (0, 0, 0))
    place = roi.shift((z, y, x))
    chain = {name: stored[name] for name in ("checkpoint", "source") if name in stored}
    history = provenance(
        "segment", source, **described_roi(place), mask=described_input(mask), affinities_from=chain
    )
    with create_container(out, overwrite=overwrite) as container:
        write_labels(
            container,
            CroppedVolume(source, roi),
            spec,
            settings,
            inside,
            place.offset,
            history,
            progress or _silent,
        )
    return str(out)


def _infer(
    source: Volume,
    checkpoint_path: Path,
    out: str | Path,
    options: InferenceOptions | None,
    mask: Volume | None,
    progress: Progress | None,
    overwrite: bool,
    *,
    image: bool,
    labels: bool,
    keep_affinities: bool,
) -> str:
    options = options or InferenceOptions()
    progress = progress or _silent
    checkpoint = load_checkpoint(checkpoint_path)
    outputs = _outputs(checkpoint, checkpoint_path, options, image, labels)
    device = choose_device(options.device)
    plan = plan_inference(source, checkpoint, options, device.type)
    inside = _cropped_mask(mask, source, plan.roi)
    refuse_own_input(out, source, mask)
    spec = AffinitySpec(checkpoint.offsets, checkpoint.attractive) if labels else None
    settings = _label_settings(options, checkpoint.mutex_strides, checkpoint.min_size)
    if spec is not None:
        check_settings(plan.roi.shape, spec, settings)
    network = checkpoint.build().keep_only(outputs)
    predictor = NetworkPredictor(
        network,
        outputs,
        intensity=plan.intensity,
        device=device,
        batch_size=plan.batch_size,
        precision=options.precision,
    )
    history = provenance(
        "run" if image and labels else "denoise" if image else "segment",
        source,
        checkpoint=model_provenance(checkpoint_path, checkpoint.recipe),
        **plan.described(),
        device=str(device),
        precision=options.precision,
        mask=described_input(mask),
    )
    with create_container(out, overwrite=overwrite) as container:
        sink = _Sink(container, source, plan, checkpoint, outputs, history, predictor.channels)
        _predict(source, plan, predictor, sink, progress)
        if sink.affinities is not None and spec is not None:
            write_labels(
                container,
                sink.affinities,
                spec,
                settings,
                inside,
                plan.roi.offset,
                history,
                progress,
            )
            if not keep_affinities:
                container.remove_image(AFFINITIES)
    return str(out)


def _cropped_mask(mask: Volume | None, source: Volume, roi: Roi) -> Volume | None:
    """Return the mask of a region of the source, checked to be on the same grid."""
    if mask is None:
        return None
    if mask.shape != source.shape:
        raise DataError(
            f"--mask {mask.location} is {mask.shape}, {source.location} is {source.shape} "
            "(z, y, x); a mask lies on the grid of what it masks."
        )
    return CroppedVolume(mask, roi)


def _label_settings(
    options: InferenceOptions, mutex_strides: Triple, min_size: int
) -> LabelSettings:
    """Return what the user chose, else what was chosen for the model."""
    return LabelSettings(
        mutex_strides=options.mutex_strides or mutex_strides,
        min_size=min_size if options.min_size is None else options.min_size,
        backend=options.backend,
    )


def _outputs(
    checkpoint: Checkpoint, path: Path, options: InferenceOptions, image: bool, labels: bool
) -> tuple[_Output, ...]:
    """Return what the network must give, or say which part of the model is missing."""
    wanted: list[_Output] = []
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


class _Sink:
    """The arrays that predictions are written to."""

    def __init__(
        self,
        container: Container,
        source: Volume,
        plan: InferencePlan,
        checkpoint: Checkpoint,
        outputs: tuple[_Output, ...],
        history: dict[str, Any],
        channels: int,
    ) -> None:
        add = partial(
            container.create_image,
            shape=plan.roi.shape,
            voxel_size=plan.voxel_size,
            offset=plan.offset,
            chunk_shape=plan.chunk_shape(channels),
        )
        self.image: Volume | None = None
        self.affinities: Volume | None = None
        if outputs[0] != "affinities":
            self.image = add(None, dtype=source.dtype, attributes=history | {"image": outputs[0]})
        if "affinities" in outputs:
            spec = AffinitySpec(checkpoint.offsets, checkpoint.attractive)
            self.affinities = add(
                AFFINITIES,
                dtype=np.uint8,
                channels=len(checkpoint.offsets),
                attributes=history
                | spec.to_dict()
                | {
                    "mutex_strides": list(checkpoint.mutex_strides),
                    "min_size": checkpoint.min_size,
                },
            )

    def write(self, roi: Roi, values: NDArray[np.float32]) -> None:
        """Store a block of predictions: first the image's channel, then the affinities."""
        if not np.isfinite(values).all():
            raise DataError(
                f"the network gave values that are not finite at {roi.offset} to {roi.end}: the "
                "checkpoint is broken, or --precision bf16 is too coarse for it."
            )
        if self.image is not None:
            self.image.write(roi, _cast(values[0], self.image.dtype))
            values = values[1:]
        if self.affinities is not None:
            self.affinities.write(roi, quantize(values))


def _predict(
    source: Volume,
    plan: InferencePlan,
    predictor: NetworkPredictor,
    sink: _Sink,
    progress: Progress,
) -> None:
    first = sink.image or sink.affinities
    assert first is not None
    blocks = plan.blocks(first.chunk_shape, predictor.channels)
    total = sum(plan.tiles_of(blocks))
    done = 0
    seen: set[float] = set()

    def read(roi: Roi) -> NDArray[Any]:
        grey = read_padded(source, roi)
        seen.update((float(grey.min()), float(grey.max())))
        return grey

    def write(roi: Roi, values: NDArray[np.float32]) -> None:
        sink.write(roi.relative_to(plan.roi.offset), values)

    def count(tiles: int) -> None:
        nonlocal done
        done += tiles
        progress(done, total, "tiles")

    stream_blocks(read, write, predictor, plan.grid, blocks, count)
    if len(seen) == 1:
        raise DataError(
            f"{source.location} is constant (every voxel read is {seen.pop():g}): there is nothing "
            "to denoise. Is it the right array, or an empty region?"
        )


def _cast(values: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    if np.issubdtype(dtype, np.floating):
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)


def _silent(done: int, total: int, what: str) -> None:
    return None
