"""Adding lower resolutions to the images of a container that emds wrote.

A new level is an array beside the others. Nobody looks at it before the OME metadata name it, and
that is the last step, so the container is valid at any moment. OME-Zarr wants labels to have as
many levels as their image, so the metadata of all are written one right after the other.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import zarr

from emds import __version__
from emds.errors import OutputExistsError, UsageError, VolumeError
from emds.geometry import Triple
from emds.io.location import Location
from emds.io.mark import attributes_of, is_written_by_emds
from emds.io.multiscale import level_paths, ome_attributes
from emds.io.ome import add_level
from emds.io.open import open_volume
from emds.io.ownership import WORK_FOLDER, remove, remove_torn
from emds.io.seal import is_sealed, resealed, seal_node
from emds.io.source import Role
from emds.io.sync import sync, sync_all
from emds.io.volume import Volume
from emds.io.writable import ArraySpec, clipped_chunks
from emds.io.zarr_image import ZarrImage
from emds.io.zarr_volume import LEVEL, WholeZarrArray, find_zarr_arrays


class GrowingImage:
    """An image, or labels, with its levels; `begin`, `settle` and `publish` add one.

    Attributes
    ----------
    location : str
        How a user would name it.
    role : {"raw", "labels"}
        What it holds.
    """

    def __init__(self, location: str, group: zarr.Group, folder: Path, work_folder: Path) -> None:
        self.location = location
        self._group = group
        self._folder = folder
        self._work_folder = work_folder
        with self.open_level(0) as image:
            self._dtype, self._chunk_shape = image.dtype, image.chunk_shape
        is_labels = "image-label" in ome_attributes(dict(group.attrs))
        self.role: Role = "labels" if is_labels else "raw"

    @property
    def count(self) -> int:
        """Number of levels, with the image itself."""
        return len(level_paths(dict(self._group.attrs)))

    def open_level(self, level: int) -> Volume:
        """Open a level for reading; 0 is the image itself."""
        return open_volume(self._folder / str(level))

    @property
    def done_folder(self) -> Path:
        """Where it is noted which chunks of the next level are done."""
        return self._work_folder / str(self.count)

    def begin(self, shape: Triple) -> ZarrImage:
        """Make the array of the next level, or find what an earlier run has left of it.

        Parameters
        ----------
        shape : (Z, Y, X)
            Of the level, in voxels.
        """
        level = self.count
        spec = ArraySpec(
            shape=shape,
            dtype=self._dtype,
            chunk_shape=clipped_chunks(self._chunk_shape, shape),
            role=self.role,
        )
        if not self._fits(level, spec):
            self._discard_begun()
        if self._begun.exists() and LEVEL not in self._begun_by():
            raise UsageError(
                f"{str(self._begun)!r} is in the way of a lower resolution, and emds pyramid did "
                "not make it. Move it away."
            )
        remove_torn(self._folder)
        return ZarrImage(
            f"{self.location}/{level}", self._group, self._folder, spec, _ignore, level=level
        )

    def _fits(self, level: int, spec: ArraySpec) -> bool:
        """Say whether this very version of emds began just such an array."""
        found = self._group.get(str(level))
        marker = self._begun_by()
        return (
            isinstance(found, zarr.Array)
            and (found.shape, found.chunks, found.dtype)
            == (spec.array_shape, spec.array_chunks, spec.dtype)
            and (marker.get(LEVEL), marker.get("version")) == (level, __version__)
        )

    def settle(self, image: ZarrImage) -> None:
        """Make sure that all of the array from `begin` is on disk to stay."""
        image.check_whole()
        if is_sealed(self._folder):
            seal_node(self._begun)
        sync_all(self._begun)

    def publish(self, factor: Triple, method: str) -> None:
        """Name the new level in the metadata.

        Parameters
        ----------
        factor : (z, y, x)
            How many voxels of the level before make one of its own.
        method : str
            How its values were found, for viewers.
        """
        changes = add_level(dict(self._group.attrs), factor, method)
        self._group.attrs.update(resealed(self._folder, changes))

    def tidy(self) -> None:
        """Sync the metadata, and remove what there may be of a next level not finished."""
        for name in ("zarr.json", ".zattrs"):
            if (self._folder / name).exists():
                sync(self._folder / name)
        sync(self._folder)
        remove(self._work_folder)
        self._discard_begun()

    def _discard_begun(self) -> None:
        """Remove what there may be of a next level that was not finished."""
        remove(self.done_folder)
        if LEVEL in self._begun_by():
            remove(self._begun)

    @property
    def _begun(self) -> Path:
        return self._folder / str(self.count)

    def _begun_by(self) -> Mapping[str, Any]:
        marker: Mapping[str, Any] = attributes_of(self._begun).get("emds", {})
        return marker


@contextmanager
def open_growing_images(place: Location) -> Iterator[list[GrowingImage]]:
    """Open the images and labels of a container; while they are, nobody else can.

    Parameters
    ----------
    place : Location
        A container.

    Raises
    ------
    VolumeError
        If it is not an OME-Zarr container of emds, or holds no image.
    UsageError
        If it is a part of one.
    OutputExistsError
        If another process adds levels to the container.
    """
    if place.kind != "zarr" or not is_written_by_emds(place.path):
        raise VolumeError(
            f"{str(place.path)!r} is not an OME-Zarr container that emds wrote; lower resolutions "
            "are added to no other. Make one with emds, e.g. emds run or emds denoise."
        )
    if place.key:
        raise UsageError(
            f"name the container, {str(place.path)!r}, not {place.key!r} in it: its images and "
            "labels must have equally many levels."
        )
    handle = os.open(place.path, os.O_RDONLY)
    try:
        _lock(handle, place.path)
        images = _images(place)
        yield images
        remove(place.path / WORK_FOLDER)
    finally:
        os.close(handle)


def _images(place: Location) -> list[GrowingImage]:
    root = zarr.open_group(str(place.path), mode="r+", use_consolidated=False)
    work_folder = place.path / WORK_FOLDER / "pyramid"
    images = []
    for source in find_zarr_arrays(place).sources:
        if source.unusable is not None:
            raise VolumeError(f"cannot read {source.location!r}: {source.unusable}.")
        path = source.location.removeprefix(str(place.path)).strip("/")
        group: Any = root[path] if path else root
        if isinstance(group, zarr.Group) and source.axes == "zyx":
            assert isinstance(source.values, WholeZarrArray)
            folder = place.path / path
            images.append(GrowingImage(source.location, group, folder, work_folder / path))
    if not images:
        raise VolumeError(
            f"{str(place.path)!r} holds neither an image nor labels; lower resolutions of "
            "affinities are not made."
        )
    return images


def _lock(handle: int, path: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise OutputExistsError(
            f"another emds is adding lower resolutions to {str(path)!r} now. Wait until it ends."
        ) from None
    except OSError:
        return  # a file system without locks


def _ignore(attributes: object) -> None:
    """Store no attributes: a level has those of its image."""
