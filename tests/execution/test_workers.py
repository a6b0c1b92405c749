"""Workers that fail, die or are told to stop lose no block that was done, and hold up no other."""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest

from emds.errors import IncompleteError
from emds.execution import Crew, DoneLog, wait_for_workers

COUNT = 12
WORKER = Path(__file__).with_name("small_worker.py")


def start_crew(folder: Path) -> Crew:
    return Crew([sys.executable, str(WORKER), str(folder)], workers=2, elsewhere=False)


def share(folder: Path, pending=range(COUNT), stop=None, on_poll=lambda: None) -> set[int]:
    with start_crew(folder) as crew:
        crew.share("done", COUNT, pending, stop=stop or threading.Event(), on_poll=on_poll)
        wait_for_workers(folder, patience_s=30)
        return DoneLog(folder / "done").read()


def lines(folder: Path) -> list[tuple[int, int]]:
    """Return (block, process) of each try."""
    words = [line.split() for line in (folder / "tries").read_text().splitlines()]
    return [(int(block), int(pid)) for block, pid in words]


def tries(folder: Path) -> Counter[int]:
    return Counter(block for block, _ in lines(folder))


def test_only_what_is_pending_is_done_and_once_each(tmp_path: Path) -> None:
    pending = [1, 2, 5, 11]
    polls = []
    assert share(tmp_path, pending, on_poll=lambda: polls.append(1)) == set(pending)
    assert tries(tmp_path) == Counter(pending)
    assert polls


def test_a_block_that_fails_is_tried_once_more_and_reported(tmp_path: Path) -> None:
    (tmp_path / "fail-3").write_text("always")
    (tmp_path / "fail-4").write_text("once")
    assert share(tmp_path) == set(range(COUNT)) - {3}
    assert tries(tmp_path) == Counter(range(COUNT)) + Counter([3, 4])
    assert (tmp_path / "reason-3").read_text() == "block 3 cannot be read"


def test_a_worker_that_is_killed_loses_nothing(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "die-2").touch()
    (tmp_path / "die-9").touch()
    assert share(tmp_path) == set(range(COUNT))
    assert tries(tmp_path) == Counter(range(COUNT)) + Counter([2, 9])
    assert capfd.readouterr() == ("", "")  # of what daisy thinks of it


def test_what_workers_say_is_heard(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "say-4").write_text("the disk is hot")
    share(tmp_path)
    assert capfd.readouterr().err == "the disk is hot\n"


def test_a_crew_that_a_stop_has_ended_takes_no_more(tmp_path: Path) -> None:
    stop = threading.Event()
    stop.set()
    with start_crew(tmp_path) as crew:
        for phase in ("one", "two", "three"):
            crew.share(phase, COUNT, range(COUNT), stop=stop, on_poll=lambda: None)
        crew.close()
    assert not any(DoneLog(tmp_path / phase).read() for phase in ("one", "two", "three"))


def test_a_worker_that_alone_is_told_to_end_leaves_its_blocks_to_others(tmp_path: Path) -> None:
    """As where a batch system takes one node away."""
    (tmp_path / "leave-1").touch()
    (tmp_path / "leave-6").touch()
    assert share(tmp_path) == set(range(COUNT))
    assert tries(tmp_path) == Counter(range(COUNT))


def test_a_stop_ends_the_workers_after_the_blocks_in_hand(tmp_path: Path) -> None:
    stop = threading.Event()

    def look() -> None:
        if DoneLog(tmp_path / "done").read():
            stop.set()

    for block in range(COUNT):
        (tmp_path / f"slow-{block}").touch()
    done = share(tmp_path, stop=stop, on_poll=look)
    assert 0 < len(done) < COUNT, "test invalid"
    assert tries(tmp_path) == Counter(done)
    time.sleep(1)
    assert DoneLog(tmp_path / "done").read() == done


def share_for_ever(folder: Path) -> None:
    for block in range(COUNT):
        (folder / f"slow-{block}").touch()
    share(folder)


def test_workers_whose_scheduler_is_killed_end_after_their_blocks(tmp_path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=share_for_ever, args=(tmp_path,))
    process.start()
    deadline = time.monotonic() + 60
    while not DoneLog(tmp_path / "done").read():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    process.kill()
    process.join()
    wait_for_workers(tmp_path, patience_s=30)
    done = DoneLog(tmp_path / "done").read()
    assert len(done) < COUNT, "test invalid"
    assert tries(tmp_path) == Counter(done)
    time.sleep(1)
    assert DoneLog(tmp_path / "done").read() == done


