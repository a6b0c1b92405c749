"""Outputs that a run has not finished: what is there instead of them, and what to do."""

from __future__ import annotations

import fcntl
from pathlib import Path

from emds.errors import IncompleteError
from emds.io.locks import close, lock, open_folder
from emds.io.mark import is_written_by_emds
from emds.io.output import is_begun, partial_of
from emds.io.ownership import read_mark

_SUFFIX = partial_of(Path("output")).suffix


def refuse_unfinished(location: str | Path) -> None:
    """Refuse a location that names what a run has begun and not ended.

    Parameters
    ----------
    location : str or Path
        An output, an array in it, or the partial form of it.

    Raises
    ------
    IncompleteError
        With how to finish it.
    """
    target = _unfinished_target(Path(location))
    if target is None:
        return
    partial = partial_of(target)
    if _is_held(partial):
        advice = "An emds is writing it now: wait until it ends."
    elif is_begun(target):
        advice = (
            "Continue with the command that began it and --resume; where it was begun with "
            f"--shard, repeat the shards that stopped, then emds merge {target}."
        )
    else:
        advice = (
            "What began it was stopped; repeat its command with --resume, where it has that, or "
            "with --overwrite."
        )
    raise IncompleteError(f"{str(target)!r} is unfinished: there is {str(partial)!r}. {advice}")


def _unfinished_target(path: Path) -> Path | None:
    for place in (path, *path.parents):
        if place.suffix == _SUFFIX and _is_partial_of(place.with_suffix("")):
            return place.with_suffix("")
        if place.exists():
            return None
        if place.name and _is_partial_of(place):
            return place
    return None


def _is_partial_of(target: Path) -> bool:
    partial = partial_of(target)
    return read_mark(partial, target) is not None or is_written_by_emds(partial)


def _is_held(partial: Path) -> bool:
    """Say whether a process has the lock of a partial output."""
    handle = open_folder(partial)
    held = handle is not None and not lock(handle, fcntl.LOCK_EX)
    close(handle)
    return held
