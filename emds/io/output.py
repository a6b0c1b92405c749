"""Outputs that appear whole or not at all: written beside the target, renamed at the end."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from emds.errors import OutputExistsError, UsageError
from emds.io.location import ZARR_METADATA


class PendingOutput:
    """The unfinished form of an output, ``<target>.partial``.

    Made at once, so that a second run on the same target is refused before any work. `commit`
    puts it in the target's place; `abort` removes it. Whatever lay at the target stays until
    then.

    Parameters
    ----------
    target : Path
        Where the output shall be.
    overwrite : bool
        An existing target, or the partial output of a run that was killed, may be replaced.
    folder : bool
        The output is a folder (zarr).

    Raises
    ------
    OutputExistsError
        If the target or its partial form exists and `overwrite` is false.
    UsageError
        If the target's folder is missing, or the target is something emds never writes.
    """

    def __init__(self, target: Path, *, overwrite: bool, folder: bool) -> None:
        self.target = target
        self.partial = target.with_name(target.name + ".partial")
        self._open = False
        if not target.parent.is_dir():
            raise UsageError(
                f"cannot write {str(target)!r}: the folder {str(target.parent)!r} does not exist. "
                "Make it first, or choose another place with --out."
            )
        if target.exists():
            self._check_replaceable(overwrite)
        self._claim(overwrite, folder)
        self._open = True

    def _check_replaceable(self, overwrite: bool) -> None:
        if not overwrite:
            raise OutputExistsError(
                f"{str(self.target)!r} exists. Choose another --out, or pass --overwrite to "
                "replace it."
            )
        if self.target.is_dir() and not any((self.target / m).is_file() for m in ZARR_METADATA):
            raise UsageError(
                f"{str(self.target)!r} is a folder that emds did not write; it is never "
                "overwritten. Choose another --out."
            )

    def _claim(self, overwrite: bool, folder: bool) -> None:
        if overwrite:
            remove(self.partial)
        try:
            if folder:
                self.partial.mkdir()
            else:
                self.partial.touch(exist_ok=False)
        except FileExistsError:
            raise OutputExistsError(
                f"{str(self.partial)!r} exists: an unfinished output of a run that was killed or "
                "is still going on. If nothing is running, pass --overwrite to replace it."
            ) from None
        except OSError as error:
            raise UsageError(f"cannot write {str(self.target)!r}: {error.strerror}.") from error

    def commit(self) -> None:
        """Put the finished output in the target's place, on disk to stay."""
        _sync_all(self.partial)
        replaced = self.target.with_name(self.target.name + ".replaced")
        if self.target.is_dir():
            # A folder that is not empty cannot be replaced in one step.
            remove(replaced)
            self.target.rename(replaced)
        elif self.partial.is_dir():
            remove(self.target)
        self.partial.replace(self.target)
        _sync(self.target.parent)
        remove(replaced)
        self._open = False

    def abort(self) -> None:
        """Remove what was written; does nothing after `commit`."""
        if self._open:
            remove(self.partial)
            self._open = False


def remove(path: Path) -> None:
    """Remove a file or a whole folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _sync_all(path: Path) -> None:
    # Many at a time: the file system then gathers them into few journal commits.
    with ThreadPoolExecutor(max_workers=16) as pool:
        list(pool.map(_sync, _files_below(path)))


def _files_below(path: Path) -> Iterator[Path]:
    if path.is_dir():
        for folder, _, names in os.walk(path):
            yield Path(folder)
            yield from (Path(folder, name) for name in names)
    else:
        yield path


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
