"""Commands in processes of their own that are really killed: at a call, or after a while.

They are forked from a process that has imported everything, so a life costs no start.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any

CALLS = ("fsync", "replace", "rename", "unlink", "rmdir")
_PRELOADED = ("train", "tune", "adapt", "reproduce.work", "reproduce.command", "execute")


def live(
    words: Sequence[str], *, call: int | None = None, seconds: float | None = None
) -> tuple[int, str]:
    """Run a command line until it ends or is killed; return its exit code and standard error.

    Parameters
    ----------
    words : sequence of str
        Without ``emds``.
    call : int, optional
        Number of the call that changes the disk, from 0, at which it is killed: before an even
        one, after an odd one is done.
    seconds : float, optional
        After which it is killed.
    """
    process = _server().Process(target=_life, args=(list(words), os.getcwd(), call, seconds))
    process.start()
    process.join(300)
    assert process.exitcode is not None, f"{words} never ended"
    return process.exitcode, Path("stderr.txt").read_text()


def killed_often(
    next_words: Callable[[], Sequence[str] | None], calls: int, seconds: float, kills: int
) -> int:
    """Start a command again and again, kill it, and at last let it end; return how often it was.

    Parameters
    ----------
    next_words : callable
        Returns the words of the next start; None where a killed one had finished.
    calls, seconds : int, float
        A life ends at a call, or after a time, that are drawn from below these.
    kills : int
        After so many it may live.
    """
    rng = random.Random(0)
    count = 0
    while (words := next_words()) is not None:
        at_call = count % 2 == 0
        code, stderr = live(
            words,
            call=rng.randrange(calls) if at_call and count < kills else None,
            seconds=rng.uniform(0, seconds) if not at_call and count < kills else None,
        )
        if code != -signal.SIGKILL:
            assert code == 0, stderr
            break
        count += 1
    return count


def lasting(words: Sequence[str]) -> float:
    """Run a command undisturbed and return the seconds it took."""
    live(("--version",))  # from here on, all is imported
    begin = time.monotonic()
    code, stderr = live(words)
    assert code == 0, stderr
    return time.monotonic() - begin


def _server() -> ForkServerContext:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["emds.cli.app", *(f"emds.stages.{n}" for n in _PRELOADED)])
    return context


def _life(words: list[str], place: str, call: int | None, seconds: float | None) -> None:
    import torch

    from emds.cli.app import app

    os.chdir(place)
    os.dup2(os.open("stderr.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC), 2)
    sys.stderr = os.fdopen(2, "w", buffering=1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    torch.set_num_threads(1)
    if call is not None:
        _die_at(call)
    if seconds is not None:
        timer = threading.Timer(seconds, _die)
        timer.daemon = True
        timer.start()
    app(words, prog_name="emds")


def _die_at(call: int) -> None:
    count = 0

    def dies(real: Callable[..., Any]) -> Callable[..., Any]:
        def instead(*arguments: Any, **options: Any) -> Any:
            nonlocal count
            if count == call:
                _die()
            result = real(*arguments, **options)
            if count + 1 == call:
                _die()
            count += 2
            return result

        return instead

    for name in CALLS:
        setattr(os, name, dies(getattr(os, name)))


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)
