"""What one phase of a run leaves for the next, beside the arrays: tables on disk."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


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
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        with temporary.open("wb") as file:
            np.savez(file, allow_pickle=False, **columns)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    def load(self, name: str, block: int) -> dict[str, NDArray[Any]]:
        """Return the columns of a block's table."""
        with np.load(self._of_block(name, block), allow_pickle=False) as content:
            return {column: content[column] for column in content.files}

    def has(self, name: str, block: int) -> bool:
        """Say whether a block's table is there."""
        return self._of_block(name, block).is_file()

    def save_column(self, name: str, values: NDArray[Any]) -> None:
        """Store one column of the whole volume, to be mapped into memory."""
        path = self.folder / f"{name}.npy"
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        with temporary.open("wb") as file:
            np.save(file, values, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)

    def column(self, name: str) -> NDArray[Any]:
        """Return such a column; only what is looked at is read."""
        values: NDArray[Any] = np.load(
            self.folder / f"{name}.npy", mmap_mode="r", allow_pickle=False
        )
        return values

    def has_column(self, name: str) -> bool:
        """Say whether such a column is there."""
        return (self.folder / f"{name}.npy").is_file()

    def _of_block(self, name: str, block: int) -> Path:
        return self.folder / name / f"{block}.npz"
