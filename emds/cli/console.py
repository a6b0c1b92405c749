"""What a person sees: progress on stderr, tables on stdout.

On a terminal progress is a bar; elsewhere it is a line at the start, at the end, and at most
every 30 seconds in between, so a batch job's log stays short.
"""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import typer
from typing_extensions import override

from emds.cli.printable import echo, on_one_line, printable
from emds.progress import Progress

LINE_INTERVAL_S = 30.0


@dataclass(frozen=True, slots=True)
class Console:
    """How much to say; kept as ``ctx.obj`` for every command."""

    quiet: bool = False
    verbose: bool = False
    show_progress: bool = True

    def note(self, *messages: str) -> None:
        """Tell what happened, on stderr, unless asked to be quiet."""
        for message in () if self.quiet else messages:
            echo(f"emds: {on_one_line(message)}", err=True)

    @contextmanager
    def progress(self) -> Iterator[Progress | None]:
        """Give a stage the callable it reports to; None where nobody wants to see it."""
        started = time.monotonic()
        if self.quiet or not self.show_progress:
            yield None
        elif sys.stderr.isatty():
            with _bar() as report:
                yield report
        else:
            yield ProgressLines(lambda line: echo(f"emds: {line}", err=True))
        if self.verbose:
            self.note(f"took {format_seconds(time.monotonic() - started)}, {_peak_memory()}")


def console_of(ctx: typer.Context) -> Console:
    """Return the console that the global options of this call ask for."""
    console = ctx.obj
    assert isinstance(console, Console)
    return console


