"""The demo's result as one HTML page that needs nothing else to be shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emds.files import write_text
from emds.pages.overlay import overlay_labels, overlay_truth
from emds.pages.render import render


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
"""By which a page of the demo is known."""


def write_page(path: Path, panels: Sequence[Panels], account: Account) -> None:
    """Write the page.

    Parameters
    ----------
    path : Path
        The HTML file; replaced if it is there.
    panels : sequence of Panels
        The sections to show.
    account : Account
        Words and numbers.
    """
    sections = [(panel.z, _images(panel)) for panel in panels]
    html = render("demo.html", title="emds demo", sections=sections, account=account)
    write_text(path, html)


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
