"""Workers are waited for, as many as there are, and a dead one is none."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from emds.errors import OutputExistsError
from emds.execution import at_work, wait_for_workers


def stay_at_work(folder: Path) -> None:
    with at_work(folder):
        (folder / "here").touch()
        time.sleep(60)


def test_nobody_is_at_work_in_a_new_folder(tmp_path: Path) -> None:
    wait_for_workers(tmp_path, patience_s=0)


def test_each_worker_is_waited_for(tmp_path: Path) -> None:
    with at_work(tmp_path):
        with at_work(tmp_path), pytest.raises(OutputExistsError, match="still write to"):
            wait_for_workers(tmp_path, patience_s=0)
        with pytest.raises(OutputExistsError):
            wait_for_workers(tmp_path, patience_s=0)
    wait_for_workers(tmp_path, patience_s=0)


def test_waiting_ends_with_the_last_worker(tmp_path: Path) -> None:
    leave = threading.Event()

    def work() -> None:
        with at_work(tmp_path):
            leave.wait(30)
            ended.append(time.monotonic())

    ended: list[float] = []
    with at_work(tmp_path):
        worker = threading.Thread(target=work)
        worker.start()
    threading.Timer(0.3, leave.set).start()
    wait_for_workers(tmp_path, patience_s=30)
    assert ended
    worker.join()


def test_a_worker_that_was_killed_is_not_waited_for(tmp_path: Path) -> None:
    child = multiprocessing.get_context("spawn").Process(target=stay_at_work, args=(tmp_path,))
    child.start()
    deadline = time.monotonic() + 30
    while not (tmp_path / "here").exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    with pytest.raises(OutputExistsError):
        wait_for_workers(tmp_path, patience_s=0)
    os.kill(child.pid, signal.SIGKILL)
    child.join()
    wait_for_workers(tmp_path, patience_s=0)
