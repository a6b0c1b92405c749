"""What one phase of a run leaves for the next, beside the arrays: tables on disk."""

from __future__ import annotations

import shutil
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from emds.errors import IncompleteError
from emds.files import write_whole
from emds.io.source_volume import DAMAGE

_CHECKSUM_BYTES = 4
_AT_ONCE = 2**20
_DAMAGE = (*DAMAGE, zipfile.BadZipFile)


class Tables:
    """Named tables in a folder: of one block, or of the whole volume.

    Parameters
    ----------
    folder : Path
        Made with the first table.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def save(self, name: str, block: int, **columns: NDArray[Any]) -> None:
        """Store the columns of a block's table, whole or not at all, on disk to stay."""
        path = self._of_block(name, block)
        with write_whole(path) as file:
            np.savez(file, allow_pickle=False, **columns)

    def load(self, name: str, block: int) -> dict[str, NDArray[Any]]:
        """Return the columns of a block's table.

        Raises
        ------
        IncompleteError
            If it is lost or damaged.
        """
        path = self._of_block(name, block)
        with (
            _blaming(path),
            path.open("rb") as file,  # np.load leaves it open if the table is damaged
            np.load(file, allow_pickle=False) as content,
        ):
            return {column: content[column] for column in content.files}

    def has(self, name: str, block: int) -> bool:
        """Say whether a block's table is there."""
        return self._of_block(name, block).is_file()

    def size(self, name: str, block: int) -> int:
        """Return the bytes of a block's table on disk.

        Raises
        ------
        IncompleteError
            If it is lost.
        """
        path = self._of_block(name, block)
        with _blaming(path):
            return path.stat().st_size

    def remove(self, name: str) -> None:
        """Delete the tables of all blocks."""
        shutil.rmtree(self.folder / name)

    def save_column(self, name: str, values: NDArray[Any]) -> None:
        """Store one column of the whole volume, to be mapped into memory."""
        path = self.folder / f"{name}.npy"
        with write_whole(path) as file:
            np.save(file, values, allow_pickle=False)
            size = file.tell()
            file.seek(0)
            checksum = _checksum(file, size)
            file.write(checksum)

    def column(self, name: str) -> NDArray[Any]:
        """Return such a column, mapped: it is read through once for its checksum, but not kept.

        Raises
        ------
        IncompleteError
            If it is lost or damaged.
        """
        path = self.folder / f"{name}.npy"
        with _blaming(path):
            size = path.stat().st_size - _CHECKSUM_BYTES
            with path.open("rb") as file:
                checksum = _checksum(file, size)
                if file.read() != checksum:
                    raise ValueError("its checksum does not fit")
            values: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
        return values

    def has_column(self, name: str) -> bool:
        """Say whether such a column is there."""
        return (self.folder / f"{name}.npy").is_file()

    def _of_block(self, name: str, block: int) -> Path:
        return self.folder / name / f"{block}.npz"


def _checksum(file: IO[bytes], size: int) -> bytes:
    """Return the checksum of the next bytes of a file."""
    value = 0
    while part := file.read(min(_AT_ONCE, size)):
        value = zlib.crc32(part, value)
        size -= len(part)
    return value.to_bytes(_CHECKSUM_BYTES, "little")


@contextmanager
def _blaming(path: Path) -> Iterator[None]:
    try:
        yield
    except _DAMAGE as error:
        raise IncompleteError(
            f"{path}, which a run needs on the way, is lost or damaged ({error}). Delete it if it "
            "is there, and continue with --resume, which makes it again."
        ) from error
