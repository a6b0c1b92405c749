"""How a command ends: one line on stderr and the exit code that belongs to it."""

from __future__ import annotations

import errno
import os
import sys
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup
from typing_extensions import override

from emds.errors import EmdsError

INTERRUPTED = 130
BROKEN_PIPE = 141
"""What a shell reports for a program that SIGPIPE ended."""

_MACHINE_ERRORS = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EROFS,
    errno.EACCES,
    errno.EPERM,
    errno.EIO,
    errno.EMFILE,
    errno.EBADF,  # stdout is closed
    errno.ENAMETOOLONG,
}

GLOBAL_FLAGS = ("-q", "--quiet", "-v", "--verbose", "--no-progress", "--debug")


class ReportingGroup(TyperGroup):
    """Commands whose failures are one line and an exit code.

    Errors of emds carry their own code, a wrong option is 2, Ctrl-C is 130. Anything else is 1:
    the machine failed, or there is a bug, with its traceback under ``--debug``.
    """

    @override
    def main(self, *args: Any, **extra: Any) -> Any:
        standalone = extra.get("standalone_mode", True)
        try:
            code = super().main(*args, **(extra | {"standalone_mode": False}))
        except Exception as error:
            # Typer 0.26 left click for a copy of its own, so the base class of usage errors has
            # no one public name; only they know how to say what was wrong with the arguments.
            if not standalone or not hasattr(error, "format_message"):
                raise
            _fail(_describe_usage(error), 2)
        if standalone:
            sys.exit(code or 0)
        return code

    @override
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _globals_first(args))

    @override
    def invoke(self, ctx: Any) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except EmdsError as error:
            _say(str(error))
            raise typer.Exit(error.exit_code) from error
        except KeyboardInterrupt as error:
            _say("stopped by Ctrl-C.")
            raise typer.Exit(INTERRUPTED) from error
        except BrokenPipeError as error:
            _discard_stdout()
            raise typer.Exit(BROKEN_PIPE) from error
        except Exception as error:
            expected = isinstance(error, typer.Exit) or hasattr(error, "format_message")
            if expected or ctx.params.get("debug"):
                raise
            _say(_failure_around(error) or _describe_bug(error))
            raise typer.Exit(1) from error


def _globals_first(args: list[str]) -> list[str]:
    """Let global flags stand anywhere on the line, as people type them."""
    end = args.index("--") if "--" in args else len(args)
    return sorted(args[:end], key=lambda word: word not in GLOBAL_FLAGS) + args[end:]


def _describe_usage(error: Any) -> str:
    message = str(error.format_message()).rstrip(".")
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "emds"
    return f"{message}. See '{command} --help'."


def _failure_around(error: Exception) -> str | None:
    """Say what the machine lacked, if that is what happened; it is nobody's bug."""
    # By name, for PyTorch's own is not worth importing PyTorch.
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return "out of memory. Lower --batch-size or --block-shape; for training, batch_size."
    if isinstance(error, OSError) and error.errno in _MACHINE_ERRORS:
        return f"{error.strerror}: {error.filename or 'while writing'}."
    return None


def _describe_bug(error: Exception) -> str:
    lines = str(error).splitlines() or ["no message"]
    return (
        f"this is a bug in emds: {type(error).__name__}: {lines[0].rstrip('.')}. "
        "Repeat the command with --debug to see the traceback, and report it."
    )


def _say(message: str) -> None:
    typer.echo(f"emds: error: {message}", err=True)


def _fail(message: str, code: int) -> NoReturn:
    _say(message)
    sys.exit(code)


def _discard_stdout() -> None:
    """Keep the interpreter from complaining about the closed pipe once more as it exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
