"""Ends of a process at every place where it touches the disk, and what to compare after them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from emds.networks.archive import content_hash
from emds.networks.checkpoint import load_checkpoint

_CALLS = ("fsync", "replace", "rename", "unlink", "rmdir")
_CLOCKS = ("seconds", "cpu_seconds")


class KilledError(BaseException):
    """Stands for kill -9: from there on the process changes nothing on the disk."""


@contextmanager
def dying_at(call: int) -> Iterator[Callable[[], int]]:
    """End at a call that changes the disk, counted from 0: half of them before it, half after.

    Yields a function that says how many calls there were.
    """
    count = 0

    def dies(name: str) -> Any:
        real = getattr(os, name)

        def instead(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            count += 1
            if count - 1 == call or count - 2 >= call >= 0:
                raise KilledError
            result = real(*arguments, **options) if name != "fsync" else None
            count += 1
            if count - 1 == call:
                raise KilledError
            return result

        return instead

    with pytest.MonkeyPatch.context() as patch:
        for name in _CALLS:
            patch.setattr(os, name, dies(name))
        yield lambda: count


def calls_of(work: Callable[[], Any]) -> int:
    """Return at how many places some work may end."""
    with dying_at(-1) as count:
        work()
    return count()


def described(path: Path) -> str:
    """Return a hash of all that a checkpoint says, but for clocks."""
    checkpoint = load_checkpoint(path)
    content = checkpoint.model_dump(mode="json", exclude={"weights"})
    for name in _CLOCKS:
        content["metrics"].pop(name, None)
    return content_hash(content | {"weights": checkpoint.weights})


def outcome_of_training(folder: Path) -> dict[str, Any]:
    """Return what a finished run must leave, however often it was killed."""
    return {
        "best": described(folder / "best.pt"),
        "last": described(folder / "last.pt"),
        "curve": (folder / "metrics.jsonl").read_bytes(),
        "files": sorted(path.name for path in folder.iterdir()),
    }
