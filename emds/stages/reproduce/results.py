"""What a plan has found so far: means over seeds, and differences to the joint system."""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from emds.metrics.intervals import section_interval, seed_interval
from emds.stages.reproduce.paper import paper_figures
from emds.stages.reproduce.plan import Pair, Row
from emds.stages.reproduce.records import read_record
from emds.stages.reproduce.workspace import Workspace

REFERENCE = "joint"
"""What every other system is compared with."""

_PROTOCOLS = ("strict", "paper", "released", "volume")
_COMPARED = ("psnr", "ssim", "strict.voi", "strict.arand", "paper.voi", "paper.arand")

Sections = dict[str, dict[int, float]]


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure: its mean over the seeds, and where it comes from.

    Attributes
    ----------
    mean : float
        Over the seeds.
    half_width : float or None
        Of its 95 % interval over seeds; None for one seed.
    values : tuple of float
        One for each seed.
    """

    mean: float
    half_width: float | None
    values: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a table with what was measured.

    Attributes
    ----------
    row : Row
        Which.
    seeds : tuple of int
        Those that are scored.
    measures : mapping of str to Measure
        By name: ``psnr``, ``strict.voi``, ``train_seconds`` and so on.
    paper : mapping of str to float
        What the paper reports.
    sources : tuple of str
        JSON files of the scores, one for each seed, relative to the plan's folder.
    """

    row: Row
    seeds: tuple[int, ...]
    measures: Mapping[str, Measure]
    paper: Mapping[str, float]
    sources: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Difference:
    """The joint system minus another, on the same sections and from the same seeds.

    Attributes
    ----------
    dataset, noise, pair, blocks
        As in `Row`.
    other, measure : str
        Recipe that is compared, and by what.
    mean : float
        Joint minus other.
    low, high : float
        95 % interval over sections (paired block bootstrap), of the mean over the seeds.
    half_width : float or None
        Half the width of the 95 % interval over seeds.
    seeds : int
        Number of seeds that both have.
    """

    dataset: str
    noise: str
    pair: Pair
    blocks: bool
    other: str
    measure: str
    mean: float
    low: float
    high: float
    half_width: float | None
    seeds: int


@dataclass(frozen=True, slots=True)
class Results:
    """All lines and differences that can be given so far."""

    lines: tuple[Line, ...]
    differences: tuple[Difference, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return JSON values."""
        return {
            "lines": [asdict(line) for line in self.lines],
            "differences": [asdict(difference) for difference in self.differences],
        }


def collect(place: Workspace, rows: Sequence[Row], seeds: int) -> Results:
    """Read every score there is of these rows."""
    lines: list[Line] = []
    sections: dict[tuple[str, str, Pair, bool], dict[str, dict[int, Sections]]] = {}
    for row in rows:
        scored = {}
        for seed in range(seeds):
            path = place.scores(row.system(seed), row.blocks)
            if path.is_file():
                scored[seed] = read_record(path)
        paths = [place.scores(row.system(seed), row.blocks) for seed in scored]
        flat = [_flatten(content) | _times(place, row, seed) for seed, content in scored.items()]
        lines.append(
            Line(
                row,
                tuple(scored),
                {name: _measure([one[name] for one in flat]) for name in flat[0]} if flat else {},
                paper_figures(row),
                tuple(path.relative_to(place.out).as_posix() for path in paths),
            )
        )
        group = (row.dataset, row.noise, row.pair, row.blocks)
        by_seed = {seed: _by_section(content) for seed, content in scored.items()}
        sections.setdefault(group, {})[row.recipe] = by_seed
    differences = []
    for (dataset, noise, pair, blocks), recipes in sections.items():
        joint = recipes.get(REFERENCE, {})
        for other, by_seed in recipes.items():
            for measure in _COMPARED if other != REFERENCE else ():
                found = _compare(joint, by_seed, measure)
                if found is not None:
                    place_of = (dataset, noise, pair, blocks, other, measure)
                    differences.append(Difference(*place_of, *found))
    return Results(tuple(lines), tuple(differences))


def _compare(
    joint: Mapping[int, Sections], other: Mapping[int, Sections], measure: str
) -> tuple[float, float, float, float | None, int] | None:
    """Return mean, low, high, half-width over seeds and their number, if both were measured."""
    seeds = [
        seed
        for seed in sorted(joint.keys() & other.keys())
        if measure in joint[seed] and measure in other[seed]
    ]
    if not seeds:
        return None
    shared = [joint[seed][measure].keys() & other[seed][measure].keys() for seed in seeds]
    sections = sorted(set.intersection(*map(set, shared)))
    table = [[joint[s][measure][z] - other[s][measure][z] for z in sections] for s in seeds]
    of_sections = [statistics.fmean(column) for column in zip(*table, strict=True)]
    of_seeds = [statistics.fmean(line) for line in table]
    low, high = section_interval(of_sections)
    return statistics.fmean(of_seeds), low, high, seed_interval(of_seeds), len(seeds)


def _measure(values: list[float]) -> Measure:
    return Measure(statistics.fmean(values), seed_interval(values), tuple(values))


def _flatten(content: Mapping[str, Any]) -> dict[str, float]:
    """Name every figure of a file of scores; an infinite PSNR has none."""
    flat: dict[str, float | None] = {}
    if "image" in content:
        image = content["image"]
        flat |= {"psnr": image["psnr"], "ssim": image["ssim"]["paper"]}
        flat["ssim_wang"] = image["ssim"]["wang"]
    if "coarse" in content:
        flat["coarse_psnr"] = content["coarse"]["psnr"]
    for protocol, report in content.get("segmentation", {}).items():
        for name in ("voi", "voi_split", "voi_merge", "arand"):
            flat[f"{protocol}.{name}"] = report[name]
    return {name: value for name, value in flat.items() if value is not None}


def _by_section(content: Mapping[str, Any]) -> Sections:
    found: Sections = {}
    image: Iterable[Mapping[str, Any]] = content.get("image", {}).get("sections", ())
    for section in image:
        found.setdefault("ssim", {})[section["z"]] = section["ssim"]["paper"]
        if section["psnr"] is not None:
            found.setdefault("psnr", {})[section["z"]] = section["psnr"]
    for protocol, report in content.get("segmentation", {}).items():
        for section in report["sections"]:
            for name in ("voi", "arand"):
                found.setdefault(f"{protocol}.{name}", {})[section["z"]] = section[name]
    return found


def _times(place: Workspace, row: Row, seed: int) -> dict[str, float]:
    record = read_record(place.record(row.system(seed)))
    return {"train_seconds": record["seconds"], "train_cpu_seconds": record["cpu_seconds"]}
