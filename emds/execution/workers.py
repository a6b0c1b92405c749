"""Several processes share the blocks: daisy hands them out, over TCP where they are elsewhere."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from emds.errors import BlockError, EmdsError, IncompleteError
from emds.execution.serial import BlockWork

_POLL_S = 0.5


def share_blocks(
    command: Sequence[str],
    count: int,
    pending: Sequence[int],
    workers: int,
    *,
    elsewhere: bool,
    stop: threading.Event,
    on_poll: Callable[[], None],
) -> None:
    """Start workers, and hand them blocks until there are none left.

    A block whose worker fails or dies is given to another, once. What came of the blocks is known
    from the log of the workers alone.

    Parameters
    ----------
    command : sequence of str
        Starts a worker, which calls `take_blocks`; the way to the scheduler is appended as the
        last word.
    count : int
        Number of blocks.
    pending : sequence of int
        Those to be done.
    workers : int
        Processes.
    elsewhere : bool
        Workers may be on other machines, so the scheduler listens on all interfaces.
    stop : threading.Event
        When set, no more is handed out, and workers find their scheduler gone after their block.
    on_poll : callable
        Called now and then, from this thread.

    Raises
    ------
    IncompleteError
        If workers end again and again.
    """
    asked = {
        "command": list(command),
        "count": count,
        "pending": list(pending),
        "workers": workers,
        "elsewhere": elsewhere,
    }
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "emds.execution.scheduler"], stdin=subprocess.PIPE
    )
    assert scheduler.stdin is not None
    try:
        scheduler.stdin.write(json.dumps(asked).encode() + b"\n")
        scheduler.stdin.flush()
        while scheduler.poll() is None and not stop.is_set():
            with suppress(subprocess.TimeoutExpired):
                scheduler.wait(_POLL_S)
            on_poll()
    finally:
        scheduler.stdin.close()  # which ends it, as it would if this process were killed
        code = scheduler.wait()
    if code and not stop.is_set():
        raise IncompleteError(
            "the workers ended too often. Mend the cause, which they have told above, and continue "
            "with --resume."
        )


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
