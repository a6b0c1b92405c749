"""What WEBKNOSSOS states of a zarr array, in the file ``datasource-properties.json`` above it.

The array itself names no axes in zarr 2, and they are (c, x, y, z) in most of its data sets.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emds.io.axes import AxisNames
from emds.io.place import Spacing
from emds.io.source import MALFORMED

FILE = "datasource-properties.json"
_ABOVE = 3  # data set, layer and magnification, and one folder more
_LARGEST = 2**24  # bytes


@dataclass(frozen=True)
class OfWebknossos:
    """Statements about one array, and what to tell the user."""

    names: tuple[AxisNames, ...] = ()
    spacings: tuple[Spacing, ...] = ()
    remarks: tuple[str, ...] = ()


def stated_by_webknossos(folder: Path, ndim: int) -> OfWebknossos:
    """Return what a data set of WEBKNOSSOS that holds an array states of it.

    Parameters
    ----------
    folder : Path
        Of the array.
    ndim : int
        Number of its axes.
    """
    folder = folder.absolute()
    for above in folder.parents[:_ABOVE]:
        file = above / FILE
        if not file.is_file():
            continue
        try:
            if file.stat().st_size > _LARGEST:
                raise ValueError(f"it has more than {_LARGEST} bytes")
            content = json.loads(file.read_bytes())
            for mag in _magnifications(content, above):
                if folder.resolve() in mag["folders"]:
                    return _statements(content, mag, ndim)
        except MALFORMED as error:
            line = " ".join(str(error).split())
            remark = f"what {file} states of its axes and its voxel size is unknown: {line:.200}"
            return OfWebknossos(remarks=(remark,))
        return OfWebknossos()
    return OfWebknossos()


def _magnifications(content: Mapping[str, Any], root: Path) -> Iterator[dict[str, Any]]:
    """Yield all magnifications of all layers, each with the folders where it may lie."""
    for layer in content["dataLayers"]:
        for mag in layer.get("mags") or ():
            factors = mag["mag"]
            factors = [factors] * 3 if isinstance(factors, int) else list(factors)
            names = ["-".join(map(str, factors)), *{str(n) for n in factors if set(factors) == {n}}]
            path = mag.get("path")
            paths = [str(path)] if path else [f"{layer['name']}/{name}" for name in names]
            yield {**mag, "mag": factors, "folders": [(root / p).resolve() for p in paths]}


def _statements(content: Mapping[str, Any], mag: Mapping[str, Any], ndim: int) -> OfWebknossos:
    order = mag.get("axisOrder") or {}
    names: list[str | None] = [None] * ndim
    for name, place in order.items():
        names[place] = name
    scale = content.get("scale")
    unit = scale.get("unit") if isinstance(scale, Mapping) else "nm"
    sizes = (scale.get("factor") if isinstance(scale, Mapping) else scale) or ()
    by_axis = {
        axis: float(size) * float(factor)
        for axis, size, factor in zip("xyz", sizes, mag["mag"], strict=False)
    }
    letters = names if order else [None] * (ndim - 3) + list("zyx")
    sized = [by_axis.get(letter or "") for letter in letters]
    nothing: list[None] = [None] * ndim
    units = [unit] * ndim
    spacing = Spacing(FILE, sized, nothing, units, nothing)
    return OfWebknossos((AxisNames(FILE, names),) if order else (), (spacing,))
