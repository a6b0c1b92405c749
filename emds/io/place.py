"""Voxel size and position in the attributes that CREMI files and their relatives use."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from emds.errors import VolumeError
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
            break
    if voxel_size is not None and min(voxel_size) <= 0:
        raise VolumeError(
            f"the voxel size of {location!r} must be positive, not {voxel_size}. "
            f"Correct its attribute {name!r}."
        )
    offset = (0.0, 0.0, 0.0)
    if "offset" in attributes:
        offset = _three(attributes["offset"], "offset", location)
    return voxel_size, offset


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
