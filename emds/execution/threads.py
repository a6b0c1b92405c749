"""Many at a time in one process: for work that waits for the disk or leaves Python alone."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from emds.errors import BlockError
from emds.execution.serial import BlockWork

Item = TypeVar("Item")
Result = TypeVar("Result")


def map_in_threads(
    function: Callable[[Item], Result], items: Iterable[Item], threads: int
) -> Iterator[Result]:
    """Apply a function in threads, and yield the results in the order of the items.

    Parameters
    ----------
    function : callable
        Called from any thread; what it raises is raised here.
    items : iterable
        Taken as they are needed: twice as many as there are threads are in hand at most.
    threads : int
        1 or more.

    Examples
    --------
    >>> list(map_in_threads(lambda n: n * n, range(5), threads=2))
    [0, 1, 4, 9, 16]
    """
    in_hand: deque[Future[Result]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for item in items:
            in_hand.append(pool.submit(function, item))
            if len(in_hand) == 2 * threads:
                yield in_hand.popleft().result()
        while in_hand:
            yield in_hand.popleft().result()


def each_in_threads(function: Callable[[int], None], threads: int) -> BlockWork:
    """Make work of a function that does one block, in as many threads; as `each` does in one."""

    def do(block: int) -> int:
        try:
            function(block)
        except Exception as error:
            raise BlockError(block) from error
        return block

    def work(blocks: Iterator[int], done: Callable[[int], None]) -> None:
        for block in map_in_threads(do, blocks, threads):
            done(block)

    return work
