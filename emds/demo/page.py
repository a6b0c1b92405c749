"""The demo's result as one HTML page that needs nothing else to be shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emds.demo.overlay import overlay_labels, overlay_truth
from emds.demo.png import data_uri
from emds.files import write_text


@dataclass(frozen=True, slots=True)
class Panels:
    """One section, from the clean image to the truth; every array is (Y, X).

    Attributes
    ----------
    z : int
        Which section.
    raw, noisy, denoised : (Y, X) uint8
        Images.
    labels, truth : (Y, X) int
        Ids of the segmentation and of the ground truth.
    """

    z: int
    raw: NDArray[np.uint8]
    noisy: NDArray[np.uint8]
    denoised: NDArray[np.uint8]
    labels: NDArray[Any]
    truth: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Measure:
    """A number of the report, with its value on the noisy input where that has one."""

    name: str
    before: float | None
    after: float | None
    unit: str
    meaning: str


@dataclass(frozen=True, slots=True)
class Step:
    """What was done, the command that does the same, and how long it took."""

    what: str
    command: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Account:
    """All that the page says in words and numbers.

    Attributes
    ----------
    summary : str
        What the volume and the noise are.
    image, segmentation : sequence of Measure
        Scores of the denoised image, and of the labels.
    how_scored : str
        Protocol and convention of the segmentation scores.
    steps : sequence of Step
        In order.
    facts : mapping of str to str
        Name and value: checkpoint, seed, machine.
    """

    summary: str
    image: Sequence[Measure]
    segmentation: Sequence[Measure]
    how_scored: str
    steps: Sequence[Step]
    facts: Mapping[str, str]


TITLE = "<title>emds demo</title>"
STYLE = """
:root { color-scheme: light dark; --ink: #1b1c1e; --soft: #62666d; --line: #d9dbdf;
  --paper: #fdfdfc; --tint: #f2f3f4; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e6e3; --soft: #9a9ea6; --line: #383b40;
  --paper: #161719; --tint: #212326; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; }
main { max-width: 96rem; margin: 0 auto; padding: 2.5rem clamp(1rem, 4vw, 3.5rem) 4rem; }
h1 { font-size: 1.75rem; line-height: 1.2; font-weight: 600; letter-spacing: -0.01em;
  margin: 0 0 0.6rem; }
h2 { font-size: 1.1rem; font-weight: 600; margin: 2.75rem 0 0.5rem; }
p { max-width: 44rem; margin: 0 0 0.8rem; }
.soft, figcaption, caption { color: var(--soft); }
.section { display: grid; grid-template-columns: repeat(5, minmax(0, 1fr)); gap: 0.75rem;
  margin: 0.6rem 0 1.6rem; }
h3 { font-size: 0.9rem; font-weight: 600; margin: 1.2rem 0 0; }
figure { margin: 0; }
figure img { display: block; width: 100%; height: auto; border-radius: 3px;
  background: var(--tint); }
figcaption { font-size: 0.85rem; padding-top: 0.3rem; }
p.soft { font-size: 0.85rem; margin-top: 0.4rem; }
.key { list-style: none; display: flex; flex-wrap: wrap; gap: 0.3rem 1.4rem; margin: 0; padding: 0;
  font-size: 0.85rem; color: var(--soft); }
.key span { display: inline-block; width: 1.5rem; height: 0.3rem; border: 1px solid var(--soft);
  margin-right: 0.45rem; vertical-align: middle; }
.tables { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 30rem), 1fr));
  gap: 0 3.5rem; align-items: start; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: 0.92rem; margin: 0.3rem 0 1rem; }
caption { text-align: left; font-size: 0.85rem; padding-bottom: 0.4rem; }
th, td { text-align: left; padding: 0.35rem 1.2rem 0.35rem 0; vertical-align: baseline;
  border-bottom: 1px solid var(--line); }
th { font-weight: 500; }
thead th { color: var(--soft); font-size: 0.85rem; }
.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.after { font-weight: 600; }
code { font: 0.88em/1.5 ui-monospace, "SF Mono", Menlo, Consolas, monospace; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.3rem 1.5rem; margin: 0;
  font-size: 0.92rem; max-width: 60rem; }
