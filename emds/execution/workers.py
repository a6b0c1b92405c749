"""Several processes share the blocks: daisy hands them out, over TCP where they are elsewhere."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Any

from emds.errors import BlockError, EmdsError, IncompleteError
from emds.execution.serial import BlockWork
from emds.signals import SIGNALS

_POLL_S = 0.5
_PATIENCE_S = 600.0


class Crew:
    """Workers that do phase after phase, for as long as a ``with`` block lasts.

    A block whose worker fails or dies is given to another, once, and a worker that ended is
    replaced. What came of the blocks is known from the log of the workers alone.

    Parameters
    ----------
    command : sequence of str
        Starts a worker, which calls `each_phase` and `take_blocks`.
    workers : int
        Processes.
    elsewhere : bool
        Workers may be on other machines, so the scheduler listens on all interfaces.
    patience_s : float
        How long to wait for the first worker to start. A phase does not wait for those that start
        later than that: it ends when no block is left.
    """

    def __init__(
        self,
        command: Sequence[str],
        workers: int,
        *,
        elsewhere: bool,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        # Blocked until it can handle them, so that none ends it while it starts.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            self._scheduler = subprocess.Popen(
                [sys.executable, "-m", "emds.execution.scheduler"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._tell(
            {
                "command": list(command),
                "workers": workers,
                "elsewhere": elsewhere,
                "patience_s": patience_s,
            }
        )

    def share(
        self,
        phase: str,
        count: int,
        pending: Sequence[int],
        *,
        stop: threading.Event,
        on_poll: Callable[[], None],
    ) -> None:
        """Hand blocks to the workers until there are none left.

        Parameters
        ----------
        phase : str
            What is to be done with the blocks, for the workers; one word.
        count : int
            Number of blocks.
        pending : sequence of int
            Those to be done.
        stop : threading.Event
            When set, no more is handed out, and the workers end after the block they have.
        on_poll : callable
            Called now and then, from this thread.

        Raises
        ------
        IncompleteError
            If workers end again and again, or none starts.
        """
        answers = self._scheduler.stdout
        assert answers is not None
        if answers.closed:
            return  # a stop has ended it
        self._tell({"phase": phase, "count": count, "pending": list(pending)})
        answered = False
        while not answered and not stop.is_set():
            answered = bool(select.select([answers], [], [], _POLL_S)[0])
            on_poll()
        if not answered:
            self.close()
            return
        answer = answers.readline()
        if answer != b"\n" and not stop.is_set():
            reason = answer.decode().strip() or "the process that hands out blocks ended"
            raise IncompleteError(f"{reason}. Mend the cause and continue with --resume.")

    def close(self) -> None:
        """End the scheduler, as it would end if this process were killed; so do the workers."""
        self._scheduler.communicate()

    def _tell(self, what: dict[str, Any]) -> None:
        assert self._scheduler.stdin is not None
        with suppress(BrokenPipeError):  # then it does not answer either
            self._scheduler.stdin.write(json.dumps(what).encode() + b"\n")
            self._scheduler.stdin.flush()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def each_phase() -> Iterator[tuple[str, str]]:
    """Yield (phase, way to the scheduler) for each phase that this worker has a part in.

    They are read from the standard input, and end with it. Being ready for the first and coming
    back for the next is told on the standard output; what else is printed goes to standard error.
    """
    answers = os.dup(1)
    os.dup2(2, 1)

    def tell() -> None:
        with suppress(BrokenPipeError):  # nobody is there to hear it
            os.write(answers, b"\n")

    tell()
    for line in sys.stdin:
        phase, context = line.split()
        yield phase, context
        tell()


def take_blocks(
    context: str,
    begin: Callable[[int], BlockWork],
    done: Callable[[int], None],
    failed: Callable[[int, EmdsError], None],
    stop: Callable[[], bool],
) -> None:
    """Do the blocks that the scheduler hands out, until it has no more or is gone.

    Parameters
    ----------
    context : str
        The way to the scheduler.
    begin : callable
        Sets up the work, given the number of this worker. If it fails, so does the block that
        it was to be done for.
    done : callable
        Told of each block that is done.
    failed : callable
        Told of each that failed, and why.
    stop : callable
        Asked between blocks whether to end.
    """
    import daisy.v2 as daisy
    from daisy import logging as daisy_logging

    if stop():
        return  # and the scheduler may be gone by now
    daisy_logging.set_log_level("ERROR")  # that it is gone is no news
    os.environ[daisy.Context.ENV_VARIABLE] = context
    client: Any = daisy.Client()
    if not client.connected:
        return
    work: BlockWork | None = None
    while not stop():
        try:
            with client.acquire_block() as block:
                if block is None:
                    return
                number = int(block.write_roi.offset[0])
                try:
                    work = work or begin(client.worker_id)
                    if stop():
                        block.status = daisy.BlockStatus.FAILED  # for another to do
                    else:
                        work(iter([number]), done)
                except (BlockError, EmdsError) as error:
                    cause = error.__cause__ if isinstance(error, BlockError) else error
                    if not isinstance(cause, EmdsError):
                        raise cause or error from None
                    failed(number, cause)
                    block.status = daisy.BlockStatus.FAILED
        except ConnectionError:
            return  # the scheduler is gone; what is done is in the log
