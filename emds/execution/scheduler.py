"""The process in which daisy hands out blocks; `share_blocks` starts it, and it ends with that.

daisy's server cannot be told to stop, and a thread of it that still runs when Python ends takes
the process down with an abort. In a process of its own it can be ended at any moment.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence

import numpy as np

from emds.execution.serial import RETRIES

_RESTARTS = 100


def schedule(
    command: Sequence[str], count: int, pending: Sequence[int], workers: int, elsewhere: bool
) -> None:
    """Start workers and hand them blocks until there are none left; parameters as `share_blocks`.

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
    daisy.run_blockwise(
        task,
        progress=False,
        block_tracking=False,
        host=None if elsewhere else "127.0.0.1",
        summary=False,
    )


def main() -> None:
    """Read the arguments of `schedule`, a line of JSON, and go on until the input ends."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
        # For the process that started this one to decide. A handler is not handed down to
        # workers, as ignoring would be.
        signal.signal(number, lambda *_: None)
    asked = json.loads(sys.stdin.buffer.readline())
    threading.Thread(target=_end_with_input, daemon=True).start()
    try:
        schedule(**asked)
    except RuntimeError as error:
        sys.exit(f"emds: {(str(error).splitlines() or ['daisy failed'])[0]}")


def _end_with_input() -> None:
    while os.read(0, 1):
        pass
    os._exit(1)


if __name__ == "__main__":
    main()
