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
    names = []
    for key, names_in in ((_LABELS, _labels), (_SCALES, _scales)):
        try:
            if key in attributes:
                names.append(
                    AxisNames(f"its attribute {key!r}", names_in(attributes[key], dataset))
                )
        except MALFORMED as error:
            return _cannot_be_read(key, error, dataset), attributes
    return read_stated(attributes, dataset.shape, names), attributes


def _cannot_be_read(key: str, error: Exception, dataset: Any) -> Stated:
    reason = f"its attribute {key!r} is damaged or of an unknown kind: {error}"
    return Stated("?" * len(dataset.shape), unusable=reason)


def _labels(value: Any, dataset: Any) -> list[Any]:
    labels = plain_value(value)
    return labels if isinstance(labels, list) else [labels]


def _scales(value: Any, dataset: Any) -> list[str | None]:
    """Return per axis the name of the first scale that is attached to it."""
    return [_name_of_scale(references, dataset) for references in np.atleast_1d(value)]


def _name_of_scale(references: Any, dataset: Any) -> str | None:
    for reference in np.atleast_1d(references):
        if not isinstance(reference, h5py.Reference):
            raise ValueError("it holds no references")
        scale = dataset.file[reference] if reference else None
        if scale is None:
            continue
        name = plain_value(scale.attrs.get("NAME"))
        if not isinstance(name, str) or not name or name.startswith(_NETCDF_SENTENCE):
            name = str(scale.name or "").rpartition("/")[2]
        if name:
            return name
    return None
