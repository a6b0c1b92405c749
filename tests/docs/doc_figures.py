"""The tables of the documentation, and where their figures are from.

A comment above each table says it, in YAML. `docs/results.md` has many; the simplest is::

    <!-- table
    file: flyem_test.json
    columns: [~, psnr, ssim_wang]
    rows: [noisy, bm3d]
    -->

Every number of a row must be found, rounded as it is printed, among those that its path leads to.

- `rows` has a path for each row, or a list of them. A path is ``FILE:KEY/KEY``; FILE is below
  `docs/results` or `emds/pretrained`, and may be left out where `file` names it. In a list,
  ``step=500&recipe=joint`` picks the member that has these values. ``*`` takes all members, and
  gives the mean and half the 95 % interval (Student's t) of each of their numbers: the members
  are seeds.
- ``{ratio: [PATH, PATH]}``, ``{difference: [PATH, PATH]}`` and ``{count: PATH}`` are computed.
  A number may stand for the second path.
- `columns` has a regular expression for each column, which the rest of the path must match; ``~``
  is a column of labels or settings. By default the first one is.
- ``text: WHY`` instead says that the table holds nothing measured; then no number has decimals.
"""

from __future__ import annotations

import csv
import dataclasses
import json
import math
import re
import statistics
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import yaml
from scipy.stats import t as student

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "docs/results"
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))

_TABLE = re.compile(
    r"(?:<!-- table\n(?P<source>(?:(?!-->).)*?)-->\n\n?)?(?P<table>(?:^\|[^\n]*\n)+)",
    re.MULTILINE | re.DOTALL,
)
_NUMBER = re.compile(
    r"(?<![\w.])(?P<sign>[+−-]?)(?P<digits>\d{1,3}(?:,\d{3})+|\d+)(?P<decimals>\.\d+)?"
    r"(?P<unit> M\b| ?%)?(?![\w.]*[⁰-⁹⁻]|-D\b)"
)
_COMMAND = re.compile(r"\b(python benchmarks/\w+\.py|emds [a-z-]+ )")
_UNITS = {" M": 1e6, "%": 0.01, " %": 0.01, None: 1}
Leaves = list[tuple[str, float]]


@dataclasses.dataclass
class Table:
    """A table, what is said of its source, and the text of the section it stands in."""

    name: str
    source: dict[str, Any] | None
    rows: list[list[str]]
    section: str

    def faults(self) -> list[str]:
        """Say what does not hold."""
        if self.source is None:
            return ["nothing says where its figures are from"]
        if "text" in self.source:
            cells = [cell for row in self.rows for cell in row]
            return [f"{c!r} holds a figure" for c in cells if re.search(r"\d\.\d", _plain(c))]
        faults = self._unnamed()
        if len(self.source["rows"]) != len(self.rows):
            return [*faults, f"{len(self.rows)} rows, {len(self.source['rows'])} sources"]
        for row, origin in zip(self.rows, self.source["rows"], strict=True):
            columns = self.source.get("columns", [None, *[""] * (len(row) - 1)])
            if len(columns) != len(row):
                return [*faults, f"{len(row)} columns, {len(columns)} of the source"]
            leaves = self._leaves(origin)
            for cell, column in zip(row, columns, strict=True):
                if column is not None:
                    found = [value for path, value in leaves if re.search(column, path)]
                    faults += [f"{text} in {row}" for text in missing(cell, found)]
        return faults

    def _unnamed(self) -> list[str]:
        faults = [] if _COMMAND.search(self.section) else ["the section names no command"]
        return faults + [
            f"the section does not name {name}"
            for name in sorted(self._files())
            if name not in self.section
        ]

    def _files(self) -> set[str]:
        assert self.source is not None
        named = re.findall(r"[\w.]+(?=:)", " ".join(_strings(self.source["rows"])))
        return {*named, *filter(None, [self.source.get("file")])}

    def _leaves(self, origin: Any) -> Leaves:
        assert self.source is not None
        origins = origin if isinstance(origin, list) else [origin]
        return [leaf for one in origins for leaf in leaves_of(one, self.source.get("file"))]


def tables(path: Path) -> list[Table]:
    """Find the tables of a page."""
    text = path.read_text(encoding="utf-8")
    found = []
    for match in _TABLE.finditer(text):
        lines = match["table"].splitlines()
        found.append(
            Table(
                name=f"{path.name}: {lines[0][:60]}",
                source=yaml.safe_load(match["source"]) if match["source"] else None,
                rows=[_cells(line) for line in lines[2:]],
                section=_section(text, match.start()),
            )
        )
    return found


def _section(text: str, place: int) -> str:
    """Return what a reader sees under the heading above a place, with its subsections."""
    above = re.compile(r"^#+ ", re.MULTILINE).finditer(text, 0, place)
    start, level = [(match.start(), len(match[0])) for match in above][-1]
    below = re.compile(rf"^#{{1,{level - 1}}} ", re.MULTILINE).search(text, place)
    return re.sub(
        r"<!--.*?-->", "", text[start : below.start() if below else None], flags=re.DOTALL
    )


