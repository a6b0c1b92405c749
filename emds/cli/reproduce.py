"""The command that trains and compares every system of the paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from emds import numbers
from emds.cli import options
from emds.cli.console import console_of, print_json, print_plan, print_tables


def reproduce(
    ctx: typer.Context,
    data: Annotated[
        Path, typer.Option(metavar="DIR", help="Folder with the files of the data sets.")
    ],
    out: Annotated[
        Path,
        typer.Option(
            "--out",
            "-o",
            metavar="DIR",
            help="Folder of the plan: empty, or of a plan that was begun.",
        ),
    ],
    table: Annotated[
        Literal["1", "2", "3", "4", "all"], typer.Option(help="Table of the paper.")
    ] = "all",
    dataset: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Data set to use in place of the paper's: ac4, cremi-a, cremi-b, cremi-c, flyem, "
            "vnc, or a YAML file; repeatable.",
        ),
    ] = None,
    recipe: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME",
            help="Train only this recipe and those it starts from; repeatable.  [default: all]",
        ),
    ] = None,
    preset: Annotated[
        str, typer.Option(metavar="NAME", help="Settings of the training: paper, modern or cpu.")
    ] = "cpu",
    steps: Annotated[
        int | None,
        typer.Option(
            callback=options.in_range(numbers.Steps),
            metavar="N",
            help="Optimiser steps of every training.  [default: the preset's]",
        ),
    ] = None,
    seeds: Annotated[
        int,
        typer.Option(
            callback=options.in_range(numbers.Repeats),
            metavar="N",
            help="Number of trainings of each system.",
        ),
    ] = 3,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change one setting of the training, e.g. width=tiny; repeatable.",
        ),
    ] = None,
    dms_weight: Annotated[
        float,
        typer.Option(
            callback=options.in_range(numbers.Weight),
            metavar="X",
            help="Weight of the segmenter's loss in recipe dms.",
        ),
    ] = 0.25,
    vit_weights: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Published weights (.npz) that a TransUNet of the full size starts from.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what is left to do and how long it takes.")
    ] = False,
    as_json: options.AsJson = False,
    device: options.Device = "auto",
) -> None:
    """Train and compare every system of the paper's tables.

    Finished trainings and scores are kept; interrupt at any time and run the same command again.
    The core comparisons come first, with one seed, then with the others, then the rest. Prints
    the tables beside the paper's figures; --out receives results.json, results.csv and
    report.html.
    """
    from emds.stages.reproduce.command import make_plan
    from emds.stages.reproduce.command import reproduce as stage
    from emds.stages.reproduce.tables import all_tables
    from emds.stages.reproduce.workspace import Settings

    plan = make_plan(
        data,
        out,
        tables=(1, 2, 3, 4) if table == "all" else (int(table),),
        datasets=tuple(dataset or ()),
        recipes=tuple(recipe or ()),
        seeds=seeds,
        settings=Settings(preset, steps, tuple(settings or ()), dms_weight, vit_weights, device),
    )
    if dry_run:
        print_plan([(task.label, done, seconds) for task, done, seconds in plan.times()])
        return
    with console_of(ctx).progress() as progress:
        results = stage(plan, progress)
    if as_json:
        print_json(results.to_dict())
        return
    print_tables(all_tables(results))
    console_of(ctx).note(f"wrote {out / 'report.html'}")
