"""The commands about noise: adding it, and estimating what is there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from emds import numbers
from emds.cli import options
from emds.cli.console import console_of, print_json, print_measures
from emds.cli.inputs import parse_roi
from emds.cli.printable import echo


def simulate_noise(
    ctx: typer.Context,
    raw: options.RawVolume,
    kind: Annotated[
        options.NoiseKind,
        typer.Option("--type", metavar="KIND", help="gaussian-poisson, film, gaussian or poisson."),
    ],
    sigma: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar="LO HI", help="Gaussian standard deviation, grey levels.  [default: 55 85]"
        ),
    ] = None,
    lam: Annotated[
        tuple[float, float] | None,
        typer.Option(
            metavar="LO HI", help="Poisson: electrons per grey level.  [default: 0.6 0.8]"
        ),
    ] = None,
    mode: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="gaussian-poisson: shot, additive, gain; film: minmax, unitmean.  "
            "[default: shot; minmax]",
        ),
    ] = None,
    film_kernel: Annotated[
        int | None,
        typer.Option(metavar="N", help="Film: side of the blur, voxels, odd.  [default: 5]"),
    ] = None,
    film_max: Annotated[
        float | None, typer.Option(metavar="X", help="Film: largest factor.  [default: 1.5]")
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            callback=options.in_range(numbers.Seed), metavar="N", help="Random seed of the noise."
        ),
    ] = 0,
    roi: options.RoiText = None,
    key: options.Key = None,
    out: Annotated[
        str | None,
        typer.Option(
            "--out",
            "-o",
            metavar="PATH",
            help="Volume to write.  [default: RAW_noisy.zarr beside RAW]",
        ),
    ] = None,
    overwrite: options.Overwrite = False,
) -> None:
    """Add noise to a clean image and print the output's path.

    The strength of the noise is drawn for each section between LO and HI. The noise of a voxel
    depends only on the seed and its position, so a region has the same bytes as in the whole.
    """
    from emds.io import open_volume
    from emds.noise import make_noise_model
    from emds.stages.simulate_noise import simulate_noise as stage

    asked = {"sigma": sigma, "lam": lam, "mode": mode, "kernel": film_kernel, "maximum": film_max}
    given = {name: value for name, value in asked.items() if value is not None}
    model = make_noise_model(kind, **given)
    with open_volume(raw, key=key, role="raw") as source, console_of(ctx).progress() as progress:
        written = stage(
            source,
            model,
            out=out,
            seed=seed,
            roi=parse_roi(roi, source),
            overwrite=overwrite,
            progress=progress,
        )
    echo(written)


def estimate_noise(
    ctx: typer.Context,
    volume: options.AnyVolume,
    offset: Annotated[
        float | None,
        typer.Option(
            callback=options.in_range(numbers.Grey),
            metavar="GREY",
            help="Grey level of zero electrons.  [default: 0]",
        ),
    ] = None,
    voxels: Annotated[
        int | None,
        typer.Option(
            callback=options.in_range(numbers.Count),
            metavar="N",
            help="Number of voxels to read, approximately.  [default: 33,554,432]",
        ),
    ] = None,
    seed: Annotated[
        int,
        typer.Option(
            callback=options.in_range(numbers.Seed),
            metavar="N",
            help="Random seed for the choice of blocks.",
        ),
    ] = 0,
    roi: options.RoiText = None,
    key: options.Key = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="SVG file to write: variance against grey level, and the fit."
        ),
    ] = None,
    overwrite: options.Overwrite = False,
    as_json: options.AsJson = False,
) -> None:
    """Estimate the noise of a volume from the volume itself.

    Prints gain, lambda, sigma and correlation length with standard errors, and the options
    that make simulate-noise add such noise.
    """
    from emds.io import open_volume
    from emds.stages.estimate_noise import DEFAULT_VOXELS
    from emds.stages.estimate_noise import estimate_noise as stage

    with open_volume(volume, key=key, role="raw") as source, console_of(ctx).progress() as progress:
        report = stage(
            source,
            offset=offset,
            roi=parse_roi(roi, source),
            voxels=voxels or DEFAULT_VOXELS,
            seed=seed,
            plot=plot,
            overwrite=overwrite,
            progress=progress,
        )
    if as_json:
        print_json(report.to_dict())
        return
    print_measures(report.rows())
    if report.options:
        echo(report.matching_command())
    console_of(ctx).note(*report.notes)
