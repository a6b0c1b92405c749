"""A volume that any network can learn: square cells with dark borders, the same in all sections."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from emds.io import create_volume

SIDE = 12


def write_cells(folder: Path, sections: int, per_side: int, **metadata: Any) -> None:
    """Write ``raw.h5`` and ``gt.h5``: `sections` of `per_side` × `per_side` cells."""
    ids = np.arange(1, per_side**2 + 1).reshape(per_side, per_side)
    labels = np.kron(ids, np.ones((SIDE, SIDE))).astype(np.uint64)
    edge = (np.roll(labels, 1, 0) != labels) | (np.roll(labels, 1, 1) != labels)
    raw = np.where(edge, 40, 180).astype(np.uint8)
    shape = (sections, *labels.shape)
    for name, values, role in (("raw", raw, "raw"), ("gt", labels, "labels")):
        with create_volume(
            folder / f"{name}.h5", shape=shape, dtype=values.dtype, role=role, **metadata
        ) as volume:
            volume.write(volume.roi, np.broadcast_to(values, shape))
