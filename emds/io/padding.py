"""Reading boxes that leave a volume, as tiles at its border do."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from emds.geometry import Roi
from emds.io.volume import Volume


def read_padded(
    volume: Volume, roi: Roi, mode: Literal["reflect", "edge"] = "reflect"
) -> NDArray[Any]:
    """Read a box of which any part may lie outside the volume.

    Parameters
    ----------
    volume : Volume
        Only the voxels that appear in the result (and those between them) are read.
    roi : Roi
        In the volume's coordinates; offsets may be negative.
    mode : {"reflect", "edge"}
        As in `numpy.pad`: mirrored at the border voxel, over and over where the box reaches
        further out than the volume is long, or the border voxel repeated.

    Returns
    -------
    (z, y, x) or (c, z, y, x)
        Of the volume's dtype.

    Examples
    --------
    >>> from emds.io.volume import MemoryVolume
    >>> row = MemoryVolume(np.array([[[1, 2, 3]]], dtype=np.uint8))
    >>> read_padded(row, Roi((0, 0, -2), (1, 1, 9))).tolist()
    [[[3, 2, 1, 2, 3, 2, 1, 2, 3]]]
    """
    if volume.roi.contains(roi):
        return volume.read(roi)
    fold = reflected if mode == "reflect" else _clamped
    z, y, x = (
        fold(np.arange(begin, end), size)
        for begin, end, size in zip(roi.offset, roi.end, volume.shape, strict=True)
    )
    low = (int(z.min()), int(y.min()), int(x.min()))
    high = (int(z.max()) + 1, int(y.max()) + 1, int(x.max()) + 1)
    inside = volume.read(Roi.between(low, high))
    return np.ascontiguousarray(
        inside[..., (z - low[0])[:, None, None], (y - low[1])[:, None], x - low[2]]
    )


def reflected(places: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    """Fold positions into ``range(size)`` by mirrors at the voxels of both ends.

    Examples
    --------
    >>> reflected(np.arange(-2, 5), 3).tolist(), reflected(np.arange(-1, 2), 1).tolist()
    ([2, 1, 0, 1, 2, 1, 0], [0, 0, 0])
    """
    if size == 1:
        return np.zeros_like(places)
    period = 2 * (size - 1)
    wrapped = places % period
    return np.minimum(wrapped, period - wrapped)


def _clamped(places: NDArray[np.intp], size: int) -> NDArray[np.intp]:
    return np.clip(places, 0, size - 1)
