"""The one way to the terminal: nothing that a file says can move the cursor or hide text."""

from __future__ import annotations

import sys
import unicodedata

import typer


def printable(text: str) -> str:
    r"""Write characters that are not seen, but do something, as their escape sequences.

    Kept are line ends and all kinds of space. Control characters, marks that change the direction
    of writing, and bytes of file names that are no text are written out.

    Examples
    --------
    >>> printable("a\x1b[31mb\r\n\u202etxt \udcff µm")
    'a\\x1b[31mb\\r\n\\u202etxt \\udcff µm'
    """
    return "".join(letter if _is_seen(letter) else _escaped(letter) for letter in text)


def on_one_line(text: str) -> str:
    """Return a text as it can stand in a table or a log, where a line end would forge a line."""
    return " ".join(text.splitlines())


def _is_seen(letter: str) -> bool:
    return letter.isprintable() or letter == "\n" or unicodedata.category(letter) == "Zs"


def _escaped(letter: str) -> str:
    return letter.encode("unicode_escape").decode("ascii")


def echo(text: str, *, err: bool = False, nl: bool = True) -> None:
    """Print a text on stdout or stderr, made printable there."""
    stream = sys.stderr if err else sys.stdout
    encoding = stream.encoding or "utf-8"
    shown = printable(text).encode(encoding, "backslashreplace").decode(encoding)
    typer.echo(shown, err=err, nl=nl)
