"""Writing TIFF: a plain stack of pages, section after section."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, cast

import numpy as np
import tifffile
from numpy.typing import NDArray
from typing_extensions import override

from emds.geometry import Roi
from emds.io.deferred_file import DeferredFile
from emds.io.output import PendingOutput
from emds.io.writable import ArraySpec, WritableVolume

_CLASSIC_LIMIT = 2**32 - 2**20
_BYTES_PER_DIRECTORY = 1024
_NM_PER_CM = 1e7


class TiffOutput(WritableVolume):
    """A stack whose pages are z, with the channels of a section next to each other.

    Boxes may cut a section into parts, but all parts of the sections before must have come, or
    come while those are still held: sections wait in memory until they are whole. Pages lie one
    after the other without compression, so that readers can map the file.
    """

    def __init__(self, target: Path, spec: ArraySpec, *, overwrite: bool) -> None:
        super().__init__(str(target), spec)
        self._output = PendingOutput(target, overwrite=overwrite, folder=False)
        pages = self.shape[0] * (self.channels or 1)
        size = self.nbytes + _BYTES_PER_DIRECTORY * pages
        try:
            self._disk = cast(Any, DeferredFile(self._output.content))
            self._file = tifffile.TiffWriter(self._disk, bigtiff=size > _CLASSIC_LIMIT)
        except BaseException:
            self._output.abort()
            raise
        self._waiting: dict[int, tuple[NDArray[Any], int]] = {}
        self._written = 0

    @override
    def read(self, roi: Roi | None = None) -> NDArray[Any]:
        raise TypeError(f"{self.location} cannot be read while it is written")

    @override
    def _store(self, roi: Roi, values: NDArray[Any]) -> None:
        assert roi.offset[0] >= self._written, f"section {roi.offset[0]} is already written"
        _, y, x = roi.slices()
        stack = values if self.channels is not None else values[None]
        for place, z in enumerate(range(roi.offset[0], roi.end[0])):
            section, missing = self._waiting.get(z) or self._empty_section()
            section[:, y, x] = stack[:, place]
            self._waiting[z] = (section, missing - stack[:, place].size)
        while self._written in self._waiting and self._waiting[self._written][1] <= 0:
            section, _ = self._waiting.pop(self._written)
            self._append(section)
            self._written += 1

    def _empty_section(self) -> tuple[NDArray[Any], int]:
        section = np.empty((self.channels or 1, *self.shape[1:]), self.dtype)
        return section, section.size

    def _append(self, section: NDArray[Any]) -> None:
        size = self.voxel_size
        per_cm = None if size is None else (_NM_PER_CM / size[2], _NM_PER_CM / size[1])
        for channel, page in enumerate(section):
            first = self._written == 0 and channel == 0
            self._file.write(
                page,
                contiguous=True,
                photometric="minisblack",
                metadata=None,
                description="emds" if first else None,
                resolution=per_cm,
                resolutionunit=None if per_cm is None else "CENTIMETER",
                software="emds",
            )
        self._disk.check()

    @override
    def commit(self) -> None:
        if self._written != self.shape[0]:
            raise RuntimeError(
                f"{self.location} was not written everywhere: {self._written} of "
                f"{self.shape[0]} sections"
            )
        self._file.close()
        z, y, x = self.shape
        shape = [z, y, x] if self.channels is None else [z, self.channels, y, x]
        description = {
            "shape": shape,
            "axes": "ZYX" if self.channels is None else "ZCYX",
            "voxel_size_nm": self.voxel_size,
            "offset_nm": self.offset,
            "emds": self.attributes,
        }
        self._disk.seek(0)
        tifffile.tiffcomment(self._disk, json.dumps(description))
        self._disk.close()
        self._disk.check()
        self._output.commit()

    @override
    def close(self) -> None:
        self._waiting.clear()
        try:
            self._file.close()
            self._disk.close()
        finally:
            self._output.abort()
