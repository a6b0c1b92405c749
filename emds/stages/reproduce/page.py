"""The results as one HTML page: what each system makes of the same sections, and the tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emds.files import write_text
from emds.io import open_volume
from emds.networks.archive import read_arrays
from emds.pages.overlay import overlay_labels, overlay_truth
from emds.pages.render import render
from emds.stages.reproduce.plan import Row
from emds.stages.reproduce.records import read_record
from emds.stages.reproduce.results import Line, Results
from emds.stages.reproduce.tables import PAPER_COLUMN, all_tables, name_of
from emds.stages.reproduce.work import shown_boxes
from emds.stages.reproduce.workspace import Workspace

Cell = tuple[str, NDArray[np.uint8] | None]
"""An image of a figure, or None to leave its place empty, and its name."""

Figure = tuple[int, list[list[Cell]]]
"""The section, and rows of equally many images from noisy to clean, below each its labels."""

_SHOWN = ("image", "labels")


def write_page(path: Path, results: Results, place: Workspace) -> None:
    """Write the page whole or not at all.

    Parameters
    ----------
    path : Path
        The HTML file; replaced if it is there.
    results : Results
        What is known so far.
    place : Workspace
        Where the shown sections are.
    """
    html = render(
        "reproduce.html",
        title="emds reproduce",
        summary=_summary(results, place),
        groups=[_group(lines, place) for lines in _groups(results)],
        tables=all_tables(results),
        paper_column=PAPER_COLUMN,
        sources=_sources(results, place),
    )
    write_text(path, html)


def _summary(results: Results, place: Workspace) -> str:
    settings = place.settings
    done = sum(bool(line.seeds) for line in results.lines)
    steps = "the preset's" if settings.steps is None else f"{settings.steps:,}"
    more = f", with {', '.join(settings.overrides)}" if settings.overrides else ""
    return (
        f"{done} of {len(results.lines)} lines of the tables are measured. Preset "
        f"{settings.preset}{more}; every training has {steps} steps, so every trained network "
        "has the same budget. Checkpoints were chosen on validation sections, figures are of test "
        "sections."
    )


def _groups(results: Results) -> Iterator[list[Line]]:
    """Yield the measured lines that show the same sections, each recipe once."""
    groups: dict[tuple[Any, ...], dict[str, Line]] = {}
    for line in results.lines:
        row = line.row
        if line.seeds:
            key = (row.dataset, row.noise, row.pair, row.blocks)
            groups.setdefault(key, {}).setdefault(row.recipe, line)
    for lines in groups.values():
        yield list(lines.values())


def _group(lines: Sequence[Line], place: Workspace) -> tuple[str, list[Figure]]:
    """Return the heading and the figures of a group."""
    row = lines[0].row
    with (
        open_volume(place.test_data(row.dataset, "clean"), role="raw") as clean_volume,
        open_volume(place.test_data(row.dataset, "truth"), role="labels") as truth_volume,
    ):
        boxes = shown_boxes(clean_volume.shape)
        clean = [clean_volume.read(box)[0] for box in boxes]
        truth = [truth_volume.read(box)[0] for box in boxes]
    noisy_path = place.test_data(row.dataset, row.noise)
    noisy = None
    if noisy_path.exists():
        with open_volume(noisy_path, role="raw") as volume:
            noisy = [volume.read(box)[0] for box in boxes]
    made = {line.row.recipe: _examples(line, place) for line in lines}
    figures: list[Figure] = []
    for i, box in enumerate(boxes):
        above: list[Cell] = [] if noisy is None else [("Noisy", noisy[i])]
        below: list[Cell] = [] if noisy is None else [("", None)]
        shown = clean if noisy is None else noisy  # where a system makes no image of its own
        for recipe, arrays in made.items():
            image, labels = (arrays[key][i] if key in arrays else None for key in _SHOWN)
            if labels is not None:
                labels = overlay_labels(shown[i] if image is None else image, labels, truth[i])
            above.append((name_of(recipe), image))
            below.append((name_of(recipe), labels))
        has_labels = any(labels is not None for _, labels in below)
        above.append(("Clean", clean[i]))
        below.append(("Ground truth", overlay_truth(clean[i], truth[i])))
        figures.append((box.offset[0], [above, below] if has_labels else [above]))
    return _heading(row), figures


def _examples(line: Line, place: Workspace) -> dict[str, NDArray[Any]]:
    path = place.examples(line.row.system(line.seeds[0]), line.row.blocks)
    return read_arrays(path)


def _heading(row: Row) -> str:
    how = ", tested in blocks" if row.blocks else ""
    return f"{row.dataset}, {row.noise}, {'+'.join(row.pair)}{how}"


def _sources(results: Results, place: Workspace) -> list[tuple[str, list[str]]]:
    """Return each file of scores, and the commands that give the same figures."""
    files = dict.fromkeys(source for line in results.lines for source in line.sources)
    contents = [read_record(place.out / source) for source in files]
    return [(file, content["commands"]) for file, content in zip(files, contents, strict=True)]
