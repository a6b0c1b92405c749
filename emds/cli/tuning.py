"""The command that chooses how affinities become labels."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

import typer

from emds.cli import options
from emds.cli.console import console_of, print_json, print_table
from emds.cli.inputs import note_intensity, parse_roi


def tune(
    ctx: typer.Context,
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="Model file from `emds train`.")
    ],
    volume: Annotated[
        str,
        typer.Argument(
            metavar="VOLUME",
            help="Image with the noise that the model is for, not used in training.",
        ),
    ],
    labels: Annotated[
        str, typer.Argument(metavar="LABELS", help="Ground truth of VOLUME; its id 0 is ignored.")
    ],
    also: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VOLUME",
            help="Another image of the same voxels with other noise; scores are averaged over "
            "all images. Several make the choice more reliable; repeatable.",
        ),
    ] = None,
    metric: Annotated[
        Literal["voi", "arand"],
        typer.Option(
            help="Metric to minimise: per section, or in 3-D if affinities cross sections."
        ),
    ] = "voi",
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", metavar="FILE", help="Model file to write.  [default: NAME_tuned.pt]"
        ),
    ] = None,
    key: options.Key = None,
    roi: options.RoiText = None,
    voxel_size: options.VoxelSize = None,
    intensity: options.IntensityRange = None,
    tile: options.Tile = None,
    overlap: options.Overlap = None,
    batch_size: options.BatchSize = None,
    device: options.Device = "auto",
    precision: options.Precision = "fp32",
    max_memory: options.MaxMemory = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Choose label settings on ground truth.

    Predicts affinities once, then tries mutex strides, minimum segment sizes and biases, and
    prints a table of the scores. Stores the best settings in a copy of the checkpoint, unless
    their cross-validated gain may be chance.
    """
    from emds.io import open_volume
    from emds.memory import parse_size
    from emds.stages.plan import InferenceOptions
    from emds.stages.tune import tune as stage

    with ExitStack() as stack, console_of(ctx).progress() as progress:
        source, *others = (
            stack.enter_context(open_volume(place, key=key, role="raw"))
            for place in (volume, *(also or ()))
        )
        truth = stack.enter_context(open_volume(labels, role="labels"))
        region = parse_roi(roi, source)
        note_intensity(console_of(ctx), intensity, source, region)
        report = stage(
            checkpoint,
            source,
            truth,
            also=others,
            out=out,
            options=InferenceOptions(
                roi=region,
                tile=tile,
                overlap=overlap,
                batch_size=batch_size,
                device=device,
                precision=precision,
                voxel_size=voxel_size,
                intensity=intensity,
                max_memory=parse_size(max_memory) if max_memory else None,
            ),
            metric=metric,
            overwrite=overwrite,
            progress=progress,
        )
    if as_json:
        print_json(report.to_dict())
    else:
        columns = report.columns()
        print_table("r" * (len(columns) - 1) + "l", columns, report.rows())
    console_of(ctx).note(*report.summary(), f"wrote {report.out}")
