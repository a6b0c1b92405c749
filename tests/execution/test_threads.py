"""Threads change the order of the work, and nothing else."""

import threading
import time

import pytest

from emds.errors import DataError
from emds.execution import each_in_threads, map_in_threads, run_blocks


@pytest.mark.parametrize("threads", [1, 3])
def test_results_come_in_order(threads):
    def slow_if_even(n):
        time.sleep(0.002 * (n % 2 == 0))
        return n

    assert list(map_in_threads(slow_if_even, range(50), threads)) == list(range(50))


def test_few_items_are_in_hand():
    taken = 0

    def items():
        nonlocal taken
        for n in range(100):
            taken += 1
            yield n

    for given, _ in enumerate(map_in_threads(lambda n: n, items(), 3), 1):
        assert taken - given <= 6


def test_what_is_raised_in_a_thread_comes_out():
    results = map_in_threads(lambda n: 1 // (n - 3), range(9), 2)
    assert [next(results) for _ in range(3)] == [-1, -1, -1]
    with pytest.raises(ZeroDivisionError):
        next(results)


def test_a_block_that_fails_does_not_stop_the_others():
    done, tries = set(), []

    def do(block):
        if block == 4:
            tries.append(block)
            raise DataError("this one is\ndamaged")

    failures = run_blocks(each_in_threads(do, 3), range(20), done.add, threading.Event())
    assert failures == {4: "this one is damaged"}
    assert done == set(range(20)) - {4}
    assert len(tries) == 2


def test_after_a_stop_what_is_in_hand_is_finished():
    stop, started, done = threading.Event(), set(), set()

    def do(block):
        started.add(block)
        if block == 5:
            stop.set()

    run_blocks(each_in_threads(do, 2), range(1000), done.add, stop)
    assert 5 in done
    assert started == done
    assert len(done) < 20
