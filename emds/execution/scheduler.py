"""The process in which daisy hands out blocks, and which the workers belong to; see `Crew`.

daisy's server cannot be told to stop, and a thread of it that still runs when Python ends takes
the process down with an abort. In a process of its own it can be ended at any moment.

daisy wants to start its workers anew for each task, and one takes a second or two until all is
imported and open. So they belong to this process and stay: what daisy starts in their place, in a
process of its own each, borrows one for as long as the phase lasts.
"""

from __future__ import annotations

import json
import os
import queue
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from typing import Any

import numpy as np

from emds.execution.serial import RETRIES
from emds.signals import SIGNALS

_RESTARTS = 100
_POLL_S = 0.2


class Worker:
    """A process that takes part in phase after phase; see `each_phase` for what it is told.

    Parameters
    ----------
    command : sequence of str
        Starts it.
    stderr : int
        Where its standard error goes.

    Attributes
    ----------
    is_ready : bool
        Whether it has said that it can take part.
    """

    def __init__(self, command: Sequence[str], stderr: int) -> None:
        pipe = subprocess.PIPE
        self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=stderr)
        self.is_ready = False
        self._answers: queue.Queue[bool] = queue.Queue()
        threading.Thread(target=self._listen, daemon=True).start()

    def tell(self, line: bytes) -> None:
        """Write a line to it, unless it has ended."""
        assert self.process.stdin is not None
        with suppress(BrokenPipeError):
            self.process.stdin.write(line)
            self.process.stdin.flush()

    def hear(self, timeout: float | None = None) -> bool | None:
        """Wait for a line of it: True if there is one, False if it ended, None if neither came."""
        try:
            return self._answers.get(timeout=timeout)
        except queue.Empty:
            return None

    def _listen(self) -> None:
        assert self.process.stdout is not None
        for _ in self.process.stdout:
            self._answers.put(True)
        self._answers.put(False)


class Pool:
    """Workers that live on from phase to phase.

    Parameters
    ----------
    command : sequence of str
        Starts a worker.
    stderr : int
        Where what workers say goes.
    patience_s : float
        How long to wait for a worker to start while none is at work.
    give_up : callable
        Told why, once no worker has started for so long.
    """

    def __init__(
        self,
        command: Sequence[str],
        stderr: int,
        patience_s: float,
        give_up: Callable[[str], None],
    ) -> None:
        self._command = list(command)
        self._stderr = stderr
        self._patience_s = patience_s
        self._give_up = give_up
        self._all: list[Worker] = []
        self._idle: list[Worker] = []
        self._at_work = 0
        self._over = threading.Event()  # no blocks are left of the phase
        self._lock = threading.Lock()
        self._key = os.urandom(32)
        self.stopping = False  # then workers end, and nothing is wrong with that
        self._listener = Listener(("127.0.0.1", 0), authkey=self._key)

    def open(self) -> None:
        """Lend workers from here on; they are handed down the signals that this thread blocks."""
        threading.Thread(target=self._serve, daemon=True).start()

    def borrowing(self, phase: str) -> Callable[[], None]:
        """Return what daisy starts: it borrows a worker for a phase and ends as that one does."""
        address, key = self._listener.address, self._key
        self._over = threading.Event()

        def borrow() -> None:
            import daisy.v2 as daisy

            with Client(address, authkey=key) as pool:
                pool.send_bytes(f"{phase} {daisy.Context.from_env().to_env()}\n".encode())
                raise SystemExit(pool.recv())

        return borrow

    def dismiss(self) -> None:
        """End the workers that have nothing to do; the others see their standard input close."""
        with self._lock:
            starting = [worker.process for worker in self._all if not worker.is_ready]
            for process in starting:
                process.terminate()  # it may never look at its standard input
            idle = [worker.process for worker in self._idle if worker.is_ready]
            for process in idle:
                assert process.stdin is not None
                process.stdin.close()
            for process in idle:
                process.wait()
            for process in starting:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(timeout=_POLL_S)

    def _serve(self) -> None:
        while True:
            try:
                borrower = self._listener.accept()
            except (AuthenticationError, EOFError, OSError):
                continue  # nobody that daisy started
            threading.Thread(target=self._lend, args=(borrower,), daemon=True).start()

    def _lend(self, borrower: Connection) -> None:
        offer, over = borrower.recv_bytes(), self._over
        worker = self._take()
        stays = self._becomes_ready(worker, over)
        if worker.is_ready:
            with self._lock:
                self._at_work += 1
            worker.tell(offer)
            stays = bool(worker.hear())
            with self._lock:
                self._at_work -= 1
            if stays:
                over.set()
        if stays:
            with self._lock:
                self._idle.append(worker)
        with suppress(OSError), borrower:
            borrower.send(0 if stays or worker.process.wait() == 0 or self.stopping else 1)

    def _becomes_ready(self, worker: Worker, over: threading.Event) -> bool:
        """Wait until a worker has started or the others need it no more; False if it ends."""
        deadline = time.monotonic() + self._patience_s
        while not (worker.is_ready or over.is_set()):
            heard = worker.hear(_POLL_S)
            if heard is not None:
                worker.is_ready = heard
                return heard
            if time.monotonic() > deadline and not self._at_work:
                command = " ".join(shlex.join(self._command).split())
                self._give_up(f"no worker has started in {self._patience_s:g} s ({command})")
        return True

    def _take(self) -> Worker:
        with self._lock:
            self._idle.sort(key=lambda worker: worker.is_ready)
            while self._idle:
                worker = self._idle.pop()
                if worker.process.poll() is None:
                    return worker
            self._all.append(Worker(self._command, self._stderr))
            return self._all[-1]


