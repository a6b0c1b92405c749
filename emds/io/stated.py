"""What the attributes of an array state of its axes and its place, in all dialects of the field.

========================  =====================================================================
``_ARRAY_DIMENSIONS``     axis names of xarray in zarr 2
``axis_names``            axis names of funlib.persistence; ``^`` marks a channel axis
``axistags``              of vigra and ilastik, JSON: names and pixel sizes, units in ``axis_units``
``transform``             of COSEM and CellMap: axes, scale, translate, units
``resolution``            voxel size of CREMI, with ``offset``; nm, or what ``units`` says
``voxel_size``            the same of funlib
``units``                 of the two before; also ``unit``, ``resolution_unit`` and the like
``element_size_um``       voxel size of ImageJ's HDF5 plugin and PlantSeg; micrometres; the others
                          with a unit in their name likewise
``pixelResolution``       voxel size of N5 viewers, always (x, y, z), with ``downsamplingFactors``
========================  =====================================================================

Numbers stand in the order of the array's axes, with or without entries for channels and time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emds.io.axes import AxisNames, MisstatedAxesError, find_axes, plain_value
from emds.io.coordinates import Coordinate, coordinate_spacing
from emds.io.place import MisstatedPlaceError, Spacing, find_place, not_understood
from emds.io.volume import Nanometres

_SIZES = {"resolution": None, "voxel_size": None} | {
    f"{size}_{unit}": unit
    for size in ("element_size", "voxel_size", "resolution")
    for unit in ("um", "nm")
}
# Each by itself; the first that is there counts.
_UNITS = (
    "units",
    "unit",
    *(f"{n}_{u}" for n in ("resolution", "voxel_size") for u in ("units", "unit")),
)
SIZES = (*_SIZES, "pixelResolution", "transform")
KEYS = (
    "_ARRAY_DIMENSIONS", "axis_names", "axistags", "axis_units", *SIZES, "downsamplingFactors",
    *_UNITS, "offset",
)  # fmt: skip
# Less than an atom: no voxel of a section, so the number counts something else than nanometres.
_SMALLEST = 0.1


@dataclass(frozen=True)
class Stated:
    """Axes and place of an array.

    Attributes
    ----------
    axes, voxel_size, offset, remarks
        As of `emds.io.source.ArraySource`.
    unusable : str or None
        Why the statements cannot be true, as a clause.
    """

    axes: str
    voxel_size: Nanometres | None = None
    offset: Nanometres = (0.0, 0.0, 0.0)
    remarks: tuple[str, ...] = ()
    unusable: str | None = None


def read_stated(
    attributes: Mapping[str, Any],
    shape: Sequence[int],
    names: Sequence[AxisNames] = (),
    spacings: Sequence[Spacing] = (),
    coordinates: Sequence[Coordinate | None] = (),
) -> Stated:
    """Find axes and place of an array, or what is wrong with the statements about them.

    Parameters
    ----------
    attributes : mapping
        Of the array, as its library gives them.
    shape : sequence of int
        Shape of the array.
    names : sequence of AxisNames
        What stands elsewhere: zarr's ``dimension_names``, HDF5's labels, OME metadata.
    spacings : sequence of Spacing
        What stands elsewhere; counts before the attributes.
    coordinates : sequence of Coordinate or None
        Positions along each axis; count after the attributes.
    """
    try:
        told = {name: _content(attributes[name]) for name in KEYS if name in attributes}
        axes = find_axes([*names, *_names(told)], shape)
        stated = [*spacings, *_spacings(told, axes.letters, "emds" in attributes)]
        stated += coordinate_spacing(coordinates, shape)
        place = find_place(axes.letters, stated)
    except (MisstatedAxesError, MisstatedPlaceError) as error:
        return Stated("?" * len(shape), unusable=str(error))
    return Stated(axes.letters, place.voxel_size, place.offset, axes.remarks + place.remarks)


def remarks_on_groups(groups: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Say that groups state a voxel size: of which of their arrays, only a person can tell.

    Parameters
    ----------
    groups : mapping
        Attributes by the path of each group above an array that states no voxel size itself.
    """
    return [
        f"the attribute {key!r} of its group {group or '/'!r} is not read, and its voxel size is "
        "taken as unknown"
        for group, attributes in groups.items()
        for key in SIZES
        if key in attributes
    ]


