"""A block that fails is tried again after the others, and does not keep them from being done."""

from __future__ import annotations

import threading

import pytest

from emds.errors import BlockError, DataError, VolumeError
from emds.execution import each, run_blocks


class Blocks:
    """Does blocks, some of which fail a number of times, and remembers the order of tries."""

    def __init__(self, failing: dict[int, int], error: type[Exception] = VolumeError) -> None:
        self.failing = dict(failing)
        self.error = error
        self.tried: list[int] = []
        self.done: list[int] = []

    def __call__(self, block: int) -> None:
        self.tried.append(block)
        if self.failing.get(block, 0) > 0:
            self.failing[block] -= 1
            raise self.error(f"block {block}\n  cannot be read")

    def run(self, blocks, stop: threading.Event | None = None):
        return run_blocks(each(self), blocks, self.done.append, stop or threading.Event())


def test_blocks_are_done_in_order_once_each() -> None:
    work = Blocks({})
    assert work.run([3, 1, 4]) == {}
    assert work.tried == work.done == [3, 1, 4]


def test_a_failed_block_is_tried_again_after_the_others() -> None:
    work = Blocks({1: 1, 2: 1})
    assert work.run(range(5)) == {}
    assert work.tried == [0, 1, 2, 3, 4, 1, 2]
    assert sorted(work.done) == list(range(5))


def test_what_fails_twice_is_listed_and_the_rest_done() -> None:
    work = Blocks({1: 9, 3: 9})
    assert work.run(range(5)) == {1: "block 1 cannot be read", 3: "block 3 cannot be read"}
    assert work.tried == [0, 1, 2, 3, 4, 1, 3]
    assert work.done == [0, 2, 4]


@pytest.mark.parametrize("error", [OSError, ValueError, MemoryError, AssertionError])
def test_what_is_not_the_fault_of_data_is_raised_at_once(error: type[Exception]) -> None:
    work = Blocks({2: 1}, error)
    with pytest.raises(error):
        work.run(range(5))
    assert work.tried == [0, 1, 2]
    assert work.done == [0, 1]


def test_a_stop_lets_the_block_in_hand_be_done() -> None:
    stop = threading.Event()
    work = Blocks({0: 9})

    def do(block: int) -> None:
        if block == 2:
            stop.set()
        work(block)

    failures = run_blocks(each(do), range(5), work.done.append, stop)
    assert work.done == [1, 2]
    assert failures == {}  # it was to be tried again


def test_a_stop_before_the_start_does_nothing() -> None:
    stop = threading.Event()
    stop.set()
    work = Blocks({})
    assert work.run(range(5), stop) == {}
    assert work.tried == []


def test_work_that_fails_late_is_not_done_again() -> None:
    """As where one block is written while the next is computed: the error comes a block late."""
    tried, done = [], []

    def work(blocks, tell) -> None:
        waiting = None
        for block in blocks:
            tried.append(block)
            if waiting is not None:
                tell(waiting)
            waiting = block
            if block == 3 and tried.count(3) == 1:
                raise BlockError(3) from DataError("no")
        if waiting is not None:
            tell(waiting)

    assert run_blocks(work, range(5), done.append, threading.Event()) == {}
    assert sorted(done) == list(range(5))
    assert tried == [0, 1, 2, 3, 4, 3]


def test_an_error_in_noting_that_a_block_is_done_is_nobody_elses() -> None:
    def full(block: int) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        run_blocks(each(lambda block: None), range(3), full, threading.Event())
