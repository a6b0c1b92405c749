"""Stopping on request: a signal is noted, and whoever works looks when it suits him."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def stop_signal() -> Iterator[threading.Event]:
    """Turn SIGTERM and SIGUSR1 into an event for the length of a ``with`` block.

    Batch systems send one of them before they end a job. Inside another such block the signal is
    passed on when the inner block ends.
    """
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread may install handlers
        return
    signals = (signal.SIGTERM, signal.SIGUSR1)
    before = [signal.signal(number, lambda *_: stop.set()) for number in signals]
    try:
        yield stop
    finally:
        for number, handler in zip(signals, before, strict=True):
            signal.signal(number, handler)
            if stop.is_set() and callable(handler):
                handler(number, None)
