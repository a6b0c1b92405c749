"""The results as tables for a terminal or a page, and as one flat CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from emds.files import write_text
from emds.stages.reproduce.results import REFERENCE, Difference, Line, Measure, Results

_NAMES = {
    "dn_only": "DN-Only",
    "seg_only": "SEG-Only",
    "seg_clean": "SEG on clean images",
    "dms": "DMS",
    "sequential": "Sequential",
    "joint": "Joint",
    "joint_balanced": "Joint, balanced",
    "wo_dn2seg": "w/o DN to SEG",
    "wo_seg2dn": "w/o SEG to DN",
    "wo_seg2dn_fair": "w/o SEG to DN, fair",
    "joint_linear": "Joint, linear",
    "joint_cat": "Joint, concatenated",
    "joint_detach": "Joint, detached",
    "dn_deep": "DN, as deep as joint",
}

_CSV_HEADER = (
    "table",
    "dataset",
    "noise",
    "networks",
    "recipe",
    "blocks",
    "measure",
    "seeds",
    "mean",
    "half_width_95",
    "paper",
    "sources",
)
# Heading, measure, digits, and which of the paper's figures belongs beside, if one does.
_OURS = (
    ("PSNR", "psnr", 2, "psnr"),
    ("SSIM", "ssim", 3, "ssim"),
    ("VOI p.", "paper.voi", 3, "voi"),
    ("ARAND p.", "paper.arand", 3, "arand"),
    ("VOI", "strict.voi", 3, ""),
    ("ARAND", "strict.arand", 3, ""),
)
PAPER_COLUMN = "paper"
"""Heading of the paper's figure for the measure before it."""

_DIFFERENCES = (("PSNR", "psnr", 2), ("VOI", "strict.voi", 3), ("ARAND", "strict.arand", 3))


@dataclass(frozen=True, slots=True)
class Table:
    """Text cells under a title; `flush` says for each column whether it is ``l`` or ``r``."""

    title: str
    flush: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def name_of(recipe: str) -> str:
    """Return a recipe as the paper calls it."""
    return _NAMES[recipe]


def all_tables(results: Results) -> list[Table]:
    """Return ours beside the paper's for every block of lines, then the differences."""
    groups: dict[str, list[Line]] = {}
    for line in results.lines:
        groups.setdefault(_title(line), []).append(line)
    compared: dict[str, list[Difference]] = {}
    for one in results.differences:
        compared.setdefault(_setting(one.dataset, one.noise, one.pair, one.blocks), []).append(one)
    return [
        *(_line_table(title, lines) for title, lines in groups.items()),
        *(_difference_table(title, found) for title, found in compared.items()),
    ]


def write_csv(path: Path, results: Results) -> None:
    """Write one line for each figure, whole or not at all; empty cells are unknown."""
    with io.StringIO(newline="") as file:
        writer = csv.writer(file)
        writer.writerow(_CSV_HEADER)
        for line in results.lines:
            row = line.row
            place = (row.table, row.dataset, row.noise, "+".join(row.pair), row.recipe, row.blocks)
            for name, measure in line.measures.items():
                paper = line.paper.get(name.removeprefix("paper."), "")
                spread = "" if measure.half_width is None else measure.half_width
                found = (len(line.seeds), measure.mean, spread, paper, " ".join(line.sources))
                writer.writerow((*place, name, *found))
        write_text(path, file.getvalue())


def show(measure: Measure | None, digits: int) -> str:
    """Write a mean with its interval over seeds.

    Examples
    --------
    >>> show(Measure(26.2149, 0.0312, (26.2, 26.3)), 2), show(Measure(1.5, None, (1.5,)), 3)
    ('26.21 ± 0.03', '1.500')
    """
    if measure is None:
        return ""
    spread = "" if measure.half_width is None else f" ± {measure.half_width:.{digits}f}"
    return f"{measure.mean:.{digits}f}{spread}"


def _title(line: Line) -> str:
    row = line.row
    beside = "" if row.paper_dataset == row.dataset else f"; the paper's are of {row.paper_dataset}"
    return f"Table {row.table}: {_setting(row.dataset, row.noise, row.pair, row.blocks)}{beside}"


def _setting(dataset: str, noise: str, pair: Sequence[str], blocks: bool) -> str:
    return f"{dataset}, {noise}, {'+'.join(pair)}{', in blocks' if blocks else ''}"


def _line_table(title: str, lines: Sequence[Line]) -> Table:
    rows: list[tuple[str, ...]] = []
    for line in lines:
        found: list[str] = []
        for _, key, digits, beside in _OURS:
            found.append(show(line.measures.get(key), digits))
            if beside:
                paper = line.paper.get(beside)
                found.append("" if paper is None else f"{paper:.3f}")
        spent = [_minutes(line, name) for name in ("train_seconds", "train_cpu_seconds")]
        count = str(len(line.seeds)) if line.seeds else "waiting"
        rows.append((name_of(line.row.recipe), count, *found, *spent))
    names = [(name, *((PAPER_COLUMN,) if beside else ())) for name, _, _, beside in _OURS]
    columns = ("system", "seeds", *chain.from_iterable(names), "min", "CPU min")
    return Table(title, "l" + "r" * (len(columns) - 1), columns, tuple(rows))


def _minutes(line: Line, name: str) -> str:
    spent = line.measures.get(name)
    return "" if spent is None else f"{spent.mean / 60:.1f}"


def _difference_table(title: str, found: Sequence[Difference]) -> Table:
    others = dict.fromkeys(one.other for one in found)
    known = {(one.other, one.measure): one for one in found}
    rows = []
    for other in others:
        cells = [_show_difference(known.get((other, key)), d) for _, key, d in _DIFFERENCES]
        seeds = max(one.seeds for one in found if one.other == other)
        rows.append((f"− {name_of(other)}", str(seeds), *cells))
    columns = (name_of(REFERENCE), "seeds", *(f"Δ {name}" for name, _, _ in _DIFFERENCES))
    title = f"{title}: {name_of(REFERENCE)} minus the others [95 % over sections] ± over seeds"
    return Table(title, "l" + "r" * (len(columns) - 1), columns, tuple(rows))


def _show_difference(one: Difference | None, digits: int) -> str:
    if one is None:
        return ""
    spread = "" if one.half_width is None else f" ± {one.half_width:.{digits}f}"
    return f"{one.mean:+.{digits}f} [{one.low:+.{digits}f}, {one.high:+.{digits}f}]{spread}"
