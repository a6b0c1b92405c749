"""The commands: each reads its options, opens its volumes, calls one stage, prints the result.

What a command needs is imported when it runs, so that ``emds --help`` loads nothing heavy.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Annotated, Literal

import typer

from emds import numbers
from emds.cli import options
from emds.cli.console import console_of, print_json, print_measures, print_yaml
from emds.cli.inputs import open_pair


def train(
    ctx: typer.Context,
    raw: Annotated[
        str | None,
        typer.Argument(
            metavar="RAW", help="Clean uint8 image; may be given in the config instead."
        ),
    ] = None,
    labels: Annotated[
        str | None,
        typer.Argument(
            metavar="LABELS", help="Instance ids of the same voxels.  [default: those in RAW]"
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="joint, joint_balanced, dn_only, seg_only, seg_clean, sequential, dms, "
            "wo_dn2seg, wo_seg2dn, wo_seg2dn_fair, joint_linear, joint_cat, joint_detach or "
            "dn_deep.  [default: joint]",
        ),
    ] = None,
    preset: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="Settings to start from: paper, modern or cpu."),
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", metavar="FILE", help="YAML or JSON with settings."),
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Change one setting, e.g. optimizer.lr=0.001; repeatable.",
        ),
    ] = None,
    train_sections: options.TrainSections = None,
    validation_sections: options.ValidationSections = None,
    init: options.InitialParts = None,
    steps: Annotated[
        int | None,
        typer.Option(
            callback=options.in_range(numbers.Steps), metavar="N", help="Optimiser steps."
        ),
    ] = None,
    seed: Annotated[
        int | None,
        typer.Option(
            callback=options.in_range(numbers.Seed),
            metavar="N",
            help="Random seed for weights, samples and noise.  [default: 555]",
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", metavar="DIR", help="Run folder.  [default: runs/RECIPE]"),
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Continue the run in --out; on a CPU, bit for bit.")
    ] = False,
    overwrite: options.Overwrite = False,
    device: options.Device = "auto",
) -> None:
    """Train networks on clean sections with instance labels.

    Noise is added during training. The command line overrides --set, --set the config file, and
    the file the preset. The run folder receives best.pt, last.pt, the curve metrics.jsonl and
    what --resume needs.
    """
    from emds.config import load_train_config
    from emds.stages.train import train as stage

    chosen = load_train_config(
        preset,
        config,
        settings or (),
        {
            "recipe": recipe,
            "steps": steps,
            "seed": seed,
            "init": dict(init) if init else None,
            "data": {
                "raw": raw,
                "labels": labels,
                "train": train_sections,
                "validation": validation_sections,
            },
        },
    )
    folder = out or Path("runs") / chosen.recipe
    with console_of(ctx).progress() as progress:
        best = stage(
            chosen, folder, resume=resume, overwrite=overwrite, device=device, progress=progress
        )
    console_of(ctx).note(f"wrote {best}")


def evaluate(
    ctx: typer.Context,
    seg: Annotated[
        str | None, typer.Argument(metavar="SEG", help="Labels to score, e.g. seg.zarr.")
    ] = None,
    gt: Annotated[
        str | None, typer.Argument(metavar="GT", help="Ground truth; its id 0 is ignored.")
    ] = None,
    denoised: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="Image to score; needs --clean.")
    ] = None,
    clean: Annotated[
        str | None, typer.Option(metavar="IMAGE", help="The same image without noise.")
    ] = None,
    protocol: Annotated[
        list[options.Protocol] | None,
        typer.Option(
            metavar="NAME",
            help="volume: in 3-D. strict: per section, parts that touch nowhere are separate. "
            "paper: per section with the 3-D ids. released: as the authors' script. "
            "Repeatable.  [default: volume, strict]",
        ),
    ] = None,
    convention: Annotated[
        Literal["cremi", "skimage"], typer.Option(help="Definition of the adapted Rand error.")
    ] = "cremi",
    data_range: Annotated[
        float | None,
        typer.Option(
            callback=options.in_range(numbers.GreySpan),
            metavar="X",
            help="Largest minus smallest possible grey value, for PSNR and SSIM.  "
            "[default: 255 for uint8, 65535 for uint16]",
        ),
    ] = None,
    roi: options.RoiText = None,
    as_json: options.AsJson = False,
) -> None:
    """Score a segmentation, a denoised image, or both.

    Prints VOI, adapted Rand error, CREMI score, PSNR and SSIM. A SEG of a part of the volume is
    compared with that part of GT. --roi is a box of GT (or of CLEAN); a SEG of exactly the shape
    of that box is used whole.
    """
    from emds.stages.evaluate import DEFAULT_PROTOCOLS
    from emds.stages.evaluate import evaluate as stage

    with ExitStack() as stack, console_of(ctx).progress() as progress:
        labels = open_pair(stack, seg, gt, "labels", roi)
        images = open_pair(stack, denoised, clean, "raw", roi)
        report = stage(
            *labels,
            denoised=images[0],
            clean=images[1],
            protocols=[choice.value for choice in protocol] if protocol else DEFAULT_PROTOCOLS,
            convention=convention,
            data_range=data_range,
            progress=progress,
        )
    if as_json:
        print_json(report.to_dict())
        return
    print_measures(report.rows())
    console_of(ctx).note(*report.notes)


def info(
    location: Annotated[str, typer.Argument(metavar="LOCATION", help="A volume or a checkpoint.")],
    as_json: options.AsJson = False,
) -> None:
    """Show what a volume or checkpoint contains."""
    from emds.stages.info import info as stage

    facts = stage(location)
    if as_json:
        print_json(facts)
    else:
        print_yaml(facts)


def demo(
    ctx: typer.Context,
    out: Annotated[
        Path, typer.Option("--out", "-o", metavar="DIR", help="Folder to write.")
    ] = Path("demo"),
    checkpoint: options.CheckpointFile = None,
    seed: Annotated[
        int,
        typer.Option(
            callback=options.in_range(numbers.Seed),
            metavar="N",
            help="Random seed for the volume and its noise.",
        ),
    ] = 0,
    overwrite: options.Overwrite = False,
) -> None:
    """Run the whole pipeline on a small synthetic volume.

    Makes a volume with ground truth, adds noise, runs the checkpoint, scores the result, and
    writes a page to open in a browser.
    """
    from emds.stages.demo import demo as stage

    with console_of(ctx).progress() as progress:
        summary = stage(
            out, checkpoint=checkpoint, seed=seed, overwrite=overwrite, progress=progress
        )
    print_yaml(summary)
