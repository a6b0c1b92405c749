"""What a volume is to the rest of emds: a lazily read array with a place in space."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from emds.geometry import Roi, Triple

Nanometres = tuple[float, float, float]


class Volume(ABC):
    """A (z, y, x) or (c, z, y, x) array on disk or in memory, read box by box.

    Attributes
    ----------
    location : str
        How a user would name it, e.g. ``seg.zarr/labels/neurons``; used in messages.
    shape : (Z, Y, X)
        Extent in voxels, channels left out.
    channels : int or None
        Number of channels; None where the array has no channel axis.
    dtype : numpy.dtype
        Type of a voxel.
    chunk_shape : (z, y, x)
        Storage unit: blocks that are multiples of it never share a chunk.
    voxel_size : (z, y, x) float or None
        Nanometres; None where the file does not say.
    offset : (z, y, x) float
        Position of the first voxel, nanometres; voxels where the voxel size is None.
    attributes : mapping
        JSON metadata written by emds (provenance, noise parameters, offsets); empty otherwise.
    """

    location: str
    shape: Triple
    channels: int | None
    dtype: np.dtype[Any]
    chunk_shape: Triple
    voxel_size: Nanometres | None
    offset: Nanometres
    attributes: Mapping[str, Any]

    @abstractmethod
    def read(self, roi: Roi | None = None) -> NDArray[Any]:
        """Return a new C-contiguous array of the box: (z, y, x), or (c, z, y, x) with channels.

        `roi` must lie inside the volume; None reads everything.
        """

    def write(self, roi: Roi, values: NDArray[Any]) -> None:
        """Store a box; only volumes from `create_volume` and `create_container` can."""
        raise TypeError(f"{self.location} is open for reading only")

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Replace the JSON metadata; only volumes open for writing can."""
        raise TypeError(f"{self.location} is open for reading only")

    def close(self) -> None:  # noqa: B027  (most volumes hold nothing open)
        """Let go of the file."""

    @property
    def roi(self) -> Roi:
        """The box of the whole volume."""
        return Roi.whole(self.shape)

    @property
    def nbytes(self) -> int:
        """Size when uncompressed, bytes."""
        return self.roi.size * (self.channels or 1) * self.dtype.itemsize

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class MemoryVolume(Volume):
    """A volume that wraps an array: for tests, small data and caches.

    Parameters
    ----------
    values : (Z, Y, X) or (C, Z, Y, X)
        Not copied.
    """

    def __init__(
        self,
        values: NDArray[Any],
        *,
        voxel_size: Nanometres | None = None,
        offset: Nanometres = (0.0, 0.0, 0.0),
        attributes: Mapping[str, Any] | None = None,
        location: str = "memory",
    ) -> None:
        if values.ndim not in (3, 4):
            raise ValueError(f"a volume is (z, y, x) or (c, z, y, x), not {values.shape}")
        self.values = values
        self.location = location
        z, y, x = values.shape[-3:]
        self.shape = (z, y, x)
        self.channels = values.shape[0] if values.ndim == 4 else None
        self.dtype = values.dtype
        self.chunk_shape = self.shape
        self.voxel_size = voxel_size
        self.offset = offset
        self.attributes = dict(attributes or {})

    @override
    def read(self, roi: Roi | None = None) -> NDArray[Any]:
        return self.values[(..., *(roi or self.roi).slices())].copy(order="C")

    @override
    def write(self, roi: Roi, values: NDArray[Any]) -> None:
        self.values[(..., *roi.slices())] = values

    @override
    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        self.attributes = dict(attributes)


class CachedVolume(Volume):
    """A volume of which one box is held in memory; only that box can be read.

    Coordinates stay those of the whole volume.
    """

    def __init__(self, whole: Volume, roi: Roi) -> None:
        self.cached = roi
        self.values = whole.read(roi)
        self.location = whole.location
        self.shape = whole.shape
        self.channels = whole.channels
        self.dtype = whole.dtype
        self.chunk_shape = whole.chunk_shape
        self.voxel_size = whole.voxel_size
        self.offset = whole.offset
        self.attributes = whole.attributes

    @override
    def read(self, roi: Roi | None = None) -> NDArray[Any]:
        assert self.cached.contains(roi or self.roi), "only the cached box can be read"
        box = (roi or self.roi).relative_to(self.cached.offset)
        return self.values[(..., *box.slices())].copy(order="C")


class LayeredVolume(Volume):
    """Another volume with something changed on the way; its files are the files of that one."""

    def __init__(self, whole: Volume) -> None:
        self.whole = whole
        self.location = whole.location
        self.shape = whole.shape
        self.channels = whole.channels
        self.dtype = whole.dtype
        self.chunk_shape = whole.chunk_shape
        self.voxel_size = whole.voxel_size
        self.offset = whole.offset
        self.attributes = whole.attributes

    @override
    def close(self) -> None:
        self.whole.close()


class CroppedVolume(LayeredVolume):
    """A box of another volume, as a volume of its own (what ``--roi`` gives a stage)."""

    def __init__(self, whole: Volume, roi: Roi) -> None:
        super().__init__(whole)
        self.origin = roi.offset
        self.shape = roi.shape
        self.offset = tuple(  # type: ignore[assignment]
            position + step * (size or 1.0)
            for position, step, size in zip(
                whole.offset, roi.offset, whole.voxel_size or (1.0, 1.0, 1.0), strict=True
            )
        )

    @override
    def read(self, roi: Roi | None = None) -> NDArray[Any]:
        return self.whole.read((roi or self.roi).shift(self.origin))
