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
            help="Image as noisy as what the model is for, on which it was not trained.",
        ),
    ],
    labels: Annotated[
        str, typer.Argument(metavar="LABELS", help="Ground truth of VOLUME; its id 0 is ignored.")
    ],
    also: Annotated[
        list[str] | None,
        typer.Option(
            metavar="VOLUME",
            help="Another image of the same voxels, with other noise; settings are judged by the "
            "mean. A few make the choice much surer; repeatable.",
        ),
    ] = None,
    metric: Annotated[
        Literal["voi", "arand"],
        typer.Option(
            help="What is made small: per section, or in 3-D where affinities cross sections."
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
    """Choose how affinities become labels, on ground truth.

    Chosen are mutex strides, the smallest segment and biases of the affinities, which are predicted
    once. What was tried is printed as a table. A copy of the checkpoint receives the best, unless
    its gain may be chance on parts of VOLUME that had no say in the choice.
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