dt { color: var(--soft); } dd { margin: 0; overflow-wrap: anywhere; }
@media (max-width: 56rem) { .section { grid-template-columns: repeat(2, minmax(0, 1fr)); } }
"""


def _label_key() -> str:
    lines = (
        ("#ffffff", "boundary that is in the truth"),
        ("#ffc400", "boundary that is not: a neurite was split"),
        ("#ff3030", "true boundary that is missing: neurites were merged"),
    )
    keys = "".join(
        f'<li><span style="background:{colour}"></span>{text}</li>' for colour, text in lines
    )
    return (
        f'<ul class="key">{keys}</ul>\n'
        '<p class="soft">A segment has the colour of the true neurite it was matched to, by most '
        "shared pixels, one to one; a segment left over is grey.</p>"
    )


LABEL_KEY = _label_key()
"""What the colours of `emds.demo.overlay` mean, as HTML."""


def write_page(path: Path, panels: Sequence[Panels], account: Account) -> None:
    """Write the page: images as data URIs, style inline, no script, nothing from elsewhere.

    Parameters
    ----------
    path : Path
        The HTML file; replaced if it is there.
    panels : sequence of Panels
        The sections to show.
    account : Account
        Words and numbers.
    """
    body = "\n".join(
        [
            "<h1>From a noisy volume to neurons</h1>",
            f"<p>{escape(account.summary)}</p>",
            *_sections(panels),
            "<h2>How good it is</h2>",
            '<div class="tables">',
            _image_table(account.image),
            _segmentation_table(account.segmentation, account.how_scored),
            "</div>",
            "<h2>What was done</h2>",
            _step_table(account.steps),
            "<h2>With what</h2>",
            "<dl>",
            *(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in account.facts.items()),
            "</dl>",
        ]
    )
    html = (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"{TITLE}\n<style>{STYLE}</style>\n</head>\n"
        f"<body>\n<main>\n{body}\n</main>\n</body>\n</html>\n"
    )
    write_text(path, html)


def show_number(value: float | None) -> str:
    """Write a measure as the page does: four significant digits; None is infinite.

    Examples
    --------
    >>> [show_number(value) for value in (26.2149, 0.71828, 0.012345, 0.0, None)]
    ['26.21', '0.7183', '0.01235', '0', '∞']
    """
    return "∞" if value is None else f"{value:#.4g}" if value else "0"


def _sections(panels: Sequence[Panels]) -> list[str]:
    parts = []
    for panel in panels:
        parts += [f"<h3>Section {panel.z}</h3>", '<div class="section">']
        parts += [
            f'<figure><img src="{data_uri(image)}" alt="{escape(alt)}" '
            f'width="{image.shape[1]}" height="{image.shape[0]}">'
            f"<figcaption>{caption}</figcaption></figure>"
            for caption, image, alt in _images(panel)
        ]
        parts.append("</div>")
    parts.append(LABEL_KEY)
    return parts


def _images(panel: Panels) -> list[tuple[str, NDArray[np.uint8], str]]:
    where = f"section {panel.z}"
    segments, neurites = (len(np.unique(ids[ids != 0])) for ids in (panel.labels, panel.truth))
    return [
        ("raw", panel.raw, f"Clean image, {where}: neurites with dark membranes."),
        ("noisy", panel.noisy, f"The same with simulated noise, {where}."),
        ("denoised", panel.denoised, f"The image that emds recovered, {where}."),
        (
            "labels",
            overlay_labels(panel.denoised, panel.labels, panel.truth),
            f"{segments} segments found by emds over the denoised image, {where}.",
        ),
        (
            "truth",
            overlay_truth(panel.raw, panel.truth),
            f"{neurites} true neurites over the clean image, {where}.",
        ),
    ]


def _image_table(measures: Sequence[Measure]) -> str:
    rows = [
        f'<tr><th scope="row">{escape(m.name)}</th>'
        f'<td class="number">{_cell(m.before, m.unit)}</td>'
        f'<td class="number after">{_cell(m.after, m.unit)}</td>'
        f'<td class="soft">{escape(m.meaning)}</td></tr>'
        for m in measures
    ]
    return _table(
        "Image, compared with the clean one",
        ("", "noisy", "denoised", ""),
        (1, 2),
        rows,
    )


def _segmentation_table(measures: Sequence[Measure], how_scored: str) -> str:
    rows = [
        f'<tr><th scope="row">{escape(m.name)}</th>'
        f'<td class="number after">{_cell(m.after, m.unit)}</td>'
        f'<td class="soft">{escape(m.meaning)}</td></tr>'
        for m in measures
    ]
    return _table(how_scored, ("", "labels", ""), (1,), rows)


def _step_table(steps: Sequence[Step]) -> str:
    rows = [
        f'<tr><th scope="row">{escape(step.what)}</th>'
        f"<td><code>{escape(step.command)}</code></td>"
        f'<td class="number">{step.seconds:.1f} s</td></tr>'
        for step in steps
    ]
    total = sum(step.seconds for step in steps)
    rows.append(f'<tr><th scope="row">All</th><td></td><td class="number">{total:.1f} s</td></tr>')
    return _table(
        "The same commands, typed in the folder of this page, give the same files "
        "(with --overwrite, since these are there).",
        ("", "command", "time"),
        (2,),
        rows,
    )


def _table(caption: str, heads: Sequence[str], numbers: Sequence[int], rows: list[str]) -> str:
    head = "".join(
        f'<th scope="col"{" class=number" if i in numbers else ""}>{escape(text)}</th>'
        if text
        else "<td></td>"
        for i, text in enumerate(heads)
    )
    return (
        f'<div class="wide"><table><caption>{escape(caption)}</caption>'
        f"<thead><tr>{head}</tr></thead><tbody>{''.join(rows)}</tbody></table></div>"
    )


def _cell(value: float | None, unit: str) -> str:
    return f"{show_number(value)}&nbsp;{unit}" if unit else show_number(value)
