"""Opening what the user named, cut to the region the user asked for."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from typing import TYPE_CHECKING, Literal

import typer

from emds.cli.console import Console
from emds.errors import UsageError
from emds.geometry import Roi

if TYPE_CHECKING:
    from emds.io.volume import Volume


def parse_roi(text: str | None, volume: Volume) -> Roi | None:
    """Read ``--roi`` against the volume it is meant for; None stays None."""
    return None if text is None else Roi.parse(text, volume.shape)


def refuse_given(ctx: typer.Context, reason: str, names: Sequence[str]) -> None:
    """Raise `UsageError` if one of these parameters stands on the command line."""
    sources = {name: ctx.get_parameter_source(name) for name in names}
    given = [name for name, source in sources.items() if source and source.name == "COMMANDLINE"]
    if given:
        flags = ", ".join("--" + name.replace("_", "-") for name in given)
        raise UsageError(f"{reason}: leave out {flags}.")


def note_intensity(console: Console, asked: object, source: Volume, roi: Roi | None) -> None:
    """Say which grey values ``--intensity auto`` stands for."""
    if asked == "auto":
        from emds.stages.grey_values import auto_range

        low, high = auto_range(source, roi or source.roi)
        console.note(f"--intensity auto is --intensity {low:g} {high:g} here")


def open_mask(location: str | None) -> AbstractContextManager[Volume | None]:
    """Open the labels that serve as a mask, if there are any."""
    from emds.io import open_volume

    return nullcontext() if location is None else open_volume(location, role="labels")


def open_pair(
    stack: ExitStack,
    judged: str | None,
    reference: str | None,
    role: Literal["raw", "labels"],
    roi: str | None,
) -> tuple[Volume | None, Volume | None]:
    """Open a result and what it is judged by, each if given, until `stack` is left.

    `roi` is a box of the reference. A result that has the shape of that box was made from it
    and is taken whole; any other is cut likewise.
    """
    from emds.io import open_volume
    from emds.io.volume import CroppedVolume

    result, truth = (
        stack.enter_context(open_volume(place, role=role)) if place is not None else None
        for place in (judged, reference)
    )
    if roi is None or result is None or truth is None:
        return result, truth
    box = Roi.parse(roi, truth.shape)
    if result.shape != box.shape:
        result = CroppedVolume(result, Roi.parse(roi, result.shape))
    return result, CroppedVolume(truth, box)
