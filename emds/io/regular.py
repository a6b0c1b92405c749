"""Files that end: reading a pipe or a device could wait, or go on, for ever."""

from __future__ import annotations

import stat
from pathlib import Path

from emds.errors import VolumeError

_KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a pipe (FIFO)"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)


def refuse_special(path: Path) -> None:
    """Make sure that a path leads to a regular file.

    Raises
    ------
    VolumeError
        If it is a folder, pipe, socket or device, or leads to one or to nothing.
    """
    try:
        mode = path.stat().st_mode
    except OSError as error:
        reason = (error.strerror or "unknown").lower()
        raise VolumeError(f"cannot read {str(path)!r}: {reason}.") from error
    for is_kind, name in _KINDS:
        if is_kind(mode):
            link = f" (it links to {str(path.resolve())!r})" if path.is_symlink() else ""
            raise VolumeError(
                f"cannot read {str(path)!r}: it is {name}, a regular file is expected{link}."
            )
