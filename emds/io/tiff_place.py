"""What a TIFF file states of its axes and its place: ImageJ, OME-XML, and emds itself."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any
from xml.etree import ElementTree

import tifffile

from emds.io.axes import Axes
from emds.io.place import Place, Spacing, find_place
from emds.io.units import counts_voxels

_FILLERS = "0123456789"


def stack_axes(axes: str, shape: Sequence[int]) -> Axes:
    """Translate the axes of a TIFF series to those of a volume.

    A lone time, sequence or unnamed axis is taken as z, as stacks are often saved that way; two
    unnamed ones are channels and z. Of time the user is told.

    Examples
    --------
    >>> stack_axes("IYX", (30, 512, 512)).letters
    'zyx'
    >>> stack_axes("TZCYXS", (30, 1, 1, 512, 512, 1)).letters
    'z1cyxs'
    >>> stack_axes("QQYX", (3, 30, 512, 512)).letters
    'czyx'
    """
    letters = list(axes.lower())
    lengths = dict(zip(letters, shape, strict=True))
    remarks: tuple[str, ...] = ()
    spare = [
        place for place, size in enumerate(shape) if letters[place] not in "zcyxs" and size > 1
    ]
    is_time = any(letters[place] == "t" for place in spare)
    targets = "z" if len(spare) == 1 else "cz" if len(spare) == 2 and not is_time else ""
    if targets and all(lengths.get(axis, 1) == 1 for axis in targets):
        if is_time:
            count = shape[spare[0]]
            remarks = (f"its {count} time points are taken as {count} sections (z)",)
        letters = ["?" if letter in targets else letter for letter in letters]
        for place, target in zip(spare, targets, strict=True):
            letters[place] = target
    for place, size in enumerate(shape):
        if letters[place] not in "zcyxs" and size == 1:
            letters[place] = _FILLERS[place % len(_FILLERS)]
    return Axes("".join(letters), remarks)


def described_by_emds(tiff: tifffile.TiffFile) -> Mapping[str, Any]:
    """Return the JSON that emds (or tifffile) put into the description of the first page."""
    if not tiff.is_shaped or not tiff.shaped_metadata:
        return {}
    content: Mapping[str, Any] = tiff.shaped_metadata[0]
    return content


def stack_place(tiff: tifffile.TiffFile, number: int, depth: int) -> Place:
    """Find voxel size and offset of an image of a TIFF file.

    Parameters
    ----------
    tiff : tifffile.TiffFile
        Open.
    number : int
        Number of the image.
    depth : int
        How many sections it has. One has no thickness of its own.

    Raises
    ------
    ValueError, KeyError, TypeError
        If what emds wrote is damaged, or a size is not positive.
    """
    described = described_by_emds(tiff)
    if "voxel_size_nm" in described:
        size, (z, y, x) = described["voxel_size_nm"], map(float, described["offset_nm"])
        return Place(
            None if size is None else (float(size[0]), float(size[1]), float(size[2])), (z, y, x)
        )
    letters, spacing = "zyx", None
    if tiff.is_imagej:
        spacing = _of_imagej(tiff, depth)
    elif tiff.is_ome and tiff.ome_metadata:
        spacing = _of_ome(tiff.ome_metadata, number)
    if spacing is None:
        return Place()
    first = 1 if depth == 1 and spacing.scale[0] is None else 0
    parts = (spacing.scale, spacing.shift, spacing.scale_units, spacing.shift_units)
    cut = Spacing(spacing.said_by, *(part[first:] for part in parts))  # type: ignore[arg-type]
    place = find_place(letters[first:], [cut])
    if tiff.is_imagej and depth > 1 and place.voxel_size and not _states_spacing(tiff):
        remark = (
            f"{spacing.said_by} states no spacing, which to ImageJ is 1 {spacing.scale_units[0]!r}"
        )
        return replace(place, remarks=(*place.remarks, remark))
    return place


def _states_spacing(tiff: tifffile.TiffFile) -> bool:
    return _float((tiff.imagej_metadata or {}).get("spacing")) is not None


def _of_imagej(tiff: tifffile.TiffFile, depth: int) -> Spacing:
    """Read ``spacing``, units and origin of ImageJ; its resolution tags count pixels per unit.

    ImageJ leaves out a spacing of 1, and the units of y and z where they are that of x.
    """
    metadata = tiff.imagej_metadata or {}
    tags = tiff.pages.first.tags
    units = [_imagej_unit(metadata.get(name, metadata.get("unit"))) for name in _UNITS]
    spacing = _float(metadata.get("spacing"))
    if spacing is None and depth > 1 and units[0] is not None:
        spacing = 1.0
    scale = [None if spacing is None else abs(spacing)]
    for name in ("YResolution", "XResolution"):
        pixels, per = tags[name].value if name in tags else (0, 1)
        scale.append(abs(per / pixels) if pixels and per else None)
    origin = [_float(metadata.get(f"{axis}origin")) or 0.0 for axis in "zyx"]
    shift = [-at * (size or 0.0) for at, size in zip(origin, scale, strict=True)]
    return Spacing("its ImageJ metadata", scale, shift, units, units)


_UNITS = ("zunit", "yunit", "unit")


def _imagej_unit(unit: Any) -> str | None:
    return None if unit is None or not str(unit) or counts_voxels(str(unit)) else str(unit)


def _of_ome(xml: str, number: int) -> Spacing | None:
    pixels = ElementTree.fromstring(xml).findall(".//{*}Image/{*}Pixels")
    if number >= len(pixels):
        return None
    values = pixels[number].attrib
    scale = [_float(values.get(f"PhysicalSize{axis}")) for axis in "ZYX"]
    units = [_imagej_unit(values.get(f"PhysicalSize{axis}Unit", "µm")) for axis in "ZYX"]
    positive = [size if size and size > 0 else None for size in scale]
    return Spacing("its OME metadata", positive, [0.0] * 3, units, units)


def _float(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
