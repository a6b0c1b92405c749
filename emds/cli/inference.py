"""The commands that apply a checkpoint: ``denoise``, ``segment`` and ``run``."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from emds.cli import options
from emds.cli.console import console_of
from emds.cli.inputs import open_mask, parse_roi, refuse_given
from emds.pretrained import shipped_checkpoint

KeepAffinities = Annotated[
    bool,
    typer.Option("--keep-affinities", help="Keep the network's affinities in the container."),
]

_NETWORK_OPTIONS = (
    *("checkpoint", "voxel_size", "intensity", "tile", "overlap", "block_shape", "batch_size"),
    *("device", "precision", "keep_affinities"),
)


def denoise(
    ctx: typer.Context,
    noisy: options.NoisyVolume,
    out: options.OutContainer,
    checkpoint: options.CheckpointFile = None,
    key: options.Key = None,
    roi: options.RoiText = None,
    voxel_size: options.VoxelSize = None,
    intensity: options.IntensityRange = None,
    image: options.Image = "fused",
    tile: options.Tile = None,
    overlap: options.Overlap = None,
    block_shape: options.BlockShape = None,
    batch_size: options.BatchSize = None,
    device: options.Device = "auto",
    precision: options.Precision = "fp32",
    overwrite: options.Overwrite = False,
) -> None:
    """Remove the noise from an image.

    The output keeps the input's type, voxel size and position.
    """
    from emds.io import open_volume
    from emds.stages.inference import denoise as stage
    from emds.stages.plan import InferenceOptions

    model = checkpoint or shipped_checkpoint()
    with open_volume(noisy, key=key, role="raw") as source, console_of(ctx).progress() as progress:
        chosen = InferenceOptions(
            roi=parse_roi(roi, source),
            tile=tile,
            overlap=overlap,
            block_shape=block_shape,
            batch_size=batch_size,
            device=device,
            precision=precision,
            voxel_size=voxel_size,
            intensity=intensity,
            image=image,
        )
        written = stage(
            source, model, out=out, options=chosen, overwrite=overwrite, progress=progress
        )
    console_of(ctx).note(f"wrote {written}")


def segment(
    ctx: typer.Context,
    noisy: options.NoisyVolume,
    out: options.OutContainer,
    checkpoint: options.CheckpointFile = None,
    from_affinities: Annotated[
        bool,
        typer.Option(
            "--from-affinities",
            help="NOISY holds affinities that an earlier run kept; no network is applied.",
        ),
    ] = False,
    key: options.Key = None,
    roi: options.RoiText = None,
    voxel_size: options.VoxelSize = None,
    intensity: options.IntensityRange = None,
    keep_affinities: KeepAffinities = False,
    backend: options.Backend = "numba",
    mutex_strides: options.MutexStrides = None,
    min_size: options.MinSize = None,
    mask: options.Mask = None,
    tile: options.Tile = None,
    overlap: options.Overlap = None,
    block_shape: options.BlockShape = None,
    batch_size: options.BatchSize = None,
    device: options.Device = "auto",
    precision: options.Precision = "fp32",
    overwrite: options.Overwrite = False,
) -> None:
    """Divide an image into neurons; write no denoised one.

    The container holds the ids in labels/neurons.
    """
    from emds.io import open_volume
    from emds.stages.inference import segment as stage
    from emds.stages.plan import InferenceOptions

    if from_affinities:
        refuse_given(
            ctx,
            "--from-affinities applies no network and keeps the voxel size of what it reads",
            _NETWORK_OPTIONS,
        )
    model = None if from_affinities else checkpoint or shipped_checkpoint()
    role: Literal["affinities", "raw"] = "affinities" if from_affinities else "raw"
    with (
        open_volume(noisy, key=key, role=role) as source,
        open_mask(mask) as inside,
        console_of(ctx).progress() as progress,
    ):
        chosen = InferenceOptions(
            roi=parse_roi(roi, source),
            tile=tile,
            overlap=overlap,
            block_shape=block_shape,
            batch_size=batch_size,
            device=device,
            precision=precision,
            voxel_size=voxel_size,
            intensity=intensity,
            backend=backend,
            mutex_strides=mutex_strides,
            min_size=min_size,
        )
        written = stage(
            source,
            model,
            out=out,
            options=chosen,
            mask=inside,
            keep_affinities=keep_affinities,
            overwrite=overwrite,
            progress=progress,
        )
    console_of(ctx).note(f"wrote {written}")


def run(
    ctx: typer.Context,
    noisy: options.NoisyVolume,
    out: options.OutContainer,
    checkpoint: options.CheckpointFile = None,
    key: options.Key = None,
    roi: options.RoiText = None,
    voxel_size: options.VoxelSize = None,
    intensity: options.IntensityRange = None,
    image: options.Image = "fused",
    keep_affinities: KeepAffinities = False,
    backend: options.Backend = "numba",
    mutex_strides: options.MutexStrides = None,
    min_size: options.MinSize = None,
    mask: options.Mask = None,
    tile: options.Tile = None,
    overlap: options.Overlap = None,
    block_shape: options.BlockShape = None,
    batch_size: options.BatchSize = None,
    device: options.Device = "auto",
    precision: options.Precision = "fp32",
    overwrite: options.Overwrite = False,
) -> None:
    """Remove the noise from an image and divide it into neurons.

    One OME-Zarr container comes out: the denoised image at its root, the ids in labels/neurons,
    and the affinities if they are kept.
    """
    from emds.io import open_volume
    from emds.stages.inference import run as stage
    from emds.stages.plan import InferenceOptions

    model = checkpoint or shipped_checkpoint()
    with (
        open_volume(noisy, key=key, role="raw") as source,
        open_mask(mask) as inside,
        console_of(ctx).progress() as progress,
    ):
        chosen = InferenceOptions(
            roi=parse_roi(roi, source),
            tile=tile,
            overlap=overlap,
            block_shape=block_shape,
            batch_size=batch_size,
            device=device,
            precision=precision,
            voxel_size=voxel_size,
            intensity=intensity,
            image=image,
            backend=backend,
            mutex_strides=mutex_strides,
            min_size=min_size,
        )
        written = stage(
            source,
            model,
            out=out,
            options=chosen,
            mask=inside,
            keep_affinities=keep_affinities,
            overwrite=overwrite,
            progress=progress,
        )
    console_of(ctx).note(f"wrote {written}")
