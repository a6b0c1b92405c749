"""Writing HDF5 in the CREMI layout."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from emds.geometry import Roi
from emds.io.deferred_file import DeferredFile
from emds.io.output import PendingOutput
from emds.io.source import Role
from emds.io.writable import ArraySpec, WritableVolume

CREMI_NAMES: dict[Role, str] = {
    "raw": "volumes/raw",
    "labels": "volumes/labels/neuron_ids",
    "affinities": "volumes/affinities",
}


class Hdf5Output(WritableVolume):
    """One data set with ``resolution`` and ``offset`` in nm.

    Its chunks are gzipped, and so carry a checksum that readers verify.
    """

    def __init__(self, target: Path, spec: ArraySpec, *, overwrite: bool) -> None:
        super().__init__(f"{target}:{CREMI_NAMES[spec.role]}", spec)
        self._output = PendingOutput(target, overwrite=overwrite, folder=False)
        self._file: Any = None
        self._disk: Any = None
        try:
            self._disk = DeferredFile(self._output.content)
            self._file = h5py.File(self._disk, "w")
            self._dataset = self._create_dataset(spec)
            self.set_attributes(spec.attributes)
            self._disk.check()
        except BaseException:
            self.close()
            raise

    def _create_dataset(self, spec: ArraySpec) -> Any:
        dataset = self._file.create_dataset(
            CREMI_NAMES[spec.role],
            shape=spec.array_shape,
            dtype=spec.dtype,
            chunks=spec.array_chunks,
            compression="gzip",
            compression_opts=1,
            shuffle=spec.dtype.itemsize > 1,
        )
        if spec.voxel_size is not None:
            dataset.attrs["resolution"] = np.asarray(spec.voxel_size, dtype=float)
        dataset.attrs["offset"] = np.asarray(spec.offset, dtype=float)
        return dataset

    @override
    def read(self, roi: Roi | None = None) -> NDArray[Any]:
        return np.array(self._dataset[(..., *(roi or self.roi).slices())], order="C")

    @override
    def _store(self, roi: Roi, values: NDArray[Any]) -> None:
        self._dataset[(..., *roi.slices())] = values
        self._disk.check()

    @override
    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        super().set_attributes(attributes)
        self._dataset.attrs["emds"] = json.dumps(self.attributes)

    @override
    def commit(self) -> None:
        chunks = zip(self._dataset.shape, self._dataset.chunks, strict=True)
        expected = math.prod(-(-size // chunk) for size, chunk in chunks)
        written = self._dataset.id.get_num_chunks()
        if written != expected:
            raise RuntimeError(
                f"{self.location} was not written everywhere: {written} of {expected} chunks"
            )
        self._close_file()
        self._output.commit()

    @override
    def close(self) -> None:
        try:
            self._close_file()
        finally:
            self._output.abort()

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()
        if self._disk is not None:
            self._disk.close()
            self._disk.check()
