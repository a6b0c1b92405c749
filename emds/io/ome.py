"""OME-Zarr metadata: built with the models of yaozarrs, read leniently from whoever wrote it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from emds.geometry import Triple
from emds.io.source import default_axes
from emds.io.volume import Nanometres

OmeVersion = Literal["0.4", "0.5"]

# Units of length, in nm: the names of OME-Zarr, and the signs that ImageJ and OME-TIFF use.
NANOMETRES = {
    "angstrom": 0.1, "Å": 0.1, "picometer": 1e-3, "pm": 1e-3,
    "nanometer": 1.0, "nanometre": 1.0, "nm": 1.0,
    "micrometer": 1e3, "micrometre": 1e3, "micron": 1e3, "microns": 1e3,
    "um": 1e3, "µm": 1e3, "μm": 1e3,
    "millimeter": 1e6, "millimetre": 1e6, "mm": 1e6,
    "centimeter": 1e7, "cm": 1e7, "inch": 2.54e7, "meter": 1e9, "m": 1e9,
}  # fmt: skip


def in_nanometres(value: float, unit: str | None) -> float | None:
    """Convert a length, rounded to 12 digits so that 4.6e-3 µm is 4.6 nm; None if it has no unit.

    Examples
    --------
    >>> in_nanometres(0.0046, "µm"), in_nanometres(4.6, None)
    (4.6, None)
    """
    factor = NANOMETRES.get(unit or "")
    return None if factor is None else float(f"{value * factor:.12g}")


@dataclass(frozen=True)
class Multiscale:
    """What emds needs to know of one level of an OME-Zarr image.

    The offset counts voxels where there is no voxel size.
    """

    axes: str
    voxel_size: Nanometres | None
    offset: Nanometres
    is_labels: bool


def ome_attributes(attributes: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the OME part of a group's attributes, wherever its version puts it."""
    ome = attributes.get("ome", attributes)
    if not isinstance(ome, Mapping):
        raise ValueError("the attribute 'ome' is not a mapping")
    return ome


def level_paths(attributes: Mapping[str, Any]) -> list[str]:
    """Return the arrays of a group's first image, finest first; empty where it has none."""
    listed = ome_attributes(attributes).get("multiscales")
    if not listed:
        return []
    return [str(level["path"]).strip("/") for level in listed[0]["datasets"]]


def parse_multiscale(attributes: Mapping[str, Any], level_index: int, ndim: int) -> Multiscale:
    """Read one level of the first image of a group's OME metadata.

    Parameters
    ----------
    attributes : mapping
        Attributes of the group; any OME-Zarr version up to 0.5.
    level_index : int
        0 is the finest.
    ndim : int
        Number of axes of its array: versions before 0.3 name none.

    Raises
    ------
    KeyError, TypeError, ValueError, IndexError, AttributeError
        If the metadata is malformed.
    """
    ome = ome_attributes(attributes)
    image = ome["multiscales"][0]
    level = image["datasets"][level_index]
    listed = image.get("axes") or list(default_axes(ndim))
    entries = [entry if isinstance(entry, Mapping) else {"name": entry} for entry in listed]
    axes = "".join(_axis_letter(entry) for entry in entries)
    if len(axes) != ndim:
        raise ValueError(f"{len(axes)} axes are named, the array has {ndim}")
    scale, shift = [1.0] * ndim, [0.0] * ndim
    for transform in [
        *level.get("coordinateTransformations", []),
        *(image.get("coordinateTransformations") or []),
    ]:
        factors = _numbers(transform.get("scale", [1.0] * ndim), ndim)
        scale = [a * b for a, b in zip(scale, factors, strict=True)]
        shift = [a * b for a, b in zip(shift, factors, strict=True)]
        moves = _numbers(transform.get("translation", [0.0] * ndim), ndim)
        shift = [a + b for a, b in zip(shift, moves, strict=True)]
    for axis, factor in zip(axes, scale, strict=True):
        if axis in "zyx" and factor <= 0:
            raise ValueError(f"the scale {factor} of axis {axis!r} is not positive")
    units = {axis: entry.get("unit") for axis, entry in zip(axes, entries, strict=True)}
    return Multiscale(
        axes,
        _voxel_size(axes, scale, units),
        _offset(axes, shift, scale, units),
        "image-label" in ome,
    )


def _axis_letter(entry: Mapping[str, Any]) -> str:
    name, kind = str(entry["name"]).lower(), entry.get("type")
    if kind == "channel":
        return "c"
    if kind == "time":
        return "t"
    return name if len(name) == 1 else "?"


def _numbers(values: Sequence[Any], length: int) -> list[float]:
    numbers = [float(value) for value in values]
    if len(numbers) != length or not all(map(math.isfinite, numbers)):
        raise ValueError(f"{values} must be {length} finite numbers")
    return numbers


def _voxel_size(
    axes: str, scale: Sequence[float], units: Mapping[str, str | None]
) -> Nanometres | None:
    lengths = _lengths(axes, scale, units)
    y, x = lengths.get("y"), lengths.get("x")
    # A single section has no thickness of its own: nominally as much as it is wide.
    z = lengths.get("z") if "z" in axes else y
    return None if z is None or y is None or x is None else (z, y, x)


