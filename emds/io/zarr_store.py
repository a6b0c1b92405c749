"""Reading a zarr folder without leaving it, and without waiting for what is no file."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from typing_extensions import override
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.storage import LocalStore

from emds.errors import VolumeError
from emds.io.location import ZARR_METADATA

_KINDS = {
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
    stat.S_IFDIR: "a folder",
}


class GuardedStore(LocalStore):
    """A zarr folder of which only regular files inside it are read.

    A pipe or a device would be read for ever, and a chunk that links elsewhere would bring any
    file of the user into the output. A whole array or group may be a link: it is opened as what
    it is, and its own folder then bounds it.
    """

    @override
    async def get(
        self,
        key: str,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        check_inside(self.root, key)
        return await super().get(key, prototype, byte_range)

    @override
    def get_sync(
        self,
        key: str,
        *,
        prototype: BufferPrototype | None = None,
        byte_range: ByteRequest | None = None,
    ) -> Buffer | None:
        check_inside(self.root, key)
        return super().get_sync(key, prototype=prototype, byte_range=byte_range)

    @override
    async def get_partial_values(
        self,
        prototype: BufferPrototype,
        key_ranges: Iterable[tuple[str, ByteRequest | None]],
    ) -> list[Buffer | None]:
        wanted: list[Any] = list(key_ranges)
        for key, _ in wanted:
            check_inside(self.root, key)
        return await super().get_partial_values(prototype, wanted)


def check_inside(root: Path, key: str) -> None:
    """Refuse a file of a zarr folder that is no regular file, or lies elsewhere.

    Raises
    ------
    VolumeError
        One that is not there at all is not refused.
    """
    path = root / key
    try:
        kind = stat.S_IFMT(os.stat(path).st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:  # links in a circle, no permission
        raise VolumeError(f"cannot read {str(path)!r}: {os.strerror(error.errno or 0)}.") from error
    if kind != stat.S_IFREG:
        raise VolumeError(
            f"cannot read {str(path)!r}: it is {_KINDS.get(kind, 'no regular file')}, where zarr "
            "has a file. Restore it from a copy."
        )
    target = Path(os.path.realpath(path))
    if not any(target.is_relative_to(os.path.realpath(folder)) for folder in _bounds(root, path)):
        raise VolumeError(
            f"cannot read {str(path)!r}: it is a link out of its zarr, to {str(target)!r}, which "
            "emds does not follow. Copy the zarr with its links resolved, e.g. with cp -rL."
        )


def _bounds(root: Path, path: Path) -> Iterable[Path]:
    """Yield the folders that a file may lie in: the root, then its own array or group."""
    yield root
    for folder in path.parents:
        if folder == root:
            return
        if any((folder / name).is_file() for name in ZARR_METADATA):
            yield folder
            return
