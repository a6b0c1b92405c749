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
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client, Connection, Listener
from typing import IO, Any

import numpy as np

from emds.execution.serial import RETRIES
from emds.signals import SIGNALS

_RESTARTS = 100


class Pool:
    """Workers that live on from phase to phase; see `each_phase` for what they are told.

    Parameters
    ----------
    command : sequence of str
        Starts a worker.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._idle: list[subprocess.Popen[bytes]] = []
        self._lock = threading.Lock()
        self._key = os.urandom(32)
        self.stopping = False  # then workers end, and nothing is wrong with that
        self._listener = Listener(("127.0.0.1", 0), authkey=self._key)
        threading.Thread(target=self._serve, daemon=True).start()

    def borrowing(self, phase: str) -> Callable[[], None]:
        """Return what daisy starts: it borrows a worker for a phase and ends as that one does."""
        address, key = self._listener.address, self._key

        def borrow() -> None:
            import daisy.v2 as daisy

            with Client(address, authkey=key) as pool:
                pool.send_bytes(f"{phase} {daisy.Context.from_env().to_env()}\n".encode())
                raise SystemExit(pool.recv())

        return borrow

    def dismiss(self) -> None:
        """End the workers that have nothing to do; the others see their standard input close."""
        with self._lock:
            for worker in self._idle:
                _pipes(worker)[0].close()
            for worker in self._idle:
                worker.wait()

    def _serve(self) -> None:
        while True:
            try:
                borrower = self._listener.accept()
            except (AuthenticationError, EOFError, OSError):
                continue  # nobody that daisy started
            threading.Thread(target=self._lend, args=(borrower,), daemon=True).start()

    def _lend(self, borrower: Connection) -> None:
        offer = borrower.recv_bytes()
        worker = self._take()
        to_worker, from_worker = _pipes(worker)
        with suppress(BrokenPipeError):
            to_worker.write(offer)
            to_worker.flush()
        came_back = bool(from_worker.readline())
        if came_back:
            with self._lock:
                self._idle.append(worker)
        with suppress(OSError), borrower:
            borrower.send(0 if came_back or worker.wait() == 0 or self.stopping else 1)

    def _take(self) -> subprocess.Popen[bytes]:
        with self._lock:
            while self._idle:
                worker = self._idle.pop()
                if worker.poll() is None:
                    return worker
        return subprocess.Popen(self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)


def _pipes(worker: subprocess.Popen[bytes]) -> tuple[IO[bytes], IO[bytes]]:
    assert worker.stdin is not None
    assert worker.stdout is not None
    return worker.stdin, worker.stdout


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
    answers = os.dup(1)
    os.dup2(2, 1)  # what else is printed is no answer
    crew = json.loads(sys.stdin.buffer.readline())
    pool = Pool(crew["command"])
    _leave_signals_to_the_starter(pool)
    phases: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=_read, args=(phases, pool), daemon=True).start()
    while True:
        try:
            schedule(pool, **phases.get(), workers=crew["workers"], elsewhere=crew["elsewhere"])
        except RuntimeError as error:
            reason = (str(error).splitlines() or ["daisy failed"])[0]
            print(f"emds: {reason}", file=sys.stderr, flush=True)
            os._exit(1)
        os.write(answers, b"\n")


def _leave_signals_to_the_starter(pool: Pool) -> None:
    """Let the process that started this one decide what a signal means.

    Ctrl-C and the end of a terminal reach all its processes: workers ignore them, too, as that is
    handed down. What a batch system sends may be for one worker alone: a handler is not handed
    down.
    """
    nowhere = os.open(os.devnull, os.O_WRONLY)

    def note(*_: object) -> None:
        pool.stopping = True
        os.dup2(nowhere, 2)  # daisy would tell at length that workers end

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
