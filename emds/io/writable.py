"""What the volumes that emds writes have in common."""

from __future__ import annotations

import json
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from emds.files import naming
from emds.geometry import Roi, Triple
from emds.io.source import Role
from emds.io.volume import Nanometres, Volume

DEFAULT_CHUNK_SHAPE: Triple = (16, 256, 256)


@dataclass(frozen=True)
class ArraySpec:
    """Everything that must be known of a volume before its first voxel is written."""

    shape: Triple
    dtype: np.dtype[Any]
    channels: int | None = None
    chunk_shape: Triple = DEFAULT_CHUNK_SHAPE
    voxel_size: Nanometres | None = None
    offset: Nanometres = (0.0, 0.0, 0.0)
    role: Role = "raw"
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def axes(self) -> str:
        """Return ``zyx`` or ``czyx``."""
        return "zyx" if self.channels is None else "czyx"

    @property
    def array_shape(self) -> tuple[int, ...]:
        """Shape with the channels in front, if there are any."""
        return self.shape if self.channels is None else (self.channels, *self.shape)

    @property
    def array_chunks(self) -> tuple[int, ...]:
        """Chunk shape with one channel in front, if there are any."""
        return self.chunk_shape if self.channels is None else (1, *self.chunk_shape)


class WritableVolume(Volume):
    """A volume open for writing: its ``with`` block commits it, or removes it on an error."""

    def __init__(self, location: str, spec: ArraySpec) -> None:
        self.location = location
        self.shape = spec.shape
        self.channels = spec.channels
        self.dtype = spec.dtype
        self.chunk_shape = spec.chunk_shape
        self.voxel_size = spec.voxel_size
        self.offset = spec.offset
        self.attributes = as_json(spec.attributes)

    @override
    def write(self, roi: Roi, values: NDArray[Any]) -> None:
        expected = roi.shape if self.channels is None else (self.channels, *roi.shape)
        assert self.roi.contains(roi), f"{roi} leaves {self.location} of shape {self.shape}"
        assert values.shape == expected, f"{values.shape} values for a box of {expected}"
        assert values.dtype == self.dtype, f"{values.dtype} values for {self.dtype} on disk"
        with naming(self.location):
            self._store(roi, values)

    @abstractmethod
    def _store(self, roi: Roi, values: NDArray[Any]) -> None:
        """Write values that fit the box."""

    @override
    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        self.attributes = as_json(attributes)

    def commit(self) -> None:
        """Finish the output and give it its final name."""

    @override
    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if kind is None:
                self.commit()
        finally:
            self.close()


def as_json(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a JSON file would give back, so that what is set is what is read.

    Raises
    ------
    TypeError, ValueError
        If something in it has no JSON form (arrays, NaN).
    """
    content: dict[str, Any] = json.loads(json.dumps(dict(attributes), allow_nan=False))
    return content


def clipped_chunks(chunk_shape: Triple | None, shape: Triple) -> Triple:
    """Return the chunk shape, no larger than the volume.

    Examples
    --------
    >>> clipped_chunks(None, (200, 250, 250))
    (16, 250, 250)
    """
    z, y, x = (min(c, n) for c, n in zip(chunk_shape or DEFAULT_CHUNK_SHAPE, shape, strict=True))
    return z, y, x
