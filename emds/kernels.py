"""Compiled functions, kept on disk where there is a place for it.

numba keeps what it compiled beside the source, or in the user's cache. In a container both may be
read-only, and then it refuses to compile what it was told to keep.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache
from typing import Any, Literal, TypeVar

import numba

logger = logging.getLogger("emds")

F = TypeVar("F", bound=Callable[..., Any])


def njit(inline: Literal["never", "always"] = "never") -> Callable[[F], F]:
    """Return the decorator of all compiled functions; they let other threads run.

    Parameters
    ----------
    inline : {"never", "always"}
        As in `numba.njit`.
    """
    options: Any = {"nogil": True, "inline": inline}
    compile_: Any = numba.njit  # typed in some versions of numba, not in others

    def compiled(function: F) -> F:
        try:
            kept: F = compile_(cache=True, **options)(function)
            return kept
        except RuntimeError as error:
            if "no locator available" not in str(error):
                raise
        _say_that_nothing_is_kept()
        anew: F = compile_(**options)(function)
        return anew

    return compiled


@cache
def _say_that_nothing_is_kept() -> None:
    logger.warning(
        "there is no folder to keep compiled functions in, so every start compiles them anew, "
        "which takes up to a minute. Set NUMBA_CACHE_DIR to a folder that can be written to"
    )
