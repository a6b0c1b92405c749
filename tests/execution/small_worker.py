"""A worker without a network: ``small_worker.py FOLDER``; files in FOLDER say what happens.

``fail-N`` makes block N fail (and is removed first if it says ``once``), ``die-N`` kills the worker
that takes it, once, ``leave-N`` makes the worker that takes it end after it, as a signal would,
``slow-N`` makes it take half a second, and what ``say-N`` holds is
said of it. Each try leaves a line ``block pid`` in ``tries``.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

from emds.errors import EmdsError, VolumeError
from emds.execution import DoneLog, at_work, each, each_phase, take_blocks


def main(folder: Path) -> None:
    leave = threading.Event()

    def do(block: int) -> None:
        with (folder / "tries").open("a") as tries:
            tries.write(f"{block} {os.getpid()}\n")
        time.sleep(0.5 if (folder / f"slow-{block}").exists() else 0.02)
        if (folder / f"say-{block}").exists():
            print((folder / f"say-{block}").read_text(), file=sys.stderr)
        if (folder / f"die-{block}").exists():
            (folder / f"die-{block}").unlink()
            os.kill(os.getpid(), signal.SIGKILL)
        if (folder / f"leave-{block}").exists():
            leave.set()
        path = folder / f"fail-{block}"
        if path.exists():
            if path.read_text() == "once":
                path.unlink()
            raise VolumeError(f"block {block} cannot be read")

    def failed(block: int, error: EmdsError) -> None:
        (folder / f"reason-{block}").write_text(str(error))

    for phase, context in each_phase():
        with at_work(folder), DoneLog(folder / phase) as log:
            take_blocks(
                context,
                begin=lambda number: each(do),
                done=log.append,
                failed=failed,
                stop=lambda: leave.is_set() or (folder / "stop").exists(),
            )
        if leave.is_set():
            return


if __name__ == "__main__":
    main(Path(sys.argv[1]))
