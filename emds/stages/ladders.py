"""How affinities are made into labels, as points on ladders, and a walk to the best of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from emds.segmentation.affinities import AffinitySpec
from emds.segmentation.bias import offset_groups
from emds.segmentation.settings import LabelSettings

Point = tuple[int, ...]
"""On which rung of each ladder."""

_STRIDES_ACROSS = (1, 2, 3)
_STRIDES = tuple((n, n) for n in (1, 2, 3, 4, 6, 8, 12))
_SIZES = (0, 25, 50, 100, 200, 400, 800, 1600, 3200)
_SHIFTS = tuple(half / 2 for half in range(-6, 7))


@dataclass(frozen=True, slots=True)
class Ladders:
    """The settings around one, in steps.

    Biases are searched for groups of offsets, not for each: every number that is chosen makes it
    easier to choose by luck. Attraction in the section keeps its bias. A watershed compares the
    affinity of one edge with one minus that of another, so a bias that is added to all attraction
    and taken from all mutexes changes nothing, and one group can stand still for the others.

    Attributes
    ----------
    start : LabelSettings
        Settings to start from.
    groups : dict of str to tuple of int
        The channels of each group whose bias is searched.
    rungs : tuple of tuples
        Smallest segment, strides across sections, strides in them, and the shift of each group.
        What matters least for large objects comes first.
    """

    start: LabelSettings
    groups: dict[str, tuple[int, ...]]
    rungs: tuple[tuple[Any, ...], ...]

    @classmethod
    def around(cls, start: LabelSettings, spec: AffinitySpec) -> Ladders:
        """Build the ladders; what `start` has is always one of the rungs."""
        across, *strides = start.mutex_strides
        searched = dict(list(offset_groups(spec).items())[1:])
        rungs = (
            tuple(sorted({start.min_size, *_SIZES})),
            tuple(sorted({across} if spec.planar else {across, *_STRIDES_ACROSS})),
            tuple(sorted({tuple(strides), *_STRIDES})),
            *(_SHIFTS for _ in searched),
        )
        return cls(start, searched, rungs)

    @property
    def heights(self) -> tuple[int, ...]:
        """How many rungs each ladder has."""
        return tuple(map(len, self.rungs))

    @property
    def bottom(self) -> Point:
        """The point of the start."""
        across, *strides = self.start.mutex_strides
        own = (self.start.min_size, across, tuple(strides), *(0 for _ in self.groups))
        return tuple(rungs.index(value) for rungs, value in zip(self.rungs, own, strict=True))

    def setting(self, point: Point) -> LabelSettings:
        """Return the setting at a point."""
        min_size, across, strides, *shifts = (
            rungs[rung] for rungs, rung in zip(self.rungs, point, strict=True)
        )
        bias = list(self.start.bias)
        for channels, shift in zip(self.groups.values(), shifts, strict=True):
            for channel in channels:
                bias[channel] += shift
        return replace(
            self.start, mutex_strides=(across, *strides), min_size=min_size, bias=tuple(bias)
        )


def descend(
    start: Point,
    heights: Sequence[int],
    better: Callable[[Point, Point], bool],
    told: Callable[[int, int], None] = lambda turn, ladder: None,
) -> Point:
    """Walk along one ladder after the other while that is better, until no step is.

    Parameters
    ----------
    start : Point
        Point to start from.
    heights : sequence of int
        Rungs of each ladder.
    better : callable
        Says whether one point is better than another; never in a circle.
    told : callable
        Told (turn, ladder) whenever a ladder has been tried, both from 1.

    Returns
    -------
    Point
        No neighbour of it on any ladder is better.

    Examples
    --------
    >>> def score(point):
    ...     return (point[0] - 3) ** 2 + (point[1] - point[0]) ** 2
    >>> descend((0, 4), (6, 6), lambda one, other: score(one) < score(other))
    (3, 3)
    """
    best, turn, moved = start, 0, True
    while moved:
        turn, moved = turn + 1, False
        for ladder, height in enumerate(heights):
            for step in (1, -1):
                while 0 <= best[ladder] + step < height:
                    beside = (*best[:ladder], best[ladder] + step, *best[ladder + 1 :])
                    if not better(beside, best):
                        break
                    best, moved = beside, True
            told(turn, ladder + 1)
    return best
