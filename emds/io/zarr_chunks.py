"""Whether the chunks of a zarr array lie where its metadata say.

One that does not is read as the fill value, without a word.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import zarr


def chunks_remark(array: zarr.Array[Any], folder: Path) -> str | None:
    """Say that what lies in an array's folder are none of its chunks; None where one may be.

    An empty folder needs no word: chunks that hold nothing but the fill value are not stored.

    Parameters
    ----------
    array : zarr.Array
        Of at least one voxel.
    folder : Path
        Where it lies. Names in it are looked at until one fits.
    """
    key = array.metadata.encode_chunk_key((0,) * array.ndim)
    first, _, _ = key.partition("/")
    pattern = re.compile(re.sub("0", r"\\d+", re.escape(first)))
    other = None
    with os.scandir(folder) as entries:
        for entry in entries:
            if pattern.fullmatch(entry.name) and ("/" not in key or entry.is_dir()):
                return None
            if other is None and entry.name != "zarr.json" and not entry.name.startswith("."):
                other = entry.name
    if other is None:
        return None
    return (
        f"none of its chunks is there: it holds {other!r}, and its metadata call the first chunk "
        f"{key!r}; every voxel is read as the fill value, {array.fill_value!s}"
    )