def test_workers_stay_from_phase_to_phase_and_end_with_their_crew(tmp_path: Path) -> None:
    for block in range(COUNT):
        (tmp_path / f"slow-{block}").touch()  # so that each worker has a part
    with start_crew(tmp_path) as crew:
        for phase in ("first", "second", "third"):
            crew.share(phase, COUNT, range(4), stop=threading.Event(), on_poll=lambda: None)
            assert DoneLog(tmp_path / phase).read() == set(range(4))
        assert tries(tmp_path) == Counter([*range(4)] * 3)
        workers = {pid for _, pid in lines(tmp_path)}
        assert len(workers) == 2
        assert all(map(is_alive, workers))
    assert not any(map(is_alive, workers))


def test_a_worker_that_died_between_two_phases_is_replaced(tmp_path: Path) -> None:
    with start_crew(tmp_path) as crew:
        crew.share("first", COUNT, range(COUNT), stop=threading.Event(), on_poll=lambda: None)
        (victim,) = {pid for _, pid in lines(tmp_path)[-1:]}
        os.kill(victim, signal.SIGKILL)
        crew.share("second", COUNT, range(COUNT), stop=threading.Event(), on_poll=lambda: None)
    assert DoneLog(tmp_path / "second").read() == set(range(COUNT))
    assert victim not in {pid for _, pid in lines(tmp_path)[COUNT:]}


def is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.slow
def test_a_worker_that_cannot_start_is_no_endless_loop(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "raise SystemExit(1)"]
    stop = threading.Event()
    with (
        Crew(command, workers=2, elsewhere=False) as crew,
        pytest.raises(IncompleteError, match="--resume"),
    ):
        crew.share("done", COUNT, range(COUNT), stop=stop, on_poll=lambda: None)


def sleeper(folder: Path) -> list[str]:
    """A command that never takes part, and leaves a file with its number in the folder."""
    script = "import os, sys, time; open(f'{sys.argv[1]}/{os.getpid()}', 'w'); time.sleep(600)"
    return [sys.executable, "-c", script, str(folder)]


def none_lives(folder: Path) -> bool:
    started = [int(path.name) for path in folder.iterdir()]
    assert started, "test invalid"
    deadline = time.monotonic() + 30
    while any(map(is_alive, started)):
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def test_a_worker_that_never_starts_is_told_of(tmp_path: Path) -> None:
    crew = Crew(sleeper(tmp_path), workers=2, elsewhere=False, patience_s=3)
    with (
        crew,
        pytest.raises(IncompleteError, match=r"no worker has started in 3 s \(.*time\.sleep"),
    ):
        crew.share("done", COUNT, range(COUNT), stop=threading.Event(), on_poll=lambda: None)
    assert none_lives(tmp_path)


def test_the_others_do_without_a_worker_that_never_starts(tmp_path: Path) -> None:
    """The first process to come is one; the other is not, in all phases."""
    script = (
        "import os, sys, time\n"
        f"try: os.mkdir({str(tmp_path / 'first')!r})\n"
        f"except OSError: os.execv(sys.executable, [sys.executable, {str(WORKER)!r}, "
        f"{str(tmp_path)!r}])\n"
        "time.sleep(600)\n"
    )
    command = [sys.executable, "-c", script]
    began = time.monotonic()
    with Crew(command, workers=2, elsewhere=False) as crew:
        for phase in ("one", "two"):
            crew.share(phase, COUNT, range(COUNT), stop=threading.Event(), on_poll=lambda: None)
            assert DoneLog(tmp_path / phase).read() == set(range(COUNT))
    assert tries(tmp_path) == Counter([*range(COUNT)] * 2)
    assert time.monotonic() - began < 120


def test_a_crew_ends_while_its_workers_start(tmp_path: Path) -> None:
    stop = threading.Event()

    def look() -> None:
        if any(tmp_path.iterdir()):
            stop.set()

    with Crew(sleeper(tmp_path), workers=2, elsewhere=False) as crew:
        crew.share("done", COUNT, range(COUNT), stop=stop, on_poll=look)
    assert none_lives(tmp_path)


def test_workers_hear_the_signals_of_a_batch_system(tmp_path: Path) -> None:
    """A signal may be for one worker alone; what its scheduler blocks would never reach it."""
    mask = "signal.pthread_sigmask(signal.SIG_BLOCK, [])"
    script = f"import signal, sys, time; open(sys.argv[1], 'w').write(repr(sorted({mask})))"
    command = [sys.executable, "-c", f"{script}; time.sleep(600)", str(tmp_path / "blocked")]
    stop = threading.Event()

    def look() -> None:
        if (tmp_path / "blocked").exists() and (tmp_path / "blocked").stat().st_size:
            stop.set()

    with Crew(command, workers=1, elsewhere=False) as crew:
        crew.share("done", COUNT, range(COUNT), stop=stop, on_poll=look)
    assert (tmp_path / "blocked").read_text() == "[]"
