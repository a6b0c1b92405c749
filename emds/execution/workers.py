"""Several processes share the blocks: daisy hands them out, over TCP where they are elsewhere."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from emds.errors import BlockError, EmdsError, IncompleteError
from emds.execution.serial import RETRIES, BlockWork

_POLL_S = 0.5
_RESTARTS = 100


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
        Set when the run is to end; `on_poll` then tells the workers, which finish the block in
        hand and give back all others undone.
    on_poll : callable
        Called now and then, from this thread.

    Raises
    ------
    IncompleteError
        If workers end again and again.
    """
    import daisy.v2 as daisy
    from daisy import logging as daisy_logging

    daisy_logging.set_log_basedir(None)
    daisy_logging.set_log_level("ERROR")
    skipped = np.ones(count, dtype=np.uint8)
    skipped[list(pending)] = 0
    words = list(command)

    def start_worker() -> None:
        context = daisy.Context.from_env().to_env()
        died = subprocess.run([*words, context], stdin=subprocess.DEVNULL).returncode
        raise SystemExit(1 if died else 0)

    one = daisy.Roi((0,), (1,))
    task = daisy.Task(
        task_id="blocks",
        total_roi=daisy.Roi((0,), (count,)),
        read_roi=one,
        write_roi=one,
        process_function=start_worker,
        read_write_conflict=False,
        max_workers=min(workers, len(pending)),
        max_retries=RETRIES,
        max_worker_restarts=_RESTARTS,
        timeout=None,
        tracking_path=False,
        skip_mask=skipped,
    )
    trouble: list[BaseException] = []

    def serve() -> None:
        try:
            daisy.run_blockwise(
                task,
                progress=False,
                block_tracking=False,
                host=None if elsewhere else "127.0.0.1",
                summary=False,
            )
        except BaseException as error:  # to be raised where somebody listens
            trouble.append(error)

    # In a thread, so that signals reach this one.
    server = threading.Thread(target=serve, name="scheduler", daemon=True)
    server.start()
    while server.is_alive():
        server.join(_POLL_S)
        on_poll()
    if trouble and not stop.is_set():
        raise IncompleteError(
            f"the workers ended too often ({_first_line(trouble[0])}). Mend the cause, which they "
            "have told above, and continue with --resume."
        ) from trouble[0]


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
        Asked before each block whether to give it back undone.
    """
    import daisy.v2 as daisy

    os.environ[daisy.Context.ENV_VARIABLE] = context
    client: Any = daisy.Client()
    if not client.connected:
        return
    work: BlockWork | None = None
    while True:
        try:
            with client.acquire_block() as block:
                if block is None:
                    return
                number = int(block.write_roi.offset[0])
                if stop():
                    block.status = daisy.BlockStatus.FAILED  # until the scheduler has no more
                    continue
                try:
                    work = work or begin(client.worker_id)
                    work(iter([number]), done)
                except (BlockError, EmdsError) as error:
                    cause = error.__cause__ if isinstance(error, BlockError) else error
                    if not isinstance(cause, EmdsError):
                        raise cause or error from None
                    failed(number, cause)
                    block.status = daisy.BlockStatus.FAILED
        except ConnectionError:
            return  # the scheduler is gone; what is done is in the log


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
