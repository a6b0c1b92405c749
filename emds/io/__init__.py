"""Everything that opens a path: zarr, OME-Zarr, HDF5, TIFF and slice folders.

The libraries that do the work are loaded with the first file that needs them.
"""

from typing import TYPE_CHECKING, Any

from emds.io.create import create_container, create_volume
from emds.io.open import describe, open_volume
from emds.io.padding import read_padded
from emds.io.volume import MemoryVolume, Volume

if TYPE_CHECKING:
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


def __getattr__(name: str) -> Any:
    if name == "Container":
        from emds.io.zarr_output import Container

        return Container
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