def missing(cell: str, values: list[float]) -> list[str]:
    """Return the numbers of a cell that none of the values gives when rounded.

    Examples
    --------
    >>> missing("**1.94** (1.20 + 0.74), −3 %", [1.9426, 1.2045, 0.7381, -0.03])
    []
    >>> missing("1.95, 3-D, `0.5`", [1.9426])
    ['1.95']
    """
    lacking = []
    for match in _NUMBER.finditer(_plain(cell)):
        decimals = match["decimals"] or ""
        number = float(match["digits"].replace(",", "") + decimals)
        number = -number if match["sign"] in ("−", "-") else number
        half = 0.5 * 10.0 ** -max(0, len(decimals) - 1) * (1 + 1e-9)
        scales = {1, _UNITS[match["unit"]]}
        fits = (
            abs((value if match["sign"] else abs(value)) / scale - number) <= half
            for value in values
            for scale in scales
        )
        if not any(fits):
            lacking.append(match[0])
    return lacking


def leaves_of(origin: Any, file: str | None) -> Leaves:
    """Return all numbers that a path leads to, by what is left of their paths."""
    if origin is None:
        return []
    if isinstance(origin, dict):
        ((how, paths),) = origin.items()
        if how == "count":
            return [(how, len(_resolve(paths, file)[0]))]
        first, second = (p if isinstance(p, int | float) else _number(p, file) for p in paths)
        return [(how, {"ratio": first / second, "difference": first - second}[how])]
    nodes = _resolve(origin, file)
    if "*" not in origin:
        return list(_flatten(nodes[0]))
    each = [dict(_flatten(node)) for node in nodes]
    found: Leaves = []
    for path in each[0]:
        values = [leaves[path] for leaves in each]
        quantile = float(student.ppf(0.975, len(values) - 1))
        half = quantile * statistics.stdev(values) / math.sqrt(len(values))
        found += [(f"{path}/mean", statistics.mean(values)), (f"{path}/half", half)]
    return found


def intervals(node: Any, path: str = "") -> Iterator[tuple[str, list[float]]]:
    """Find the pairs of bounds below a node of a file of results."""
    for key, value in _members(node):
        if "interval" in str(key) and isinstance(value, list):
            yield f"{path}/{key}", value
        else:
            yield from intervals(value, f"{path}/{key}")


@cache
def load(name: str) -> Any:
    """Read a file of results or what a shipped checkpoint says of itself."""
    folder = RESULTS if (RESULTS / name).exists() else ROOT / "emds/pretrained"
    path = folder / name
    if path.suffix == ".pt":
        from emds.networks.checkpoint import load_checkpoint
        from emds.networks.joint import Architecture

        checkpoint = load_checkpoint(path)
        network = Architecture(**checkpoint.architecture).build()
        parameters = sum(parameter.numel() for parameter in network.parameters())
        return checkpoint.model_dump(exclude={"weights"}) | {"parameters": parameters}
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        # A step may have a line for its loss and one for its validation.
        steps: dict[int, Any] = {}
        for line in map(json.loads, text.splitlines()):
            steps.setdefault(line["step"], {}).update(line)
        return list(steps.values())
    if path.suffix == ".csv":
        return list(csv.DictReader(text.splitlines()))
    return yaml.safe_load(text) if path.suffix == ".yaml" else json.loads(text)


def _resolve(path: str, file: str | None) -> list[Any]:
    name, _, keys = path.rpartition(":")
    nodes = [load(name or str(file))]
    for key in filter(None, keys.split("/")):
        if key == "*":
            nodes = [member for node in nodes for _, member in _members(node)]
        else:
            nodes = [_step(node, key, path) for node in nodes]
    return nodes


def _step(node: Any, key: str, path: str) -> Any:
    if isinstance(node, dict):
        return node[key]
    if "=" not in key:
        return node[int(key)]
    wanted = dict(part.split("=") for part in key.split("&"))
    members = [m for m in node if all(_value(m, k) == v for k, v in wanted.items())]
    assert len(members) == 1, f"{len(members)} members of {path} have {key}"
    return members[0]


def _value(node: Any, dotted: str) -> str:
    for key in dotted.split("."):
        node = node.get(key) if isinstance(node, dict) else None
    return "+".join(map(str, node)) if isinstance(node, list) else str(node)


def _number(path: str, file: str | None) -> float:
    (node,) = _resolve(path, file)
    return float(node)


def _flatten(node: Any, path: str = "") -> Iterator[tuple[str, float]]:
    if isinstance(node, int | float) and not isinstance(node, bool):
        yield path, float(node)
    for key, value in _members(node):
        yield from _flatten(value, f"{path}/{key}" if path else str(key))


def _members(node: Any) -> Iterator[tuple[Any, Any]]:
    if isinstance(node, dict):
        yield from node.items()
    elif isinstance(node, list | tuple):
        yield from enumerate(node)


def _strings(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    for _, value in _members(node):
        yield from _strings(value)


def _plain(cell: str) -> str:
    """Leave out code and the targets of links."""
    return re.sub(r"`[^`]*`|\]\([^)]*\)", "", cell).replace("*", "")


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]
