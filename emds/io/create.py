"""Making outputs: a single volume in any format, or a container of several images."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from emds.errors import UsageError
from emds.io.ome import OmeVersion
from emds.io.source import Role
from emds.io.writable import ArraySpec, WritableVolume, clipped_chunks
from emds.numbers import PositionTriple, Size, SizeTriple, VoxelSize, checked

if TYPE_CHECKING:
    from emds.io.output import Claim
    from emds.io.zarr_output import Container

ZARR_SUFFIXES = (".zarr",)
TIFF_SUFFIXES = (".tif", ".tiff")
HDF5_SUFFIXES = (".h5", ".hdf", ".hdf5")


@checked
def create_volume(
    location: str | Path,
    *,
    shape: SizeTriple,
    dtype: Any,
    channels: Size | None = None,
    chunk_shape: SizeTriple | None = None,
    voxel_size: VoxelSize | None = None,
    offset: PositionTriple = (0.0, 0.0, 0.0),
    role: Role = "raw",
    attributes: Mapping[str, Any] | None = None,
    overwrite: bool = False,
    ome_version: OmeVersion = "0.5",
) -> WritableVolume:
    """Make a volume to be written in a ``with`` block.

    It is written as ``<location>.partial`` and gets its name when the block ends without an
    exception; otherwise it is removed. What lay there before stays until then.

    Parameters
    ----------
    location : str or Path
        Its suffix decides the format: ``.zarr`` (OME-Zarr), ``.tif``/``.tiff`` (boxes must
        arrive section after section), ``.h5``/``.hdf``/``.hdf5`` (CREMI layout).
    shape : (Z, Y, X)
        In voxels.
    dtype : numpy dtype
        Type of a voxel.
    channels : int, optional
        Makes it (c, z, y, x).
    chunk_shape : (z, y, x), optional
        Default (16, 256, 256), clipped to `shape`. Boxes written to zarr start and end on chunk
        borders or the volume's.
    voxel_size, offset : (z, y, x) float
        Nanometres.
    role : {"raw", "labels", "affinities"}
        Where the array goes in HDF5, and what is said of it in zarr.
    attributes : mapping, optional
        JSON metadata, read back as `Volume.attributes`.
    overwrite : bool
        An existing output, or the partial one of a run that was killed, may be replaced.
    ome_version : {"0.5", "0.4"}
        Version of OME-Zarr; ignored by the other formats.

    Raises
    ------
    OutputExistsError
        If the output or its partial form exists and `overwrite` is false.
    UsageError
        If the suffix is unknown or the folder does not exist.
    """
    target = Path(location)
    suffix = target.suffix.lower()
    spec = ArraySpec(
        shape=shape,
        dtype=np.dtype(dtype),
        channels=channels,
        chunk_shape=clipped_chunks(chunk_shape, shape),
        voxel_size=voxel_size,
        offset=offset,
        role=role,
        attributes=attributes or {},
    )
    if suffix in ZARR_SUFFIXES:
        from emds.io.zarr_output import create_zarr_volume

        return create_zarr_volume(target, spec, overwrite=overwrite, ome_version=ome_version)
    if suffix in TIFF_SUFFIXES:
        from emds.io.tiff_output import TiffOutput

        return TiffOutput(target, spec, overwrite=overwrite)
    if suffix in HDF5_SUFFIXES:
        from emds.io.hdf5_output import Hdf5Output

        return Hdf5Output(target, spec, overwrite=overwrite)
    raise UsageError(
        f"cannot write {str(location)!r}: an output must end in "
        f"{', '.join((*ZARR_SUFFIXES, *TIFF_SUFFIXES, *HDF5_SUFFIXES))}."
    )


def create_container(
    location: str | Path,
    *,
    overwrite: bool = False,
    ome_version: OmeVersion = "0.5",
    claim: Claim = "new",
) -> Container:
    """Make an OME-Zarr container for several images, to be filled in a ``with`` block.

    Atomic as `create_volume` is.

    Parameters
    ----------
    location : str or Path
        Must end in ``.zarr``.
    overwrite : bool
        An existing output may be replaced.
    ome_version : {"0.5", "0.4"}
        Version of OME-Zarr.
    claim : {"new", "resume", "share", "help"}
        Whether to make the container, to take over the partial output of a process that has
        ended, to write it together with others, or to help the one that holds it.

    Raises
    ------
    OutputExistsError
        If the output or its partial form exists and `overwrite` is false, or another process is
        writing it.
    UsageError
        If the suffix is not ``.zarr`` or the folder does not exist; if there is nothing to resume.
    """
    from emds.io.zarr_output import Container

    target = Path(location)
    if target.suffix.lower() not in ZARR_SUFFIXES:
        raise UsageError(
            f"cannot write {str(location)!r}: an output of this command is an OME-Zarr container, "
            "so --out must end in .zarr."
        )
    return Container(target, overwrite=overwrite, ome_version=ome_version, claim=claim)
