"""Record stop signals; long-running work checks for them between blocks."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from emds.errors import InterruptedRunError

logger = logging.getLogger("emds")

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
"""Ctrl-C, what batch systems send before they end a job, and a terminal that is closed."""


class Stop(threading.Event):
    """Set when a signal asks to stop.

    Attributes
    ----------
    by_keyboard : bool
        Whether it was Ctrl-C.
    """

    def __init__(self) -> None:
        super().__init__()
        self.by_keyboard = False

    def note(self, number: int, _: FrameType | None = None) -> None:
        """Take note of a signal.

        Raises
        ------
        KeyboardInterrupt
            With the second Ctrl-C: the user does not want to wait.
        """
        if number == signal.SIGINT:
            if self.by_keyboard:
                raise KeyboardInterrupt
            self.by_keyboard = True
            # By a thread, for a handler may interrupt one that is just writing to stderr.
            words = "stopping after what is in hand; Ctrl-C once more ends at once"
            threading.Thread(target=logger.warning, args=(words,), daemon=True).start()
        self.set()

    def error(self, words: str) -> InterruptedRunError:
        """Return what to raise once all is saved; `words` go on after "stopped by ..."."""
        cause = "Ctrl-C" if self.by_keyboard else "a signal"
        return InterruptedRunError(f"stopped by {cause} {words}", by_keyboard=self.by_keyboard)


class TerminatedError(KeyboardInterrupt):
    """A signal ended work that cannot be continued; like Ctrl-C, nothing but a cleanup stops it."""


_installed: list[Stop] = []


@contextmanager
def stop_signal() -> Iterator[Stop]:
    """Turn `SIGNALS` into an event for the length of a ``with`` block.

    Inside another such block the signal is passed on when the inner block ends. What the process
    was started to ignore, as by ``nohup``, it goes on to ignore.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may install handlers
        return
    before = {
        number: handler
        for number in SIGNALS
        if (handler := signal.getsignal(number)) is not signal.SIG_IGN
    }
    for number in before:
        signal.signal(number, stop.note)
    _installed.append(stop)
    try:
        yield stop
    finally:
        _installed.pop()
        for number, handler in before.items():
            signal.signal(number, handler)
        if stop.is_set() and _installed:
            _installed[-1].by_keyboard |= stop.by_keyboard
            _installed[-1].set()


def end_at_once() -> None:
    """Let `SIGNALS` end this process without a word, but for those it was started to ignore."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)


def ignore_from_here() -> None:
    """Let no signal change how this process ends: its work is done, and its exit code decided."""
    if threading.current_thread() is threading.main_thread():
        for number in SIGNALS:
            signal.signal(number, signal.SIG_IGN)


@contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let `SIGNALS` end a ``with`` block as Ctrl-C does, so that what is half written is removed.

    Raises
    ------
    TerminatedError
        When one comes, but for Ctrl-C.
    """

    def end(*_: object) -> None:
        raise TerminatedError

    in_main_thread = threading.current_thread() is threading.main_thread()
    before = {
        number: signal.signal(number, end)
        for number in SIGNALS
        if in_main_thread and signal.getsignal(number) is signal.SIG_DFL
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
