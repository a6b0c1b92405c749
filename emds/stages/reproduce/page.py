"""The results as one HTML page: what each system makes of the same sections, and the tables."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emds.demo.overlay import overlay_labels, overlay_truth
from emds.demo.page import LABEL_KEY, STYLE
from emds.demo.png import data_uri
from emds.files import write_text
from emds.io import open_volume
from emds.stages.reproduce.plan import Row
from emds.stages.reproduce.results import Line, Results
from emds.stages.reproduce.tables import PAPER_COLUMN, Table, all_tables, name_of
from emds.stages.reproduce.work import shown_boxes
from emds.stages.reproduce.workspace import Workspace

_STYLE = """
.figure { display: grid; gap: 0.75rem; margin: 0.6rem 0 1.6rem; align-items: start; }
.last { position: sticky; right: 0; background: var(--paper); } /* the truth stays in sight */
table { font-size: 0.85rem; } th, td { padding-right: 0.9rem; }
caption { color: var(--ink); font-weight: 500; padding-top: 1.4rem; }
td.soft { color: var(--soft); } a { color: inherit; }
details { margin: 0.4rem 0; } summary { cursor: pointer; }
pre { overflow-x: auto; font-size: 0.8rem; }
td, th { white-space: nowrap; }
"""

Cell = tuple[str, NDArray[np.uint8] | None]
"""An image of a figure, or None to leave its place empty, and its name."""

_SHOWN = ("image", "labels")

_HOW = (
    "Under paper stands the paper's figure for the measure before it. "
    "VOI and ARAND marked p.: the paper's protocol, 3-D ids and the watershed confined to the "
    "ground truth's foreground, counted as scikit-image counts. Without a mark: protocol strict, "
    "section by section, parts that touch nowhere are separate, no help from the ground truth. "
    "± is half a 95 % interval over seeds (Student's t); brackets are 95 % intervals over "
    "sections (paired circular block bootstrap, blocks of 10 or a third of the sections). "
    "SSIM with the paper's uniform 7 × 7 window. min: minutes of training by the clock."
)


def write_page(path: Path, results: Results, place: Workspace) -> None:
    """Write the page whole or not at all: images as data URIs, no script, nothing from elsewhere.

    Parameters
    ----------
    path : Path
        The HTML file; replaced if it is there.
    results : Results
        What is known so far.
    place : Workspace
        Where the shown sections are.
    """
    body = [
        "<h1>The systems compared</h1>",
        f"<p>{escape(_summary(results, place))}</p>",
        *(part for group in _groups(results) for part in _figures(group, place)),
        "<h2>Tables</h2>",
        f'<p class="soft">{_HOW}</p>',
        *(_table(table) for table in all_tables(results)),
        "<h2>Where every figure comes from</h2>",
        *_sources(results, place),
    ]
    text = "\n".join(body)
    html = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>emds reproduce</title>\n<style>{STYLE}{_STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{text}\n</main>\n</body>\n</html>\n"
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


def _figures(lines: Sequence[Line], place: Workspace) -> Iterator[str]:
    """Yield the figures of a group: images from noisy to clean, below each its labels."""
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
    yield f"<h2>{escape(_heading(row))}</h2>"
    for i, box in enumerate(boxes):
        yield f"<h3>Test section {box.offset[0]}</h3>"
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
        yield _figure([above, below] if has_labels else [above])
    yield LABEL_KEY


def _examples(line: Line, place: Workspace) -> dict[str, NDArray[Any]]:
    path = place.examples(line.row.system(line.seeds[0]), line.row.blocks)
    with np.load(path, allow_pickle=False) as archive:
        return {name: archive[name] for name in archive.files}


def _heading(row: Row) -> str:
    how = ", tested in blocks" if row.blocks else ""
    return f"{row.dataset}, {row.noise}, {'+'.join(row.pair)}{how}"


def _figure(rows: Sequence[Sequence[Cell]]) -> str:
    """Show rows of equally many images, one below the other, a name under each."""
    widths = f"grid-template-columns: repeat({len(rows[0])}, minmax(6.5rem, 16rem))"
    cells = "".join(_cell(*cell, last=cell is row[-1]) for row in rows for cell in row)
    return f'<div class="wide"><div class="figure" style="{widths}">{cells}</div></div>'


def _cell(name: str, image: NDArray[np.uint8] | None, *, last: bool) -> str:
    if image is None:
        return "<div></div>"
    kind = ' class="last"' if last else ""
    return (
        f'<figure{kind}><img src="{data_uri(image)}" alt="{escape(name)}">'
        f"<figcaption>{escape(name)}</figcaption></figure>"
    )


def _table(table: Table) -> str:
    kinds = ["number" if side == "r" else "" for side in table.flush]
    kinds = [
        f"{kind} soft" if name == PAPER_COLUMN else kind
        for kind, name in zip(kinds, table.columns, strict=True)
    ]
    head = "".join(
        f'<th scope="col" class="{kind}">{escape(name)}</th>'
        for name, kind in zip(table.columns, kinds, strict=True)
    )
    rows = "".join(
        "<tr>"
        + "".join(
            f'<td class="{kind}">{escape(cell)}</td>' for cell, kind in zip(row, kinds, strict=True)
        )
        + "</tr>"
        for row in table.rows
    )
    return (
        f'<div class="wide"><table><caption>{escape(table.title)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>"
    )


def _sources(results: Results, place: Workspace) -> Iterator[str]:
    for source in dict.fromkeys(source for line in results.lines for source in line.sources):
        content = json.loads((place.out / source).read_text(encoding="utf-8"))
        commands = escape("\n".join(content["commands"]))
        yield (
            f'<details><summary><a href="{escape(source)}"><code>{escape(source)}</code></a>'
            f"</summary><pre>{commands}</pre></details>"
        )
