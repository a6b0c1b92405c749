"""How long-running work tells how far it is."""

from __future__ import annotations

from collections.abc import Callable

Progress = Callable[[int, int, str], None]
"""Told (done, total, what): a count that grows to a total, and what is counted."""


def silent(done: int, total: int, what: str) -> None:
    """Tell nobody."""
