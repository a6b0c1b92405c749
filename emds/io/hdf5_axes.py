"""What HDF5 states of a data set: attributes, labels of dimensions, scales attached to them.

The attributes of labels and scales are read as they are. HDF5's own functions for them trust
what they find, and crash where it is damaged.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import h5py
import numpy as np

from emds.io.axes import AxisNames, plain_value
from emds.io.coordinates import Coordinate
from emds.io.source import MALFORMED
from emds.io.stated import KEYS, Stated, read_stated

_LABELS, _SCALES = "DIMENSION_LABELS", "DIMENSION_LIST"
# netCDF names a scale without values of its own with a sentence.
_NETCDF_SENTENCE = "This is a netCDF dimension but not a netCDF variable"


def read_hdf5_stated(dataset: Any) -> tuple[Stated, Mapping[str, Any]]:
    """Find axes and place of a data set.

    Parameters
    ----------
    dataset : h5py.Dataset
        Any.

    Returns
    -------
    stated : Stated
        With a reason where an attribute of these cannot be read.
    attributes : mapping
        Those that emds reads.
    """
    attributes: dict[str, Any] = {}
    for key in (*KEYS, "emds", _LABELS, _SCALES):
        try:
            if key in dataset.attrs:
                attributes[key] = dataset.attrs[key]
        except MALFORMED as error:
            return _cannot_be_read(key, error, dataset), attributes
    names, scales = [], []
    try:
        if _LABELS in attributes:
            labels = plain_value(attributes[_LABELS])
            names.append(AxisNames(_attribute(_LABELS), np.atleast_1d(labels).tolist()))
    except MALFORMED as error:
        return _cannot_be_read(_LABELS, error, dataset), attributes
    try:
        if _SCALES in attributes:
            scales = [_scale(part, dataset) for part in np.atleast_1d(attributes[_SCALES])]
            names.append(AxisNames(_attribute(_SCALES), [s and s.name for s in scales]))
    except MALFORMED as error:
        return _cannot_be_read(_SCALES, error, dataset), attributes
    coordinates = scales if len(scales) == len(dataset.shape) else []
    return read_stated(attributes, dataset.shape, names, (), coordinates), attributes


def _cannot_be_read(key: str, error: Exception, dataset: Any) -> Stated:
    reason = f"{_attribute(key)} is damaged or of an unknown kind: {error}"
    return Stated("?" * len(dataset.shape), unusable=reason)


def _attribute(key: str) -> str:
    return f"its attribute {key!r}"


def _scale(references: Any, dataset: Any) -> Coordinate | None:
    """Return the first scale with a name that is attached to an axis."""
    for reference in np.atleast_1d(references):
        if not isinstance(reference, h5py.Reference):
            raise ValueError("it holds no references")
        scale = dataset.file[reference] if reference else None
        if not isinstance(scale, h5py.Dataset):
            continue
        name = plain_value(scale.attrs.get("NAME"))
        is_empty = isinstance(name, str) and name.startswith(_NETCDF_SENTENCE)
        if not isinstance(name, str) or not name or is_empty:
            name = str(scale.name or "").rpartition("/")[2]
        if name:
            # Values that other files hold are not followed, nor are there any behind a sentence.
            foreign = is_empty or scale.is_virtual or scale.external
            values = scale if scale.shape is not None and not foreign else np.empty(0)
            return Coordinate(name, values, scale.attrs.get("units"))
    return None