def _offset(
    axes: str, shift: Sequence[float], scale: Sequence[float], units: Mapping[str, str | None]
) -> Nanometres:
    if _voxel_size(axes, scale, units) is None:
        # Without units only the ratio of both means something: a position in voxels.
        shift = [
            a / b if axis in "zyx" else a for axis, a, b in zip(axes, shift, scale, strict=True)
        ]
        units = dict.fromkeys(axes, "nanometer")
    lengths = _lengths(axes, shift, units)
    z, y, x = (lengths.get(axis) or 0.0 for axis in "zyx")
    return z, y, x


def _lengths(
    axes: str, values: Sequence[float], units: Mapping[str, str | None]
) -> dict[str, float | None]:
    return {
        axis: in_nanometres(value, units[axis]) for axis, value in zip(axes, values, strict=True)
    }


def build_multiscale(
    name: str,
    axes: str,
    voxel_size: Nanometres | None,
    offset: Nanometres,
    version: OmeVersion,
    *,
    labels_of: str | None = None,
) -> dict[str, Any]:
    """Return the group attributes of an image with its one level in the array ``0``.

    Parameters
    ----------
    name : str
        Shown by viewers.
    axes : str
        ``zyx`` or ``czyx``.
    voxel_size, offset : (z, y, x) float
        Nanometres. Without a voxel size the axes carry no unit and a scale of 1, which reads
        back as None, and as the same offset in voxels.
    version : {"0.5", "0.4"}
        Of OME-Zarr.
    labels_of : str, optional
        Marks the image as labels; the relative path of the image they belong to, or empty.
    """
    from yaozarrs import v04, v05

    models = v05 if version == "0.5" else v04
    unit = {"unit": "nanometer"} if voxel_size is not None else {}
    channel = [1.0] * (len(axes) - 3)
    scale = [*channel, *(voxel_size or (1.0, 1.0, 1.0))]
    shift = [0.0 for _ in channel] + list(offset)
    content: dict[str, Any] = {
        "multiscales": [
            {
                "name": name,
                "axes": [
                    {"name": axis, "type": "channel"}
                    if axis == "c"
                    else {"name": axis, "type": "space", **unit}
                    for axis in axes
                ],
                "datasets": [
                    {
                        "path": "0",
                        "coordinateTransformations": [
                            {"type": "scale", "scale": scale},
                            {"type": "translation", "translation": shift},
                        ],
                    }
                ],
            }
        ]
    }
    if labels_of is None:
        model: Any = models.Image(**content)
    else:
        content["image-label"] = {"source": {"image": labels_of}} if labels_of else {}
        model = models.LabelImage(**content)
    return _wrapped(model, version)


def add_level(attributes: Mapping[str, Any], factor: Triple, method: str) -> dict[str, Any]:
    """Return the attributes of an image's group with one more level, named after its number.

    A position is that of a voxel's centre. The first voxel of the new level stands for `factor`
    voxels of the last, and its centre lies amid theirs: half a voxel further for a factor of 2.

    Parameters
    ----------
    attributes : mapping
        As `build_multiscale` made them, without channels.
    factor : (z, y, x)
        How many voxels of the last level make one of the new.
    method : str
        How its values are found, for viewers.

    Examples
    --------
    >>> ome = build_multiscale("raw", "zyx", (40, 8, 8), (0, 0, 0), "0.5")
    >>> ome = add_level(ome, (1, 2, 2), "mean")["ome"]
    >>> for transform in ome["multiscales"][0]["datasets"][1]["coordinateTransformations"]:
    ...     print(transform)
    {'type': 'scale', 'scale': [40.0, 16.0, 16.0]}
    {'type': 'translation', 'translation': [0.0, 4.0, 4.0]}
    """
    ome = dict(ome_attributes(attributes))
    image = dict(ome["multiscales"][0])
    levels = list(image["datasets"])
    last = {key: step[key] for step in levels[-1]["coordinateTransformations"] for key in step}
    steps = list(zip(last["scale"], last["translation"], factor, strict=True))
    added = {
        "path": str(len(levels)),
        "coordinateTransformations": [
            {"type": "scale", "scale": [scale * n for scale, _, n in steps]},
            {
                "type": "translation",
                "translation": [shift + scale * (n - 1) / 2 for scale, shift, n in steps],
            },
        ],
    }
    ome["multiscales"] = [image | {"datasets": [*levels, added], "type": method}]
    return {"ome": ome} if "ome" in attributes else ome


def build_label_list(names: Sequence[str], version: OmeVersion) -> dict[str, Any]:
    """Return the attributes of a ``labels`` group that holds these images."""
    from yaozarrs import v04, v05

    models = v05 if version == "0.5" else v04
    return _wrapped(models.LabelsGroup(labels=list(names)), version)


def _wrapped(model: Any, version: OmeVersion) -> dict[str, Any]:
    content: dict[str, Any] = model.model_dump(mode="json", by_alias=True, exclude_none=True)
    return {"ome": content} if version == "0.5" else content
