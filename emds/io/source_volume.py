"""Any array of any backend as a volume: axes put in order, values checked as they are read."""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from emds.errors import VolumeError
from emds.geometry import Roi
from emds.io.source import MALFORMED, ArraySource, Closer, Role, layout_of, refuse_os_error
from emds.io.volume import Volume

# What decoders raise on damaged bytes.
DAMAGE = (*MALFORMED, EOFError, zlib.error)


class SourceVolume(Volume):
    """A volume that reads from an array on disk.

    Parameters
    ----------
    source : ArraySource
        An array that can play `role` (see `emds.io.source.why_not`).
    role : Role or None
        Raw floats are checked for NaN and infinity, labels for negative ids; labels are given
        as unsigned integers of the width they have on disk.
    close : callable
        Lets go of the file.
    """

    def __init__(self, source: ArraySource, role: Role | None, close: Closer) -> None:
        layout = layout_of(source, role)
        shape = source.values.shape
        self._source = source
        self._role = role
        self._layout = layout
        self._close = close
        self.location = source.location
        self.shape = layout.spatial_shape(shape)
        self.channels = None if layout.c is None else shape[layout.c]
        self.dtype = _dtype_in_memory(source.values.dtype, role)
        self.chunk_shape = layout.spatial_shape(source.chunk_shape)
        self.voxel_size = source.voxel_size
        self.offset = source.offset
        self.attributes = source.attributes

    @override
    def read(self, roi: Roi | None = None) -> NDArray[Any]:
        roi = self.roi if roi is None else roi
        if not self.roi.contains(roi):
            raise ValueError(f"box {roi} leaves {self.location} of shape {self.shape}")
        values = self._read_in_order(roi)
        if self._role == "raw" and values.dtype.kind == "f":
            self._check_finite(values, roi)
        if self._role == "labels" and values.dtype.kind == "i":
            self._check_not_negative(values, roi)
        return np.array(values, dtype=self.dtype, order="C", copy=None)

    @override
    def close(self) -> None:
        self._close()

    def _read_in_order(self, roi: Roi) -> NDArray[Any]:
        """Read a box as (z, y, x) or (c, z, y, x), in memory of our own."""
        layout = self._layout
        z, y, x = roi.slices()
        index: list[slice | int] = [0] * len(self._source.values.shape)
        index[layout.y], index[layout.x] = y, x
        kept = [layout.y, layout.x]
        if layout.z is not None:
            index[layout.z] = z
            kept.insert(0, layout.z)
        if layout.c is not None:
            index[layout.c] = slice(0, self.channels)
            kept.insert(0, layout.c)
        try:
            values = np.asarray(self._source.values[tuple(index)])
        except DAMAGE as error:
            refuse_os_error(error, self.location)
            raise VolumeError(
                f"cannot read {_box(roi)} of {self.location!r}: {error or type(error).__name__}. "
                "The file is damaged there; restore it from a copy or write it again."
            ) from error
        if self._role != "labels" and self._source.grey_step != 1:
            values = values * values.dtype.type(self._source.grey_step)
        order = [sorted(kept).index(axis) for axis in kept]
        values = values.transpose(order)
        if layout.z is None:
            values = np.expand_dims(values, -3)
        return np.array(values, order="C", copy=True)

    def _check_finite(self, values: NDArray[Any], roi: Roi) -> None:
        finite = np.isfinite(values)
        if not finite.all():
            where = np.argwhere(~finite)[0][-3:] + roi.offset
            raise VolumeError(
                f"{self.location!r} holds NaN or infinity in {_box(roi)}, first at voxel "
                f"(z, y, x) = {tuple(where.tolist())}. Raw images must be finite; replace them "
                "before running emds."
            )

    def _check_not_negative(self, values: NDArray[Any], roi: Roi) -> None:
        lowest = values.min(initial=0)
        if lowest < 0:
            raise VolumeError(
                f"{self.location!r} holds the negative label {lowest} in {_box(roi)}. Labels "
                "must be 0 (background) or positive; renumber them."
            )


def _dtype_in_memory(dtype: np.dtype[Any], role: Role | None) -> np.dtype[Any]:
    if role == "labels" and dtype.kind in "bi":
        return np.dtype(f"u{dtype.itemsize}")
    return dtype.newbyteorder("=")


def _box(roi: Roi) -> str:
    ranges = (f"{a}:{b}" for a, b in zip(roi.offset, roi.end, strict=True))
    return f"box {','.join(ranges)} (z, y, x)"