def schedule(
    pool: Pool, phase: str, count: int, pending: Sequence[int], workers: int, elsewhere: bool
) -> None:
    """Hand blocks to workers until there are none left; parameters as of `Crew`.

    Raises
    ------
    RuntimeError
        If workers end again and again.
    """
    import daisy.v2 as daisy
    from daisy import logging as daisy_logging

    daisy_logging.set_log_basedir(None)
    daisy_logging.set_log_level("ERROR")
    skipped = np.ones(count, dtype=np.uint8)
    skipped[list(pending)] = 0
    one = daisy.Roi((0,), (1,))
    task = daisy.Task(
        task_id="blocks",
        total_roi=daisy.Roi((0,), (count,)),
        read_roi=one,
        write_roi=one,
        process_function=pool.borrowing(phase),
        read_write_conflict=False,
        max_workers=min(workers, len(pending)),
        max_retries=RETRIES,
        max_worker_restarts=_RESTARTS,
        timeout=None,
        tracking_path=False,
        skip_mask=skipped,
    )
    daisy.run_blockwise(
        task,
        progress=False,
        block_tracking=False,
        host=None if elsewhere else "127.0.0.1",
        summary=False,
    )


def main() -> None:
    """Read what `Crew` writes, a line of JSON for each phase, and answer when it is over."""
    answers, stderr = os.dup(1), os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in (1, 2):  # daisy tells at length how workers end; they speak for themselves
        os.dup2(nowhere, stream)
    crew = json.loads(sys.stdin.buffer.readline())

    def give_up(reason: str) -> None:
        os.write(answers, f"{reason}\n".encode())
        pool.dismiss()
        os._exit(1)

    pool = Pool(crew["command"], stderr, crew["patience_s"], give_up)
    _leave_signals_to_the_starter(pool)
    pool.open()
    phases: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_read, args=(phases, pool), daemon=True).start()
    while True:
        try:
            schedule(pool, **phases.get(), workers=crew["workers"], elsewhere=crew["elsewhere"])
        except RuntimeError:
            give_up("the workers ended too often; what they said stands above")
        except Exception as error:
            give_up(f"handing out blocks failed: {' '.join(repr(error).split())}")
        os.write(answers, b"\n")


def _leave_signals_to_the_starter(pool: Pool) -> None:
    """Let the process that started this one decide what a signal means.

    Ctrl-C and the end of a terminal reach all its processes: workers ignore them, too, as that is
    handed down. What a batch system sends may be for one worker alone: a handler is not handed
    down.
    """

    def note(*_: object) -> None:
        pool.stopping = True

    for number in SIGNALS:
        keyboard = number in (signal.SIGINT, signal.SIGHUP)
        signal.signal(number, signal.SIG_IGN if keyboard else note)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, SIGNALS)


def _read(phases: queue.Queue[dict[str, Any]], pool: Pool) -> None:
    """Pass on what is asked, and end this process when the one that asks is no more."""
    for line in sys.stdin.buffer:
        phases.put(json.loads(line))
    pool.dismiss()
    os._exit(1)


if __name__ == "__main__":
    main()
