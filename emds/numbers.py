"""What numbers an option may be: each range stands here once, for Python, YAML and command line.

A type below is what a field or a parameter is annotated with. `Checked` makes a dataclass refuse
what is out of range, `checked` a function, and a pydantic model does so by itself. What cannot be
(NaN, infinity, a negative size) and what no machine could serve is a `UsageError`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Annotated, Any, Literal, ParamSpec, TypeVar, get_args, get_origin, get_type_hints

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Discriminator,
    Field,
    Tag,
    TypeAdapter,
    ValidationError,
)

from emds.errors import UsageError

P = ParamSpec("P")
R = TypeVar("R")


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    low, high = pair
    # Less is lost in float32, in which grey values are scaled.
    if not high - low > 1e-6 * max(abs(low), abs(high)):
        raise ValueError("Input should rise, LOW before HIGH")
    return pair


def _not_falling(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError("Input should not fall, the lower end first")
    return pair


def _no_truth(value: Any) -> Any:
    if isinstance(value, bool):  # to Python and pydantic these are 0 and 1
        raise ValueError("Input should be a number, not a truth value")
    return value


_NUMBER = BeforeValidator(_no_truth)

STRIDE = 8
"""Networks halve y and x three times, so what they see is a multiple of this."""

# Lengths and places.
Size = Annotated[int, Field(ge=1, le=2**31 - 1, description="voxels along an axis"), _NUMBER]
Margin = Annotated[int, Field(ge=0, le=2**31 - 1, description="voxels along an axis"), _NUMBER]
TileSide = Annotated[
    int, Field(ge=1, le=2**13, description="voxels a network sees along an axis"), _NUMBER
]
Reach = Annotated[int, Field(ge=-(2**15), le=2**15, description="voxels to a partner"), _NUMBER]
Section = Annotated[int, Field(ge=0, le=2**40), _NUMBER]
Sections = tuple[Section, Section]
Nanometre = Annotated[
    float, Field(ge=1e-3, le=1e9, allow_inf_nan=False, description="edge of a voxel"), _NUMBER
]
Position = Annotated[
    float,
    Field(ge=-1e15, le=1e15, allow_inf_nan=False, description="nanometres or voxels"),
    _NUMBER,
]
SizeTriple = tuple[Size, Size, Size]
MarginTriple = tuple[Margin, Margin, Margin]
TileTriple = tuple[TileSide, TileSide, TileSide]
ReachTriple = tuple[Reach, Reach, Reach]
VoxelSize = tuple[Nanometre, Nanometre, Nanometre]
PositionTriple = tuple[Position, Position, Position]

# Grey values.
Grey = Annotated[float, Field(ge=-1e30, le=1e30, allow_inf_nan=False), _NUMBER]
GreySpan = Annotated[float, Field(gt=0, le=1e30, allow_inf_nan=False), _NUMBER]
GreyRange = Annotated[tuple[Grey, Grey], AfterValidator(_rising)]
Intensity = Annotated[
    Annotated[GreyRange, Tag("range")] | Annotated[Literal["auto"], Tag("auto")],
    Discriminator(lambda value: "auto" if isinstance(value, str) else "range"),
]
"""Grey values that correspond to 0 and 255 of an 8-bit image, or ``auto`` to take them from it."""

# Counts.
Count = Annotated[int, Field(ge=1, le=2**53), _NUMBER]
Voxels = Annotated[int, Field(ge=0, le=2**62), _NUMBER]
Steps = Annotated[int, Field(ge=1, le=10**12), _NUMBER]
Waiting = Annotated[int, Field(ge=0, le=10**12, description="steps"), _NUMBER]
Seed = Annotated[int, Field(ge=0, le=2**63 - 1), _NUMBER]
BatchSize = Annotated[int, Field(ge=1, le=2**16), _NUMBER]
Processes = Annotated[int, Field(ge=1, le=2**14), _NUMBER]
Threads = Annotated[int, Field(ge=1, le=2**12), _NUMBER]
Levels = Annotated[int, Field(ge=1, le=63), _NUMBER]
Repeats = Annotated[int, Field(ge=1, le=10**4), _NUMBER]
Bytes = Annotated[int, Field(ge=1, le=2**62), _NUMBER]

# Shares and factors.
Fraction = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), _NUMBER]
Decay = Annotated[float, Field(ge=0, lt=1, allow_inf_nan=False), _NUMBER]
Overlap = Annotated[float, Field(gt=0, le=1, allow_inf_nan=False), _NUMBER]
Weight = Annotated[float, Field(ge=0, le=1e9, allow_inf_nan=False), _NUMBER]
Positive = Annotated[float, Field(gt=0, le=1e9, allow_inf_nan=False), _NUMBER]
LearningRate = Annotated[float, Field(gt=0, le=1e30, allow_inf_nan=False), _NUMBER]
Factor = Annotated[float, Field(ge=1e-3, le=1e3, allow_inf_nan=False), _NUMBER]
FactorRange = Annotated[tuple[Factor, Factor], AfterValidator(_not_falling)]
Logit = Annotated[
    float, Field(ge=-80, le=80, allow_inf_nan=False), _NUMBER
]  # beyond, odds leave float32
Shift = Annotated[
    float, Field(ge=-1e6, le=1e6, allow_inf_nan=False, description="grey levels"), _NUMBER
]
ShiftRange = Annotated[tuple[Shift, Shift], AfterValidator(_not_falling)]


def check(kind: Any, value: Any, name: str) -> Any:
    """Return a value as the type that it must be of.

    Parameters
    ----------
    kind : type
        One of the above, or any other that pydantic knows.
    value : object
        The value given.
    name : str
        Name of the value in the message.

    Raises
    ------
    UsageError
        If it is out of range or of another type; the message says what it must be.

    Examples
    --------
    >>> check(VoxelSize, [40, 4, 4], "voxel_size")
    (40.0, 4.0, 4.0)
    >>> check(VoxelSize, (40.0, float("nan"), 4.0), "voxel_size")
    Traceback (most recent call last):
    emds.errors.UsageError: voxel_size must be a finite number (at 1), not (40.0, nan, 4.0).
    """
    try:
        return _adapter(kind).validate_python(value)
    except (ValidationError, OverflowError) as error:
        raise UsageError(f"{name} {what_is_wrong(error)}, not {shown(value)}.") from None


def what_is_wrong(error: ValidationError | OverflowError) -> str:
    """Return ``must be …`` for the first thing that pydantic has to say."""
    if isinstance(error, OverflowError):
        return "must be a number of ordinary size"
    problem = error.errors(include_url=False, include_context=False)[0]
    message = problem["msg"].removeprefix("Value error, ")
    place = ".".join(str(part) for part in problem["loc"] if isinstance(part, int))
    for theirs, ours in _PLAINLY.items():
        message = message.replace(theirs, ours)
    return f"{message} (at {place})" if place else message


_PLAINLY = {
    "Input should": "must",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    "greater than": "above",
    "less than": "below",
    "Field required": "must have one more value",
}


class Checked:
    """Base of a frozen dataclass of options, which refuses what a field cannot be.

    Values become what the annotation says: a list a tuple, a whole float an int.

    Raises
    ------
    UsageError
        If a value is out of range or of another type; the message names the field.

    Examples
    --------
    >>> from dataclasses import dataclass
    >>> @dataclass(frozen=True)
    ... class Options(Checked):
    ...     tile: SizeTriple | None = None
    >>> Options((1, 0, 8))
    Traceback (most recent call last):
    emds.errors.UsageError: tile must be at least 1 (at 1), not (1, 0, 8).
    """

    __slots__ = ()

    def __post_init__(self) -> None:
        kinds: Any = type(self)
        for name, kind in _hints(kinds).items():
            object.__setattr__(self, name, check(kind, getattr(self, name), name))


def checked(function: Callable[P, R]) -> Callable[P, R]:
    """Let a function refuse arguments that are out of the ranges it is annotated with.

    Parameters without a range are handed on as they come.

    Examples
    --------
    >>> @checked
    ... def sample(name: str, seed: Seed = 0) -> int:
    ...     return seed
    >>> sample("any", seed=-1)
    Traceback (most recent call last):
    emds.errors.UsageError: seed must be at least 0, not -1.
    """
    signature = inspect.signature(function)

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        bound = signature.bind(*args, **kwargs)
        for name, kind in _ranges(function).items():
            if name in bound.arguments:
                bound.arguments[name] = check(kind, bound.arguments[name], name)
        return function(*bound.args, **bound.kwargs)

    return call


@functools.cache
def _hints(of: Any) -> dict[str, Any]:
    return get_type_hints(of, include_extras=True)


@functools.cache
def _ranges(function: Callable[..., Any]) -> dict[str, Any]:
    return {name: kind for name, kind in _hints(function).items() if _has_range(kind)}


def _has_range(kind: Any) -> bool:
    return get_origin(kind) is Annotated or any(_has_range(part) for part in get_args(kind))


@functools.cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    return TypeAdapter(kind)


def shown(value: Any) -> str:
    """Return a value as a message shows it."""
    try:
        text = repr(value)
    except ValueError:  # a whole number of thousands of digits
        return f"such a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."
