"""Writing zarr: OME-Zarr images with checksummed chunks, alone or several in one container."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import zarr

from emds.files import naming
from emds.geometry import Triple
from emds.io.ome import OmeVersion, build_label_list, build_multiscale
from emds.io.output import Claim, PendingOutput
from emds.io.ownership import remove_torn
from emds.io.seal import keep_metadata, mend_metadata, seal
from emds.io.source import Role
from emds.io.volume import Nanometres
from emds.io.writable import ArraySpec, as_json, clipped_chunks
from emds.io.zarr_image import ZarrImage


class Container:
    """An OME-Zarr group under construction: a root image, label images, and other images.

    Use it in a ``with`` block: it appears at its target when the block ends well, and is removed
    when it ends with an exception, unless `leave` was called. The images made from it need no
    block of their own. Where several processes write one container, or a later one goes on with
    it, each asks for the same images, and finds those that are there.

    Parameters
    ----------
    target : Path
        A folder, usually ``*.zarr``.
    overwrite : bool
        An existing output may be replaced (at the end).
    ome_version : {"0.5", "0.4"}
        0.5 is zarr 3, 0.4 is zarr 2.
    claim : {"new", "resume", "share", "help"}
        See `PendingOutput`. What was left before everything was set up is thrown away.
    """

    def __init__(
        self,
        target: Path,
        *,
        overwrite: bool,
        ome_version: OmeVersion,
        claim: Claim = "new",
    ) -> None:
        self.location = str(target)
        self._version: OmeVersion = ome_version
        self._output = PendingOutput(target, overwrite=overwrite, folder=True, claim=claim)
        self._folder = self._output.partial
        try:
            if self._output.is_set_up:
                mend_metadata(self._folder, self.work_folder, absent=True)
            else:
                self._output.clear()
            # Mode "a" keeps the folder that was just claimed; "w" would remove and remake it.
            with naming(target):
                self._root = zarr.open_group(
                    str(self._folder), mode="a", zarr_format=3 if ome_version == "0.5" else 2
                )
        except BaseException:
            if claim == "new":
                self._output.abort()
            else:  # it is not this process's to remove
                self._output.leave()
            raise
        self._images: dict[str, ZarrImage] = {}
        self._root_attributes: dict[str, Any] = {}

    def create_image(
        self,
        name: str | None,
        shape: Triple,
        dtype: Any,
        *,
        channels: int | None = None,
        chunk_shape: Triple | None = None,
        voxel_size: Nanometres | None = None,
        offset: Nanometres = (0.0, 0.0, 0.0),
        role: Role | None = None,
        attributes: Mapping[str, Any] | None = None,
    ) -> ZarrImage:
        """Add an image; None as `name` makes it the root image.

        The attributes of the root image are those of the container.

        Parameters
        ----------
        name : str or None
            Folder in the container, e.g. ``affinities``.
        shape : (Z, Y, X)
            In voxels.
        dtype : numpy dtype
            Type of a voxel.
        channels : int, optional
            Makes the array (c, z, y, x), with one channel to a chunk.
        chunk_shape : (z, y, x), optional
            Default (16, 256, 256); clipped to `shape`.
        voxel_size, offset : (z, y, x) float
            Nanometres.
        role : {"raw", "labels", "affinities"}, optional
            What it holds; by default ``affinities`` with channels, else ``raw``.
        attributes : mapping, optional
            JSON metadata.
        """
        spec = ArraySpec(
            shape=shape,
            dtype=np.dtype(dtype),
            channels=channels,
            chunk_shape=clipped_chunks(chunk_shape, shape),
            voxel_size=voxel_size,
            offset=offset,
            role=role or ("raw" if channels is None else "affinities"),
            attributes=attributes or {},
        )
        with naming(self.location):
            return self._add(name or "", spec)

    def create_only_image(self, spec: ArraySpec) -> ZarrImage:
        """Add the root image and make the container follow its ``with`` block."""
        with naming(self.location):
            return self._add("", spec, owner=self)

    def create_labels(
        self,
        name: str,
        shape: Triple,
        dtype: Any = np.uint64,
        *,
        chunk_shape: Triple | None = None,
        voxel_size: Nanometres | None = None,
        offset: Nanometres = (0.0, 0.0, 0.0),
        attributes: Mapping[str, Any] | None = None,
    ) -> ZarrImage:
        """Add a label image under ``labels/<name>``; parameters as for `create_image`."""
        spec = ArraySpec(
            shape=shape,
            dtype=np.dtype(dtype),
            chunk_shape=clipped_chunks(chunk_shape, shape),
            voxel_size=voxel_size,
            offset=offset,
            role="labels",
            attributes=attributes or {},
        )
        with naming(self.location):
            image = self._add(f"labels/{name}", spec)
        if not self.is_set_up:
            names = [path.split("/")[1] for path in self._images if path.startswith("labels/")]
            self._root.require_group("labels").attrs.update(build_label_list(names, self._version))
        return image

    def remove_image(self, name: str) -> None:
        """Drop an image that was only needed on the way, if it is there."""
        self._images.pop(name, None)
        if name in self._root:
            del self._root[name]

    @property
    def work_folder(self) -> Path:
        """Where a run keeps what is no part of the output; gone after `commit`."""
        return self._output.work_folder

    @property
    def is_set_up(self) -> bool:
        """Whether all images have been made, as the record in `work_folder` says."""
        return self._output.is_set_up

    def is_whole(self, but_for: Collection[str] = ()) -> bool:
        """Say whether every chunk of all images is there, but for those of some names."""
        return all(
            image.is_written(image.roi)
            for name, image in self._images.items()
            if name not in but_for
        )

    def keep_metadata(self) -> None:
        """Keep a copy of what is set up, so that damage to it is mended; before the record."""
        keep_metadata(self._folder, self.work_folder)

    def set_up(self) -> None:
        """Let others in who share the container; call it once the record is written."""
        self._output.set_up()

    def leave(self) -> None:
        """Keep what was written, so that another process can continue it."""
        self._output.leave()

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Replace the container's own JSON metadata."""
        self._root_attributes = as_json(attributes)
        self._store_root_attributes({})

    def _add(self, path: str, spec: ArraySpec, owner: Container | None = None) -> ZarrImage:
        if path in self._images:
            raise ValueError(f"{self.location} already has an image {path or '(root)'!r}")
        group = self._root.require_group(path) if path else self._root
        name = path.rsplit("/", 1)[-1] or self._output.target.stem
        labels_of = "../../" if path.startswith("labels/") and "" in self._images else ""
        if not self.is_set_up:
            group.attrs.update(
                build_multiscale(
                    name,
                    spec.axes,
                    spec.voxel_size,
                    spec.offset,
                    self._version,
                    labels_of=labels_of if spec.role == "labels" else None,
                )
            )

        def store(attributes: Mapping[str, Any]) -> None:
            group.attrs["emds"] = dict(attributes)

        image = ZarrImage(
            f"{self.location}/{path}".rstrip("/"),
            group,
            self._folder / path,
            spec,
            store if path else self._store_root_attributes,
            owner,
        )
        self._images[path] = image
        return image

    def _store_root_attributes(self, of_image: Mapping[str, Any]) -> None:
        root_image = self._images.get("")
        shared = of_image or (root_image.attributes if root_image else {})
        self._root.attrs["emds"] = {**shared, **self._root_attributes}

    def commit(self) -> None:
        """Finish the container and give it its final name."""
        for image in self._images.values():
            image.check_whole()
        if self.is_set_up:
            mend_metadata(self._folder, self.work_folder, absent=False)
        remove_torn(self._folder)
        seal(self._folder)
        self._output.commit()

    def close(self) -> None:
        """Remove what was written, unless it was committed."""
        self._output.abort()

    def __enter__(self) -> Self:
        return self

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


def create_zarr_volume(
    target: Path, spec: ArraySpec, *, overwrite: bool, ome_version: OmeVersion
) -> ZarrImage:
    """Start a container with nothing but its root image, which commits it."""
    container = Container(target, overwrite=overwrite, ome_version=ome_version)
    try:
        return container.create_only_image(spec)
    except BaseException:
        container.close()
        raise
