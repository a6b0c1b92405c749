"""How a command ends: one line on stderr and the exit code that belongs to it."""

from __future__ import annotations

import errno
import os
import re
import sys
from typing import Any, NoReturn

import typer
from typer.core import TyperGroup
from typing_extensions import override

from emds.cli.printable import echo
from emds.errors import MACHINE_ERRORS, EmdsError, InterruptedRunError
from emds.files import one_command
from emds.signals import TerminatedError, ended_by_signals

INTERRUPTED = 130
BROKEN_PIPE = 141
"""What a shell reports for a program that SIGPIPE ended."""

_DENIED = {errno.EROFS, errno.EACCES, errno.EPERM}

# How libraries say, in errors of other kinds, that memory could not be had.
_NO_MEMORY = re.compile(
    r"(can(no|')t|unable to|failed to|could not) allocate|(out of|not enough|insufficient) memory"
    r"|bad_alloc|allocation (error|failed)|can't start new thread|failed to map segment",
    re.IGNORECASE,
)

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
        for word in args:
            _refuse_address(word)
        return super().parse_args(ctx, _globals_first(args))

    @override
    def invoke(self, ctx: Any) -> Any:
        try:
            with ended_by_signals(), one_command():
                result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except EmdsError as error:
            _say(str(error))
            raise typer.Exit(error.exit_code) from error
        except TerminatedError as error:
            _say("stopped by a signal.")
            raise typer.Exit(InterruptedRunError.exit_code) from error
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


def _refuse_address(word: str) -> None:
    """Refuse s3://... and its like before `Path` takes it for a folder with a colon."""
    address = re.fullmatch(r"(?:[\w-]+=)?([A-Za-z][\w+.-]*://\S*)", word)
    if address is not None:
        from emds.io.foreign import why_no_address

        reason = why_no_address(address[1])
        if reason is not None:
            raise typer.BadParameter(reason)


def _describe_usage(error: Any) -> str:
    message = str(error.format_message()).rstrip(".")
    context = getattr(error, "ctx", None)
    command = context.command_path if context is not None else "emds"
    return f"{message}. See '{command} --help'."


def _failure_around(error: BaseException) -> str | None:
    """Say what the machine lacked, if an error means that; it is not an internal error.

    Libraries wrap such errors in errors of their own, so those behind it count as well.
    """
    behind: BaseException | None = error
    while behind is not None:
        # By name, for PyTorch's own is not worth importing PyTorch.
        kinds = (isinstance(behind, MemoryError), type(behind).__name__ == "OutOfMemoryError")
        code = behind.errno if isinstance(behind, OSError) else None
        if any(kinds) or code == errno.ENOMEM or _NO_MEMORY.search(str(behind)):
            return (
                "out of memory. Lower --batch-size or --block-shape; for training, batch_size; or "
                "allow the process more (ulimit -v)."
            )
        if isinstance(behind, OSError) and code in MACHINE_ERRORS | _DENIED:
            limit = " (ulimit -f)" if code == errno.EFBIG else ""
            return f"{behind.strerror}{limit}: {behind.filename or 'while writing'}."
        context = None if behind.__suppress_context__ else behind.__context__
        behind = behind.__cause__ or context
    return None


def _describe_bug(error: Exception) -> str:
    lines = str(error).splitlines() or ["no message"]
    return (
        f"this is a bug in emds: {type(error).__name__}: {lines[0].rstrip('.')}. "
        "Repeat the command with --debug to see the traceback, and report it."
    )


def _say(message: str) -> None:
    """Print an error; only its first line begins at the margin, whatever a name in it holds."""
    first, *others = message.split("\n")
    lines = [first, *(line if line.startswith("  ") else f"  {line}" for line in others)]
    echo("emds: error: " + "\n".join(lines), err=True)


def _fail(message: str, code: int) -> NoReturn:
    _say(message)
    sys.exit(code)


def _discard_stdout() -> None:
    """Keep the interpreter from complaining about the closed pipe once more as it exits."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)
