"""The commands that apply a checkpoint: ``denoise``, ``segment`` and ``run``."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated, Literal

import typer

from emds import numbers
from emds.cli import options
from emds.cli.console import console_of, print_yaml
from emds.cli.inputs import note_intensity, open_mask, parse_roi, refuse_given

KeepAffinities = Annotated[
    bool,
    typer.Option("--keep-affinities", help="Keep the affinities in the container."),
]

_NETWORK_OPTIONS = (
    *("checkpoint", "voxel_size", "intensity", "tile", "overlap", "block_shape", "batch_size"),
    *("device", "precision", "keep_affinities", "tta"),
)


def denoise(
    ctx: typer.Context,
    noisy: options.NoisyVolume,
    out: options.OutImage,
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
    tta: options.Tta = False,
    uncertainty: options.Uncertainty = False,
    resume: options.Resume = False,
    workers: options.Workers = 1,
    launcher: options.Launcher = "",
    shard: options.ShardText = None,
    max_memory: options.MaxMemory = None,
    verify_input: options.VerifyInput = "files",
    dry_run: options.DryRun = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Denoise an image.

    The output keeps the input's type, voxel size and position.
    """
    _apply(ctx, "denoise")


def segment(
    ctx: typer.Context,
    noisy: options.NoisyVolume,
    out: options.OutContainer,
    checkpoint: options.CheckpointFile = None,
    from_affinities: Annotated[
        bool,
        typer.Option(
            "--from-affinities",
            help="NOISY holds the affinities that an earlier run kept; use them and no network.",
        ),
    ] = False,
    key: options.Key = None,
    roi: options.RoiText = None,
    voxel_size: options.VoxelSize = None,
    intensity: options.IntensityRange = None,
    keep_affinities: KeepAffinities = False,
    labeller: options.Labeller = "mutex-watershed",
    backend: options.Backend = "numba",
    mutex_strides: options.MutexStrides = None,
    min_size: options.MinSize = None,
    link_sections: options.LinkSections = None,
    mask: options.Mask = None,
    tile: options.Tile = None,
    overlap: options.Overlap = None,
    block_shape: options.BlockShape = None,
    label_block_shape: options.LabelBlockShape = None,
    stitch: options.StitchMode = "exact",
    batch_size: options.BatchSize = None,
    device: options.Device = "auto",
    precision: options.Precision = "fp32",
    tta: options.Tta = False,
    resume: options.Resume = False,
    workers: options.Workers = 1,
    launcher: options.Launcher = "",
    shard: options.ShardText = None,
    max_memory: options.MaxMemory = None,
    max_residual: options.MaxResidual = None,
    verify_input: options.VerifyInput = "files",
    dry_run: options.DryRun = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Segment an image into neurons, without a denoised image.

    The container holds the ids in labels/neurons.
    """
    if from_affinities:
        refuse_given(
            ctx,
            "--from-affinities applies no network and keeps the voxel size of what it reads",
            _NETWORK_OPTIONS,
        )
    _apply(ctx, "segment")


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
    labeller: options.Labeller = "mutex-watershed",
    backend: options.Backend = "numba",
    mutex_strides: options.MutexStrides = None,
    min_size: options.MinSize = None,
    link_sections: options.LinkSections = None,
    mask: options.Mask = None,
    tile: options.Tile = None,
    overlap: options.Overlap = None,
    block_shape: options.BlockShape = None,
    label_block_shape: options.LabelBlockShape = None,
    stitch: options.StitchMode = "exact",
    batch_size: options.BatchSize = None,
    device: options.Device = "auto",
    precision: options.Precision = "fp32",
    tta: options.Tta = False,
    uncertainty: options.Uncertainty = False,
    resume: options.Resume = False,
    workers: options.Workers = 1,
    launcher: options.Launcher = "",
    shard: options.ShardText = None,
    max_memory: options.MaxMemory = None,
    max_residual: options.MaxResidual = None,
    verify_input: options.VerifyInput = "files",
    dry_run: options.DryRun = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Denoise an image and segment it into neurons.

    Writes one OME-Zarr container: the denoised image at its root, the ids in labels/neurons, and
    with --keep-affinities the affinities.
    """
    _apply(ctx, "run")


def merge(
    ctx: typer.Context,
    out: Annotated[str, typer.Argument(metavar="OUT", help="The --out of the --shard runs.")],
    workers: options.Workers = 1,
    launcher: options.Launcher = "",
    verify_input: options.VerifyInput = "files",
) -> None:
    """Finish an output whose parts `--shard` runs have computed.

    All other settings are those of the first of these runs.
    """
    from emds.execution import parse_launcher
    from emds.stages.execute import merge as stage

    with console_of(ctx).progress() as progress:
        written = stage(
            out,
            workers=workers,
            launcher=parse_launcher(launcher),
            verify_input=verify_input,
            progress=progress,
        )
    console_of(ctx).note(f"wrote {written}")


def worker(
    out: Annotated[str, typer.Argument(metavar="OUT")],
    threads: Annotated[
        int | None, typer.Option(callback=options.in_range(numbers.Threads), metavar="N")
    ] = None,
) -> None:
    """Take part in a run with --workers, which starts this and tells it what to do on stdin."""
    from emds.signals import end_at_once
    from emds.stages.execute import take_part

    end_at_once()
    take_part(out, threads)


def _apply(ctx: typer.Context, command: Literal["run", "denoise", "segment"]) -> None:
    """Do what the options of these commands say; all three have the names looked up here."""
    from emds.execution import Execution, parse_launcher, parse_shard
    from emds.io import open_volume
    from emds.memory import parse_size
    from emds.stages.estimate import estimate
    from emds.stages.execute import execute
    from emds.stages.inference import request_for
    from emds.stages.job import prepare
    from emds.stages.plan import InferenceOptions

    given = ctx.params
    execution = Execution(
        workers=given["workers"],
        launcher=parse_launcher(given["launcher"]),
        shard=parse_shard(given["shard"]) if given["shard"] else None,
    )
    kept = given.get("from_affinities", False)
    with (
        open_volume(
            given["noisy"], key=given["key"], role="affinities" if kept else "raw"
        ) as source,
        open_mask(given.get("mask")) as mask,
        console_of(ctx).progress() as progress,
    ):
        chosen = {f.name: given[f.name] for f in fields(InferenceOptions) if f.name in given}
        chosen["roi"] = parse_roi(given["roi"], source)
        note_intensity(console_of(ctx), given.get("intensity"), source, chosen["roi"])
        asked = given["max_memory"]
        chosen["max_memory"] = parse_size(asked) if asked else None
        request = request_for(
            command,
            source,
            given["checkpoint"],
            InferenceOptions(**chosen),
            mask=mask,
            keep_affinities=given.get("keep_affinities", False),
        )
        if given["dry_run"]:
            job = prepare(request.among(execution.workers), source, mask)
            print_yaml(estimate(job, execution))
            return
        written = execute(
            request,
            source,
            mask,
            given["out"],
            execution=execution,
            resume=given["resume"],
            overwrite=given["overwrite"],
            verify_input=given["verify_input"],
            progress=progress,
        )
    console_of(ctx).note(
        f"wrote {written}"
        if execution.shard is None
        else f"shard {execution.shard} did its part of {written}; `emds merge` finishes it"
    )
