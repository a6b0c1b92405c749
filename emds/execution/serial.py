"""One process does block after block, and carries on past one that fails."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from emds.errors import BlockError, DataError, EmdsError

Failures = dict[int, str]
"""What went wrong, by number of the block."""

RETRIES = 1


class BlockWork(Protocol):
    """What is to be done, set up once for many blocks."""

    def __call__(self, blocks: Iterator[int], done: Callable[[int], None]) -> None:
        """Do the blocks of an iterator, and tell of each when all of it is on disk.

        A failure that has to do with one block is raised as a `BlockError`.
        """


def each(function: Callable[[int], None]) -> BlockWork:
    """Make work of a function that does one block."""

    def work(blocks: Iterator[int], done: Callable[[int], None]) -> None:
        for block in blocks:
            try:
                function(block)
            except Exception as error:
                raise BlockError(block) from error
            done(block)

    return work


def run_blocks(
    work: BlockWork,
    blocks: Iterable[int],
    done: Callable[[int], None],
    stop: threading.Event,
) -> Failures:
    """Do blocks until all are done, or have failed twice, or a stop is asked for.

    Parameters
    ----------
    work : BlockWork
        Does them.
    blocks : iterable of int
        Their numbers, in order.
    done : callable
        Told of each block that is done, perhaps from another thread.
    stop : threading.Event
        When set, what is in hand is finished and no more is begun.

    Returns
    -------
    dict
        The blocks that failed. A failure counts as the block's own where its data are to blame
        (`DataError`); it is then tried once more after the others. Any other error is raised at
        once.
    """
    left = dict.fromkeys(blocks)
    tries: Counter[int] = Counter()
    failures: Failures = {}

    def finish(block: int) -> None:
        done(block)
        left.pop(block, None)

    def hand_out() -> Iterator[int]:
        for block in list(left):
            if stop.is_set():
                return
            yield block

    while left and not stop.is_set():
        try:
            work(hand_out(), finish)
        except BlockError as failed:
            error = failed.__cause__
            assert error is not None
            if not isinstance(error, DataError):
                raise error from None
            tries[failed.block] += 1
            del left[failed.block]
            if tries[failed.block] > RETRIES:
                failures[failed.block] = _one_line(error)
            else:
                left[failed.block] = None
    return failures


def _one_line(error: EmdsError) -> str:
    return " ".join(str(error).split())
