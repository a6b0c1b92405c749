"""One image of a zarr container: chunks with checksums, written whole and checked when read."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numcodecs  # type: ignore[import-untyped]
import numpy as np
import zarr
from numpy.typing import NDArray
from typing_extensions import override
from zarr.codecs import ZstdCodec

from emds import __version__
from emds.errors import VolumeError
from emds.geometry import Roi, iter_blocks
from emds.io.source import refuse_os_error
from emds.io.source_volume import DAMAGE
from emds.io.sync import sync
from emds.io.writable import ArraySpec, WritableVolume
from emds.io.zarr_volume import LEVEL, WRITTEN_WHOLE, chunk_files

if TYPE_CHECKING:
    from emds.io.zarr_output import Container


class ZarrImage(WritableVolume):
    """One image of a container: an array of an OME-Zarr group, named after its level.

    Parameters
    ----------
    location : str
        Final name, for messages.
    group : zarr.Group
        Empty group with the OME metadata.
    folder : Path
        Where `group` lies now.
    spec : ArraySpec
        Description of the array.
    store_attributes : callable
        Puts emds' own attributes where they belong.
    owner : Container or None
        The container of which this is the only image, and which it therefore commits.
    level : int
        0 is the image itself, others are lower resolutions of it.
    """

    def __init__(
        self,
        location: str,
        group: zarr.Group,
        folder: Path,
        spec: ArraySpec,
        store_attributes: Callable[[Mapping[str, Any]], None],
        owner: Container | None = None,
        level: int = 0,
    ) -> None:
        super().__init__(location, spec)
        name = str(level)
        self._owner = owner
        self._folder = folder / name
        self._store_attributes = store_attributes
        if name in group:  # made by another process, or by a run that is being resumed
            found = group[name]
            assert isinstance(found, zarr.Array)
            assert found.chunks == spec.array_chunks
            self._array: zarr.Array[Any] = found
        else:
            self._array = _create_array(group, spec, level)
            self.set_attributes(spec.attributes)

    @override
    def read(self, roi: Roi | None = None) -> NDArray[Any]:
        box = self.roi if roi is None else roi
        for path in self._files(box):
            if not path.exists():
                raise VolumeError(
                    f"the chunk {path} was lost while {self.location} is made. Continue with "
                    "--resume, which makes it again."
                )
        try:
            return np.array(self._array[(..., *box.slices())], order="C")
        except DAMAGE as error:
            path = self._damaged_chunk(box)
            refuse_os_error(error, path)
            raise VolumeError(
                f"the chunk {path} is damaged ({error}). Delete that file and continue with "
                "--resume, which makes it again."
            ) from error

    @override
    def _store(self, roi: Roi, values: NDArray[Any]) -> None:
        for begin, end, size, chunk in zip(
            roi.offset, roi.end, self.shape, self.chunk_shape, strict=True
        ):
            # Two writers that share a chunk would each undo the other's part of it.
            assert begin % chunk == 0, f"{roi} starts inside a chunk of {self.chunk_shape}"
            assert end % chunk == 0 or end == size, f"{roi} ends inside a chunk"
        self._array[(..., *roi.slices())] = values

    @override
    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        super().set_attributes(attributes)
        self._store_attributes(self.attributes)

    @override
    def commit(self) -> None:
        if self._owner is not None:
            self._owner.commit()

    @override
    def close(self) -> None:
        if self._owner is not None:
            self._owner.close()

    def sync(self, roi: Roi) -> None:
        """Make sure that the chunks of a box outlive a crash of the machine."""
        for path in self._files(roi):
            sync(path)

    def is_written(self, roi: Roi) -> bool:
        """Say whether every chunk of a box is there."""
        return all(path.exists() for path in self._files(roi))

    def _damaged_chunk(self, roi: Roi) -> Path:
        """Return the first chunk of a box that cannot be read, or the folder of them all."""
        for block in iter_blocks(roi, self.chunk_shape):
            for channel in range(self.channels or 1):
                first = () if self.channels is None else (channel,)
                index = (*first, *block.write_roi.slices())
                try:
                    self._array[index]
                except DAMAGE:
                    return next(chunk_files(self._array, self._folder, index))
        return self._folder

    def check_whole(self) -> None:
        """Fail if a chunk was never written: it would read back as zeros elsewhere."""
        for path in self._files(self.roi):
            if not path.exists():
                raise RuntimeError(f"{self.location} was not written everywhere: no {path}")

    def _files(self, roi: Roi) -> Iterator[Path]:
        index = (slice(0, n) for n in self._array.shape[: self._array.ndim - 3])
        return chunk_files(self._array, self._folder, (*index, *roi.slices()))


def _create_array(group: zarr.Group, spec: ArraySpec, level: int) -> zarr.Array[Any]:
    """Make the array so that damage shows: checksums, and every chunk stored.

    Without checksums a flipped bit reads back as a plausible voxel; without empty chunks one that
    was lost reads back as zeros.
    """
    marker: dict[str, Any] = {WRITTEN_WHOLE: True, "role": spec.role}
    if level:
        marker |= {LEVEL: level, "version": __version__}
    return group.create_array(
        str(level),
        shape=spec.array_shape,
        dtype=spec.dtype,
        chunks=spec.array_chunks,
        compressors=(
            ZstdCodec(level=1, checksum=True)
            if group.metadata.zarr_format == 3
            else numcodecs.Zstd(level=1, checksum=True)
        ),
        dimension_names=tuple(spec.axes) if group.metadata.zarr_format == 3 else None,
        chunk_key_encoding=(
            None
            if group.metadata.zarr_format == 3
            else {"name": "v2", "separator": "/"}  # OME-Zarr 0.4 asks for nested chunks
        ),
        config={"write_empty_chunks": True},
        fill_value=0,
        attributes={"emds": marker},
    )
