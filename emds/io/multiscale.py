"""Reading OME-Zarr metadata: versions 0.1 to 0.6, from whoever wrote them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emds.io.axes import AxisNames
from emds.io.place import Spacing, not_understood
from emds.io.stated import transform_names, transform_spacing

SAID_BY = "its OME metadata"
_VERSIONS = ("0.1", "0.2", "0.3", "0.4", "0.5", "0.6")
# Where the axes of the array are not those of the image, voxels stand in another order.
_TURNING = (
    "affine", "rotation", "mapAxis", "byDimension", "bijection", "inverseOf", "displacements",
    "coordinates",
)  # fmt: skip


@dataclass(frozen=True)
class Multiscale:
    """What the OME metadata state of one level of an image."""

    names: tuple[AxisNames, ...]
    spacings: tuple[Spacing, ...]
    is_labels: bool


def ome_attributes(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the OME part of a group's attributes, wherever its version puts it."""
    ome = attributes.get("ome", attributes)
    if not isinstance(ome, Mapping):
        raise ValueError("the attribute 'ome' is not a mapping")
    return ome


def level_paths(attributes: Mapping[str, Any], image: int = 0) -> list[str]:
    """Return the arrays of an image of a group, finest first; empty where it has none."""
    listed = ome_attributes(attributes).get("multiscales")
    if not listed or image >= len(listed):
        return []
    return [_level_path(level) for level in listed[image]["datasets"]]


def _level_path(level: Mapping[str, Any]) -> str:
    path = level["path"]
    if not isinstance(path, str) or ".." in path.split("/"):
        raise ValueError(f"{path!r} is no path of an array in the image's group")
    return path.strip("/")


def image_count(attributes: Mapping[str, Any]) -> int:
    """Return how many images a group's metadata describe; nearly always one or none."""
    return len(ome_attributes(attributes).get("multiscales") or ())


def parse_multiscale(
    attributes: Mapping[str, Any], level_index: int, ndim: int, image: int = 0
) -> Multiscale:
    """Read one level of an image of a group's OME metadata.

    Parameters
    ----------
    attributes : mapping
        Attributes of the group.
    level_index : int
        0 is the finest.
    ndim : int
        Number of axes of its array: versions before 0.3 name none.
    image : int
        Which image of the group.

    Raises
    ------
    KeyError, TypeError, ValueError, IndexError, AttributeError
        If the metadata is malformed, of an unknown version, or turns the image.
    """
    ome = ome_attributes(attributes)
    content = ome["multiscales"][image]
    version = str(ome.get("version") or content.get("version") or "")
    _check_version(version)
    level = content["datasets"][level_index]
    system, further = _axes(content, level)
    entries = [entry if isinstance(entry, Mapping) else {"name": entry} for entry in system]
    if version.startswith("0.6") and not entries:
        raise ValueError("no coordinate system names the axes")
    names = [AxisNames(SAID_BY, [e["name"] for e in entries], [e.get("type") for e in entries])]
    names = names if entries else []
    units = [_unit(entry) for entry in entries] or [None] * ndim
    if len(units) != ndim:
        raise ValueError(f"{len(units)} axes are named, the array has {ndim}")
    spacings = []
    if "transform" in level:  # COSEM's way
        names += transform_names(level["transform"])
        spacings.append(transform_spacing(level["transform"], ndim))
    steps = [*(level.get("coordinateTransformations") or []), *further]
    if steps or not spacings:
        spacings.append(_spacing(steps, units, ndim))
    if level_index and _says_nothing(content, ndim):
        # A coarser level of an image whose voxels are counted: its scale is only a ratio.
        counted = ["voxel"] * ndim
        last = spacings[-1]
        spacings[-1] = Spacing(SAID_BY, last.scale, last.shift, counted, counted)
    return Multiscale(tuple(names), tuple(spacings), "image-label" in ome)


def _check_version(version: str) -> None:
    known = any(version == v or version.startswith((f"{v}.", f"{v}-")) for v in _VERSIONS)
    if version and not known:
        raise ValueError(
            f"OME-Zarr version {version!r} is not read, {_VERSIONS[0]} to {_VERSIONS[-1]} are"
        )


