"""Standard streams that are closed, or whose reader has ended."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import typer

from emds.cli.reporting import BROKEN_PIPE


@contextmanager
def standard_streams() -> Iterator[None]:
    """Make sure that there are three of them, and tell of what could not be written as tools do.

    A reader that left, such as ``head``, ends the command as SIGPIPE would. Any other failure is
    one line on stderr and exit code 1.
    """
    _open_closed()
    left = None
    try:
        yield
    except SystemExit as stop:
        left = stop
        cause = stop.__context__
        if isinstance(cause, BrokenPipeError):  # Typer's own exit, with code 1
            _end(cause)
    except OSError as error:  # of --help and the like; commands report their own
        _end(error)
    try:
        sys.stdout.flush()
    except OSError as error:
        if left is None or not left.code:
            _end(error)
        _discard_stdout()
    if left is not None:
        raise left


def _end(error: OSError) -> None:
    _discard_stdout()
    if error.errno == errno.EPIPE:
        sys.exit(BROKEN_PIPE)
    typer.echo(f"emds: error: {error.strerror or error}: cannot write to stdout.", err=True)
    sys.exit(1)


def _open_closed() -> None:
    """Give closed streams something in their place, so that no output file becomes one of them.

    What is written to a stdout that is closed must fail, as it does for other tools.
    """
    while (descriptor := os.open(os.devnull, os.O_RDONLY)) <= 2:
        pass
    if sys.stdout is None:
        sys.stdout = open(descriptor, "w")  # noqa: SIM115  (it stays open)
    else:
        os.close(descriptor)
    if sys.stderr is None:
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    if sys.stdin is None:
        sys.stdin = open(os.devnull)  # noqa: SIM115


def _discard_stdout() -> None:
    """Keep the interpreter from complaining once more as it exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
