"""The command that fits a checkpoint to a noisy volume."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emds import numbers
from emds.cli import options
from emds.cli.console import console_of, print_measures
from emds.cli.inputs import note_intensity, parse_roi


def adapt(
    ctx: typer.Context,
    checkpoint: Annotated[
        Path, typer.Argument(metavar="CHECKPOINT", help="Model file to start from.")
    ],
    noisy: options.NoisyVolume,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out",
            "-o",
            metavar="FILE",
            help="Model file to write.  [default: CHECKPOINT's name with _adapted, in this folder]",
        ),
    ] = None,
    key: options.Key = None,
    roi: options.RoiText = None,
    held_out: options.HeldOutSections = None,
    intensity: options.IntensityRange = None,
    steps: Annotated[
        int,
        typer.Option(
            callback=options.in_range(numbers.Steps), metavar="N", help="Optimiser steps."
        ),
    ] = 100,
    lr: Annotated[
        float,
        typer.Option(
            callback=options.in_range(numbers.LearningRate),
            metavar="X",
            help="Highest learning rate.",
        ),
    ] = 1e-3,
    seed: Annotated[
        int,
        typer.Option(
            callback=options.in_range(numbers.Seed),
            metavar="N",
            help="Random seed for samples and hidden voxels.",
        ),
    ] = 0,
    device: options.Device = "auto",
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue an interrupted run; on a CPU, bit for bit.")
    ] = False,
    overwrite: options.Overwrite = False,
) -> None:
    """Fit a checkpoint to a noisy volume.

    No clean image is needed: denoiser and fusion learn to predict hidden voxels from those
    around them; the segmenter does not change. Prints the errors on held-out sections before and
    after. If they do not fall beyond chance, writes no checkpoint and ends with exit code 3.
    """
    from emds.io import open_volume
    from emds.stages.adapt import adapt as stage
    from emds.stages.adapt_plan import AdaptOptions

    target = out or Path(f"{checkpoint.stem}_adapted.pt")
    with open_volume(noisy, key=key, role="raw") as source, console_of(ctx).progress() as progress:
        chosen = AdaptOptions(
            steps=steps,
            lr=lr,
            roi=parse_roi(roi, source),
            held_out=held_out,
            intensity=intensity,
            seed=seed,
            device=device,
        )
        note_intensity(console_of(ctx), intensity, source, chosen.roi)
        judgement = stage(
            checkpoint,
            source,
            out=target,
            options=chosen,
            resume=resume,
            overwrite=overwrite,
            progress=progress,
        )
    print_measures(judgement.rows())
    console_of(ctx).note(f"wrote {target}")