class ProgressLines:
    """Progress for a log file.

    Parameters
    ----------
    write : callable
        Receives one line.
    clock : callable
        Seconds; replaced in tests.

    Examples
    --------
    >>> report = ProgressLines(print, clock=iter([0.0, 5.0, 40.0, 60.0]).__next__)
    >>> for done in (0, 1, 4, 6):
    ...     report(done, 6, "denoise")
    denoise: 0 of 6
    denoise: 4 of 6 (67 %), 40 s so far, about 20 s left
    denoise: 6 of 6 (100 %), 1 min 0 s so far
    """

    def __init__(
        self, write: Callable[[str], None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.write = write
        self.clock = clock
        self.begun: tuple[float, int] | None = None
        self.last = (0, 0)
        self.said = 0.0

    def __call__(self, done: int, total: int, what: str) -> None:
        """Take note of `done` out of `total`, and say so when it is time."""
        now = self.clock()
        new = self.begun is None or done < self.last[0] or total != self.last[1]
        if self.begun is None or new:
            self.begun = (now, done)
        self.last = (done, total)
        if new or done == total or now - self.said >= LINE_INTERVAL_S:
            self.said = now
            self.write(_describe(done, total, what, now - self.begun[0], done - self.begun[1]))


def _describe(done: int, total: int, what: str, seconds: float, advanced: int) -> str:
    line = f"{what}: {done} of {total}"
    if advanced:
        line += f" ({done / total:.0%}), {format_seconds(seconds)} so far".replace("%", " %")
        if done < total:
            line += f", about {format_seconds(seconds / advanced * (total - done))} left"
    return line


@contextmanager
def _bar() -> Iterator[Progress]:
    from rich.console import Console as Terminal
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Terminal(stderr=True)) as bar:
        task = bar.add_task("", total=None)
        last = (0, 0)

        def report(done: int, total: int, what: str) -> None:
            nonlocal last
            if done < last[0] or total != last[1]:
                bar.reset(task)
            last = (done, total)
            bar.update(task, completed=done, total=total, description=printable(what))

        yield report


def print_measures(rows: Iterable[tuple[str, float | None, str]]) -> None:
    """Print a table of (name, value, remark) on stdout; a value of None is infinite."""
    cells = [(name, "inf" if value is None else f"{value:.4f}", note) for name, value, note in rows]
    print_table("lrl", ("measure", "value", ""), cells)


def print_table(flush: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table on stdout: drawn on a terminal, plain aligned text elsewhere.

    Parameters
    ----------
    flush : str
        For each column ``l`` (text) or ``r`` (figures).
    columns : sequence of str
        Headings.
    rows : sequence of sequence of str
        Cells.

    Examples
    --------
    >>> print_table("lr", ["measure", "value"], [["VOI", "0.7"], ["PSNR", "26.2"]])
    measure  value
    VOI        0.7
    PSNR      26.2
    """
    if sys.stdout.isatty():
        _print_rich_table(flush, columns, rows)
        return
    lines = [[printable(on_one_line(cell)) for cell in line] for line in (columns, *rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    for line in lines:
        cells = [
            cell.rjust(width) if side == "r" else cell.ljust(width)
            for cell, width, side in zip(line, widths, flush, strict=True)
        ]
        echo("  ".join(cells).rstrip())


def _print_rich_table(flush: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    from rich import box
    from rich.console import Console as Terminal
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD)
    for name, side in zip(columns, flush, strict=True):
        table.add_column(Text(printable(name)), justify="right" if side == "r" else "left")
    for row in rows:
        table.add_row(*(Text(printable(on_one_line(cell))) for cell in row))
    Terminal().print(table)


class TitledTable(Protocol):
    """What `print_tables` shows."""

    @property
    def title(self) -> str: ...  # noqa: D102
    @property
    def flush(self) -> str: ...  # noqa: D102
    @property
    def columns(self) -> Sequence[str]: ...  # noqa: D102
    @property
    def rows(self) -> Sequence[Sequence[str]]: ...  # noqa: D102


def print_tables(tables: Iterable[TitledTable]) -> None:
    """Print tables on stdout, each under its title, a line between."""
    for number, table in enumerate(tables):
        echo("\n" * bool(number) + table.title)
        print_table(table.flush, table.columns, table.rows)


def print_plan(tasks: Sequence[tuple[str, bool, float]]) -> None:
    """Print tasks as (label, done, seconds), and on stderr how much is left."""
    rows = [
        (label, "done" if done else "left", format_seconds(seconds))
        for label, done, seconds in tasks
    ]
    print_table("llr", ("task", "state", "time"), rows)
    left = [seconds for _, done, seconds in tasks if not done]
    echo(
        f"emds: {len(left)} of {len(tasks)} tasks left, about {format_seconds(sum(left))}", err=True
    )


def print_json(content: Mapping[str, Any]) -> None:
    """Print one JSON object on stdout; all but ASCII is escaped as JSON does."""
    echo(json.dumps(content, indent=2, allow_nan=False).replace("\x7f", "\\u007f"))


def print_yaml(content: Mapping[str, Any]) -> None:
    """Print nested facts for a person, on stdout: ``key: value`` lines."""
    import yaml

    # Through JSON, so that tuples and paths come out as plain YAML too.
    plain = json.loads(json.dumps(content, default=str))
    echo(yaml.safe_dump(plain, sort_keys=False, allow_unicode=True, width=100), nl=False)


def format_seconds(seconds: float) -> str:
    """Write a duration the way one says it.

    Examples
    --------
    >>> [format_seconds(s) for s in (7.2, 75, 7380)]
    ['7 s', '1 min 15 s', '2 h 3 min']
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _peak_memory() -> str:
    import resource

    unit = 1 if sys.platform == "darwin" else 1024
    peak_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    return f"peak memory {peak_bytes / 1e6:.0f} MB"


def show_messages(*, quiet: bool, verbose: bool) -> None:
    """Print the library's log messages and Python's warnings as ``emds: warning: ...``."""
    level = logging.ERROR if quiet else logging.INFO if verbose else logging.WARNING
    logger = logging.getLogger("emds")
    logger.handlers = [_StderrHandler(level)]
    logger.setLevel(level)
    logger.propagate = False

    def show(message: Warning | str, *_: Any, **__: Any) -> None:
        logger.warning("%s", message)

    warnings.showwarning = show


class _StderrHandler(logging.Handler):
    @override
    def emit(self, record: logging.LogRecord) -> None:
        line = " ".join(
            record.getMessage().splitlines()
        )  # a message is one line, whatever is in it
        echo(f"emds: {record.levelname.lower()}: {line}", err=True)
