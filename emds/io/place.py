"""Voxel size and position in the attributes that CREMI files and their relatives use."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from emds.errors import VolumeError
from emds.io.ome import in_nanometres
from emds.io.volume import Nanometres


def place_from_attributes(
    attributes: Mapping[str, Any], location: str
) -> tuple[Nanometres | None, Nanometres]:
    """Read ``resolution`` (or ``voxel_size``, ``element_size_um``) and ``offset``, (z, y, x).

    Parameters
    ----------
    attributes : mapping
        Of an HDF5 data set or a zarr array.
    location : str
        For messages.

    Returns
    -------
    voxel_size : (z, y, x) float or None
        Nanometres.
    offset : (z, y, x) float
        Nanometres.

    Raises
    ------
    VolumeError
        If an attribute is there but is not three finite numbers, or a size is not positive.

    Examples
    --------
    >>> place_from_attributes({"resolution": [40, 4, 4]}, "raw.h5:volumes/raw")
    ((40.0, 4.0, 4.0), (0.0, 0.0, 0.0))
    """
    voxel_size = None
    for name, factor in (("resolution", 1.0), ("voxel_size", 1.0), ("element_size_um", 1e3)):
        if name in attributes:
            z, y, x = _three(attributes[name], name, location)
            voxel_size = (z * factor, y * factor, x * factor)
            if name != "element_size_um":
                voxel_size = _in_nanometres(voxel_size, attributes.get("units"), location)
            break
    if voxel_size is not None and min(voxel_size) <= 0:
        raise VolumeError(
            f"the voxel size of {location!r} must be positive, not {voxel_size}. "
            f"Correct its attribute {name!r}."
        )
    offset = (0.0, 0.0, 0.0)
    if "offset" in attributes:
        offset = _three(attributes["offset"], "offset", location)
        offset = _in_nanometres(offset, attributes.get("units"), location)
    return voxel_size, offset


def place_or_reason(
    attributes: Mapping[str, Any], location: str
) -> tuple[Nanometres | None, Nanometres, str | None]:
    """Read the place as `place_from_attributes` does, or say what is wrong with the attributes.

    The third value is the reason: it matters only if this very array is wanted.
    """
    try:
        return *place_from_attributes(attributes, location), None
    except VolumeError as error:
        return None, (0.0, 0.0, 0.0), str(error).rstrip(".")


def _in_nanometres(lengths: Nanometres, units: Any, location: str) -> Nanometres:
    """Convert what `units` names (funlib: one per axis), axis by axis; nm where it is absent."""
    named = [units] * 3 if isinstance(units, str) else list(units or ())[-3:]
    converted = [
        in_nanometres(length, str(unit))
        for length, unit in zip(lengths, named or ["nm"] * 3, strict=False)
    ]
    z, y, x = (*converted, None, None, None)[:3]
    if z is None or y is None or x is None:
        raise VolumeError(
            f"the attribute 'units' of {location!r} must name three lengths such as 'nm', "
            f"not {units!r}."
        )
    return z, y, x


def _three(value: Any, name: str, location: str) -> Nanometres:
    try:
        numbers = [float(number) for number in np.asarray(value).ravel()]
    except (TypeError, ValueError):
        numbers = []
    # 4-D arrays may carry an entry for their channel axis in front.
    if len(numbers) not in (3, 4) or not all(map(math.isfinite, numbers)):
        raise VolumeError(
            f"the attribute {name!r} of {location!r} must be three numbers (z, y, x) in nm, "
            f"not {value!r}."
        )
    z, y, x = numbers[-3:]
    return z, y, x
