"""Numbers and names in few words, on one line."""

from __future__ import annotations

from collections.abc import Iterable


def in_runs(numbers: Iterable[int], most: int = 6) -> str:
    """Write ascending numbers, those that follow one another as a range.

    Parameters
    ----------
    numbers : iterable of int
        In ascending order.
    most : int
        Number of ranges that are written out.

    Examples
    --------
    >>> in_runs([3, 5, 6, 7, 12])
    '3, 5 to 7, 12'
    >>> in_runs([1, 3, 5, 7, 9], most=2)
    '1, 3 and 3 more'
    """
    runs: list[list[int]] = []
    for number in numbers:
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    words = [str(low) if low == high else f"{low} to {high}" for low, high in runs[:most]]
    rest = sum(high - low + 1 for low, high in runs[most:])
    return ", ".join(words) + (f" and {rest} more" if rest else "")


def one_line(name: str) -> str:
    r"""Return a name from a file as it can stand in a message, where a line end means something.

    Examples
    --------
    >>> one_line("a\nemds: error: b")
    'a\\nemds: error: b'
    """
    return name.replace("\n", "\\n")