def _content(value: Any) -> Any:
    """Unpack an attribute, and JSON in it: HDF5 has no nested attributes."""
    plain = plain_value(value)
    if isinstance(plain, list) and len(plain) == 1 and isinstance(plain[0], str):
        plain = plain[0] if plain[0].lstrip().startswith(("{", "[")) else plain
    if isinstance(plain, str) and plain.lstrip().startswith(("{", "[")):
        try:
            return json.loads(plain)
        except ValueError:
            return plain
    return plain


def _names(told: Mapping[str, Any]) -> list[AxisNames]:
    found = [
        AxisNames(_attribute(key), _list_of_names(told[key], key))
        for key in ("_ARRAY_DIMENSIONS", "axis_names")
        if key in told
    ]
    if "axistags" in told:
        tags = _tags(told["axistags"])
        found.append(AxisNames(_attribute("axistags"), [tag.get("key") for tag in tags]))
    return [*found, *transform_names(told.get("transform"))]


def _list_of_names(value: Any, key: str) -> list[Any]:
    if isinstance(value, str):
        value = value.replace(",", " ").split() if len(value.split()) > 1 else list(value)
    if not isinstance(value, list) or not all(v is None or isinstance(v, str) for v in value):
        raise MisstatedAxesError(f"{_attribute(key)} must be a list of axis names, not {value!r}")
    return value


def _tags(value: Any) -> list[Mapping[str, Any]]:
    tags = value.get("axes") if isinstance(value, Mapping) else None
    if not isinstance(tags, list) or not all(isinstance(tag, Mapping) for tag in tags):
        raise MisstatedAxesError(
            f"{_attribute('axistags')} must be vigra's JSON, not {value!r:.80}"
        )
    return tags


def transform_names(transform: Any) -> list[AxisNames]:
    """Read the axes of a ``transform`` as COSEM writes it."""
    if not isinstance(transform, Mapping) or "axes" not in transform:
        return []
    names = _in_array_order(_list_of_names(transform["axes"], "transform"), transform)
    return [AxisNames(_attribute("transform"), names)]


def transform_spacing(transform: Any, ndim: int) -> Spacing:
    """Read scale, translation and units of a ``transform``, one of each per axis."""
    said_by = _attribute("transform")
    if not isinstance(transform, Mapping):
        return not_understood(said_by, f"{said_by} is not understood: {transform!r:.80}", ndim)
    every = "?" * ndim
    scale, shift = (
        _in_array_order(_per_axis(transform[name], every, f"transform/{name}"), transform)
        if transform.get(name) is not None
        else [None] * ndim
        for name in ("scale", "translate")
    )
    units = _in_array_order(_units(transform.get("units"), every), transform)
    return Spacing(said_by, scale, shift, units, units)


def _in_array_order(values: list[Any], transform: Mapping[str, Any]) -> list[Any]:
    return values[::-1] if transform.get("order") == "F" else values


def _spacings(told: Mapping[str, Any], letters: str, is_of_emds: bool) -> list[Spacing]:
    found = []
    if "transform" in told:
        found.append(transform_spacing(told["transform"], len(letters)))
    nothing: list[Any] = [None] * len(letters)
    named = next((key for key in _UNITS if key in told), None)
    units = _units(told[named], letters) if named else ["nm"] * len(letters)
    shift, shift_units = nothing, units
    if "offset" in told:
        shift = _per_axis(told["offset"], letters, "offset")
        if is_of_emds and not set(_SIZES) & set(told):
            shift_units = ["voxel"] * len(letters)  # as `Hdf5Output` writes it
        found.append(Spacing(_attribute("offset"), nothing, shift, nothing, shift_units))
    for key, unit in _SIZES.items():
        if key in told:
            scale = _per_axis(told[key], letters, key)
            of_scale = [unit] * len(letters) if unit else units
            if not named and not unit and any(0 < size < _SMALLEST for size in scale if size):
                of_scale = nothing
            found.append(Spacing(_attribute(key), scale, nothing, of_scale, nothing))
    if "pixelResolution" in told:
        found += _pixel_resolution(told, letters)
    if "axistags" in told:
        found += _tag_resolutions(told, letters)
    return found


