"""Outputs that a run has not finished: what is there instead of them, and what to do."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from emds.errors import IncompleteError
from emds.io.output import partial_of, run_file_of

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
    elif run_file_of(target).is_file():
        advice = (
            "Continue with the command that began it and --resume; where it was begun with "
            f"--shard, repeat the shards that stopped, then emds merge {target}."
        )
    else:
        advice = "The run that began it was killed; repeat its command with --overwrite."
    raise IncompleteError(f"{str(target)!r} is unfinished: there is {str(partial)!r}. {advice}")


def _unfinished_target(path: Path) -> Path | None:
    for place in (path, *path.parents):
        if place.suffix == _SUFFIX and place.exists():
            return place.with_suffix("")
        if place.exists():
            return None
        if place.name and partial_of(place).exists():
            return place
    return None


def _is_held(partial: Path) -> bool:
    """Say whether a process has the lock of a partial output."""
    handle = os.open(partial, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False  # a file system without locks
    finally:
        os.close(handle)
    return False
