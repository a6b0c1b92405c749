"""Units of length by every name that files give them, in nanometres."""

from __future__ import annotations

import html
import re
import unicodedata
from contextlib import suppress
from functools import cache

_PREFIXES = {
    "yocto": -24, "zepto": -21, "atto": -18, "femto": -15, "pico": -12, "nano": -9, "micro": -6,
    "milli": -3, "centi": -2, "deci": -1, "": 0, "deca": 1, "hecto": 2, "kilo": 3, "mega": 6,
    "giga": 9, "tera": 12,
}  # fmt: skip
_SYMBOLS = {
    "ym": -24, "zm": -21, "am": -18, "fm": -15, "pm": -12, "nm": -9, "um": -6, "mm": -3, "cm": -2,
    "dm": -1, "m": 0, "dam": 1, "hm": 2, "km": 3,
}  # fmt: skip
_WORDS = {"angstrom": -10, "ångström": -10, "å": -10, "micron": -6, "mu": -6}
_INCHES = ("inch", "inche", "in")  # without the plural's s

# What says that positions are counted, not measured.
COUNTS = ("pixel", "px", "voxel", "vx", "index")


@cache
def nanometres_per(unit: str) -> float | None:
    r"""Return how many nanometres a unit of length is; None if it is none that is known.

    Long names may be plural, British or American, of any case; the micro sign may be escaped as
    ImageJ, HTML or the wrong encoding leave it.

    Examples
    --------
    >>> [nanometres_per(u) for u in ("nm", "microns", "\\u00B5m", "Nanometers", "Å", "furlong")]
    [1.0, 1000.0, 1000.0, 1.0, 0.1, None]
    """
    name = plain_name(unit)
    power = _power(name)
    if power is not None:
        return float(f"1e{power + 9}")
    return 2.54e7 if name.removesuffix("s") in _INCHES else None


def in_nanometres(value: float, unit: str | None) -> float | None:
    """Convert a length, rounded to 12 digits so that 4.6e-3 µm is 4.6 nm; None if it has no unit.

    Examples
    --------
    >>> in_nanometres(0.0046, "µm"), in_nanometres(4.6, None)
    (4.6, None)
    """
    factor = None if unit is None else nanometres_per(unit)
    return None if factor is None else float(f"{value * factor:.12g}")


def counts_voxels(unit: str) -> bool:
    """Say whether a unit says that lengths are counted in voxels.

    Examples
    --------
    >>> [counts_voxels(unit) for unit in ("pixels", "", "nm")]
    [True, False, False]
    """
    name = plain_name(unit)
    return name in COUNTS or (len(name) > 2 and name.removesuffix("s") in COUNTS)


def plain_name(unit: str) -> str:
    """Undo escapes and spelling: lower case, one kind of micro sign and of angstrom."""
    text = re.sub(r"\\[uU]([0-9a-fA-F]{4})", lambda found: chr(int(found[1], 16)), unit)
    text = re.sub(r"\\x([0-9a-fA-F]{2})", lambda found: chr(int(found[1], 16)), text)
    text = html.unescape(text).strip().strip(".()[]")
    with suppress(UnicodeError):  # UTF-8 that was read as Latin-1
        text = text.encode("latin-1").decode("utf-8")
    # Mega and milli differ by case alone.
    text = text if text in ("M", "Mm", "Pm", "Ym", "Zm") else text.lower()
    text = unicodedata.normalize("NFKC", text)
    return text.replace("μ", "u") if text in ("μm", "μ") else text.replace("μ", "micro")


def _power(name: str) -> int | None:
    """Return the power of ten of a metre."""
    if name in _SYMBOLS:
        return _SYMBOLS[name]
    singular = name.removesuffix("s")
    if singular in _WORDS:
        return _WORDS[singular]
    for metre in ("meter", "metre"):
        prefix = singular.removesuffix(metre).rstrip("- ")
        if singular.endswith(metre) and prefix in _PREFIXES:
            return _PREFIXES[prefix]
    return None
