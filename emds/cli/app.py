"""The `emds` command: global options, and the list of commands with an example each."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated

import typer

import emds
from emds.cli import adapt, commands, inference, noise, reproduce, tuning, upkeep
from emds.cli.console import Console, show_messages
from emds.cli.options import EmdsCommand
from emds.cli.reporting import ReportingGroup
from emds.cli.streams import standard_streams
from emds.signals import ignore_from_here

app = typer.Typer(
    name="emds",
    cls=ReportingGroup,
    invoke_without_command=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    epilog=(
        "Exit codes: 0 done, 1 internal error, or disk or memory exhausted, 2 wrong options, "
        "3 bad input, 4 the output exists, 5 incomplete, 75 stopped by a signal (resumable), "
        "130 Ctrl-C. Global options may stand anywhere on the line."
    ),
)

_EXAMPLES: dict[Callable[..., None], str] = {
    noise.simulate_noise: "emds simulate-noise raw.tif --type gaussian-poisson",
    noise.estimate_noise: "emds estimate-noise noisy.zarr --plot noise.svg",
    commands.train: "emds train raw.tif labels.tif --preset cpu --out runs/mine",
    tuning.tune: "emds tune model.pt noisy.zarr gt.h5 --out tuned.pt",
    adapt.adapt: "emds adapt model.pt noisy.zarr --out adapted.pt",
    inference.denoise: "emds denoise noisy.zarr --out denoised.zarr",
    inference.segment: "emds segment noisy.zarr --checkpoint model.pt --out seg.zarr",
    inference.run: "emds run noisy.zarr --checkpoint model.pt --out seg.zarr",
    inference.merge: "emds merge seg.zarr",
    commands.evaluate: "emds evaluate seg.zarr gt.h5 --denoised seg.zarr --clean raw.tif",
    upkeep.check: "emds check seg.zarr",
    upkeep.pyramid: "emds pyramid seg.zarr",
    reproduce.reproduce: "emds reproduce --table 2 --data DIR --preset modern --out tables",
    commands.info: "emds info seg.zarr",
    commands.demo: "emds demo --out demo",
}
for _command, _example in _EXAMPLES.items():
    app.command(cls=EmdsCommand, epilog=f"Example: {_example}")(_command)
app.command(hidden=True)(inference.worker)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"emds {emds.__version__}")
        raise typer.Exit


@app.callback()
def globals_(
    ctx: typer.Context,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Print only errors on stderr.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print more, with time and memory used.")
    ] = False,
    no_progress: Annotated[bool, typer.Option("--no-progress", help="Hide progress.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an internal error.")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    """Denoise and segment electron-microscopy volumes, jointly.

    A volume is a TIFF, Zarr or HDF5 file or a folder of slices. Data goes to stdout, everything
    else to stderr.
    """
    show_messages(quiet=quiet, verbose=verbose)
    ctx.obj = Console(quiet=quiet, verbose=verbose, show_progress=not no_progress)
    if ctx.invoked_subcommand is None:
        typer.echo(ctx.get_help(), err=True)
        raise typer.Exit(2)


def main() -> None:
    """Run the command line; the entry point of the ``emds`` script."""
    with standard_streams():
        try:
            app(prog_name="emds")
        finally:
            ignore_from_here()
