"""The commands that look after an output: ``check`` and ``pyramid``."""

from __future__ import annotations

from typing import Annotated

import typer

from emds import numbers
from emds.cli import options
from emds.cli.console import console_of, print_json, print_table
from emds.errors import IncompleteError


def check(
    ctx: typer.Context,
    location: Annotated[
        str, typer.Argument(metavar="LOCATION", help="An output of emds, or any other volume.")
    ],
    key: options.Key = None,
    as_json: options.AsJson = False,
) -> None:
    """Read every chunk and list those that are damaged or lost.

    Zarr outputs of emds have checksums for chunks and metadata, so a single wrong bit is found.
    The exit code is 0 if all is well and 5 if not.
    """
    from emds.stages.check import COLUMNS
    from emds.stages.check import check as stage

    with console_of(ctx).progress() as progress:
        report = stage(location, key=key, progress=progress)
    if as_json:
        print_json(report.to_dict())
    else:
        print_table("lllrrrr", COLUMNS, report.rows())
    console_of(ctx).note(*report.notes)
    complaint = report.complaint()
    if complaint is not None:
        raise IncompleteError(complaint)


def pyramid(
    ctx: typer.Context,
    location: Annotated[
        str,
        typer.Argument(metavar="LOCATION", help="An OME-Zarr output of emds."),
    ],
    levels: Annotated[
        int | None,
        typer.Option(
            callback=options.in_range(numbers.Levels),
            metavar="N",
            help="Number of lower-resolution levels to add.  [default: until no axis has over 256 "
            "voxels]",
        ),
    ] = None,
) -> None:
    """Add lower resolutions for quick viewing.

    Images are reduced by the mean, labels by the most frequent id, affinities not at all. Each
    level halves y and x, and z once its voxels are no longer the longest. If it is
    interrupted, run the same command again.
    """
    from emds.stages.pyramid import pyramid as stage

    with console_of(ctx).progress() as progress:
        grown = stage(location, levels=levels, progress=progress)
    console_of(ctx).note(*map(str, grown))