def _axes(content: Mapping[str, Any], level: Mapping[str, Any]) -> tuple[Sequence[Any], list[Any]]:
    """Return the axes of the image, and the transformations that all levels share.

    Since 0.6 the axes stand in coordinate systems, of which the levels name theirs; what is
    shared leads from there to others, and does not count.
    """
    systems = content.get("coordinateSystems")
    if not systems:
        return content.get("axes") or (), list(content.get("coordinateTransformations") or [])
    targets = {_name_of(step.get("output")) for step in level["coordinateTransformations"]}
    by_name = {system["name"]: system["axes"] for system in systems}
    if targets == {None} and len(by_name) == 1:
        targets = set(by_name)
    if len(targets) != 1 or not targets <= by_name.keys():
        raise ValueError(
            f"the level {level['path']!r} must lead to one of the coordinate systems "
            f"{list(by_name)}, not to {sorted(map(str, targets))}"
        )
    return by_name[targets.pop()], []


def _name_of(output: Any) -> Any:
    return output.get("name") if isinstance(output, Mapping) else output


def _unit(entry: Mapping[str, Any]) -> str | None:
    unit = entry.get("unit")
    return str(unit) if unit else None


def _spacing(steps: Sequence[Mapping[str, Any]], units: list[str | None], ndim: int) -> Spacing:
    scale, shift = [1.0] * ndim, [0.0] * ndim
    kinds: list[str] = []
    for step in _unfolded(steps):
        kind = str(step.get("type"))
        factors, moves = _step(step, ndim)
        if factors is None or moves is None:
            problem = f"{SAID_BY} holds a transformation {kind!r} that emds does not know"
            if kind in ("scale", "translation"):
                problem = f"{SAID_BY} holds a {kind} without numbers"
            return not_understood(SAID_BY, problem, ndim)
        kinds.append(kind)
        scale = [a * b for a, b in zip(scale, factors, strict=True)]
        shift = [a * b + c for a, b, c in zip(shift, factors, moves, strict=True)]
    if not {"scale", "affine"} & set(kinds):  # the identity is what holds without any
        return Spacing(SAID_BY, [None] * ndim, shift, units, units, f"{SAID_BY} states no scale")
    return Spacing(SAID_BY, scale, shift, units, units)


def _unfolded(steps: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Replace sequences by what they consist of."""
    flat: list[Mapping[str, Any]] = []
    for step in steps:
        inner = step.get("transformations") if step.get("type") == "sequence" else None
        flat += [step] if inner is None else _unfolded(inner)
    return flat


def _step(step: Mapping[str, Any], ndim: int) -> tuple[list[float] | None, list[float] | None]:
    """Return the factor and the move per axis of one transformation; None if it is unknown."""
    kind = step.get("type")
    factors, moves = [1.0] * ndim, [0.0] * ndim
    if kind == "affine":
        return _diagonal(step.get("affine"), ndim)
    if kind == "mapAxis" and list(step.get("mapAxis") or ()) == list(range(ndim)):
        return factors, moves
    if kind in _TURNING:
        raise ValueError(
            f"a transformation of type {kind!r} turns or bends the image, which emds does not do"
        )
    if kind == "identity":
        return factors, moves
    if kind == "scale" and "scale" in step:
        return _numbers(step["scale"], ndim), moves
    if kind == "translation" and "translation" in step:
        return factors, _numbers(step["translation"], ndim)
    return None, None


def _diagonal(matrix: Any, ndim: int) -> tuple[list[float], list[float]]:
    """Read an affine matrix that only scales and moves."""
    if isinstance(matrix, list) and not any(isinstance(row, list) for row in matrix):
        width = ndim + 1
        matrix = [matrix[i * width : (i + 1) * width] for i in range(len(matrix) // width)]
    rows = [_numbers(row, ndim + 1) for row in (matrix or ())][:ndim]
    if len(rows) != ndim or any(
        value for i, row in enumerate(rows) for j, value in enumerate(row[:-1]) if i != j
    ):
        raise ValueError(
            "a transformation of type 'affine' turns the image, which emds does not do"
        )
    return [row[i] for i, row in enumerate(rows)], [row[-1] for row in rows]


def _says_nothing(content: Mapping[str, Any], ndim: int) -> bool:
    """Say whether the finest level has no unit and a scale of 1."""
    finest = content["datasets"][0]
    system, further = _axes(content, finest)
    if any(isinstance(entry, Mapping) and entry.get("unit") for entry in system):
        return False
    steps = [*(finest.get("coordinateTransformations") or []), *further]
    return set(_spacing(steps, [None] * ndim, ndim).scale) <= {1.0}


def _numbers(values: Sequence[Any], length: int) -> list[float]:
    numbers = [float(value) for value in values]
    if len(numbers) != length or not all(map(math.isfinite, numbers)):
        raise ValueError(f"{values} must be {length} finite numbers")
    return numbers
