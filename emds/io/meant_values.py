"""What attributes say of an array's values that emds does not apply, and so must tell."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from emds.io.axes import plain_value
from emds.io.source import MALFORMED

# By attribute: what it says, and the value with which it says nothing (None: it always does).
_SAID: dict[str, tuple[str, float | None]] = {
    "scale_factor": ("values are to be multiplied with it (netCDF)", 1),
    "add_offset": ("it is to be added to the values (netCDF)", 0),
    "IMAGE_WHITE_IS_ZERO": ("0 is white, so that the contrast is inverted", 0),
    "MATLAB_class": ("MATLAB stores arrays with their axes reversed: is this (z, y, x)?", None),
}


def remarks_on_values(attributes: Mapping[str, Any]) -> list[str]:
    """Say which attributes of an array would change its values or their order.

    Parameters
    ----------
    attributes : mapping
        Of the array, as its library gives them; one that cannot be read is passed over.

    Examples
    --------
    >>> remarks_on_values({"add_offset": 0}), len(remarks_on_values({"scale_factor": 0.1}))
    ([], 1)
    """
    remarks = []
    for key, (meaning, nothing) in _SAID.items():
        with suppress(*MALFORMED):
            if key not in attributes:
                continue
            value = plain_value(attributes[key])
            value = value[0] if isinstance(value, list) and len(value) == 1 else value
            if value != nothing or nothing is None:
                remarks.append(f"its attribute {key!r} ({value!s:.40}) is not heeded: {meaning}")
    return remarks
