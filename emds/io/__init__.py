"""Everything that opens a path: zarr, OME-Zarr, HDF5, TIFF and slice folders."""

from emds.io.create import create_container, create_volume
from emds.io.open import describe, open_volume
from emds.io.padding import read_padded
from emds.io.volume import MemoryVolume, Volume
from emds.io.zarr_output import Container

__all__ = [
    "Container",
    "MemoryVolume",
    "Volume",
    "create_container",
    "create_volume",
    "describe",
    "open_volume",
    "read_padded",
]