def _pixel_resolution(told: Mapping[str, Any], letters: str) -> list[Spacing]:
    value = told["pixelResolution"]
    unit = value.get("unit") if isinstance(value, Mapping) else None
    sizes = _floats(value.get("dimensions") if isinstance(value, Mapping) else value)
    factors = _floats(told.get("downsamplingFactors", [1, 1, 1]))
    if sizes is None or factors is None or len(sizes) < 3 or len(factors) < 3:
        raise MisstatedPlaceError(
            f"{_attribute('pixelResolution')} must hold three sizes (x, y, z), not {value!r}"
        )
    by_axis = dict(zip("xyz", zip(sizes, factors, strict=False), strict=False))
    scale: list[float | None] = [None] * len(letters)
    shift = list(scale)
    for place, letter in enumerate(letters):
        if letter in by_axis:
            size, factor = by_axis[letter]
            # The first voxel's centre lies amid those that it stands for.
            scale[place], shift[place] = size * factor, size * (factor - 1) / 2
    units = [unit] * len(letters)
    return [Spacing(_attribute("pixelResolution"), scale, shift, units, units)]


def _tag_resolutions(told: Mapping[str, Any], letters: str) -> list[Spacing]:
    """Read the pixel sizes of vigra's tags; 0 is unknown."""
    tags, by_key = _tags(told["axistags"]), told.get("axis_units")
    scale, units = [], []
    for tag in tags:
        size = _floats([tag.get("resolution") or 0])
        scale.append(size[0] or None if size else None)
        unit = tag.get("unit", tag.get("units"))
        if not unit and isinstance(by_key, Mapping):
            unit = by_key.get(str(tag.get("key")))
        units.append(str(unit) if unit else None)
    nothing = [None] * len(letters)
    return [Spacing(_attribute("axistags"), scale, nothing, units, nothing)]


def _per_axis(value: Any, letters: str, key: str) -> list[float | None]:
    """Lay numbers along the axes: all, those of space and time, those of space, or (z, y, x)."""
    numbers = _floats(value)
    places = _places(letters, len(numbers or ()))
    if numbers is not None and places is not None:
        laid: list[float | None] = [None] * len(letters)
        for place, number in zip(places, numbers, strict=True):
            if place is not None:
                laid[place] = number
        return laid
    raise MisstatedPlaceError(
        f"{_attribute(key)} must be numbers, one per axis of ({', '.join(letters)}) or per axis in "
        f"space, not {value!r:.80}"
    )


def _units(value: Any, letters: str) -> list[str | None]:
    """Lay units along the axes as `_per_axis` does; where that is not possible, none is known."""
    named = [value] * len(letters) if isinstance(value, str | None) else value
    if not isinstance(named, list):
        named = [str(value)] * len(letters)
    if len(named) == 1:
        named = named * len(letters)
    places = _places(letters, len(named))
    laid: list[str | None] = [None] * len(letters)
    if places is None:
        return [f"units {value!r}"] * len(letters)
    for place, unit in zip(places, named, strict=True):
        if place is not None:
            laid[place] = str(unit) if unit else None
    return laid


def _places(letters: str, count: int) -> list[int | None] | None:
    """Say along which axes `count` entries lie; None in the list for one that has no axis."""
    every = list(range(len(letters)))
    moving = [place for place in every if letters[place] not in "cs"]
    space = [place for place in every if letters[place] in "zyx"]
    for places in (every, moving, space):
        if count == len(places):
            return list(places)
    if count == 3 and "z" not in letters and len(space) == 2:
        return [None, *space]
    return None


def _floats(value: Any) -> list[float] | None:
    try:
        return [float(number) for number in value] if isinstance(value, list) else None
    except (TypeError, ValueError, OverflowError):
        return None


def _attribute(key: str) -> str:
    return f"its attribute {key!r}"
