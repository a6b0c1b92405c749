"""Blind spots: places whose own noise is hidden from a network that must predict them.

What a network says of a place that it did not see cannot follow the noise there, so its best
answer is the mean of what may be there, and the noisy value itself will do as the target.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from emds.geometry import Triple, middle

_AROUND = 4  # how far beyond the reach of the noise a value may come from, voxels
_PITCH = 4  # voxels from spot to spot, at least


def hide_spots(
    stack: NDArray[np.float32], sections: int, reach: Triple, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Put values from around in the place of some, and of all that share their noise.

    A spot is a box as wide as noise resembles itself to either side. It is overwritten by a box of
    the same size from near by, chosen anew for every spot, so that what is seen there has the
    grain of the image and tells nothing of the place itself. At the ends of an axis, as wide as
    the spots are, nothing but spots is hidden.

    Parameters
    ----------
    stack : (K, Y, X) float32
        Adjacent sections; `least_side` or more wide.
    sections : int
        The spots lie in so many sections in the middle, in each at other places.
    reach : (z, y, x)
        How far noise resembles itself, voxels; 0 is white noise.
    rng : numpy.random.Generator
        Chooses places and values.

    Returns
    -------
    hidden : (K, Y, X) float32
        The stack with its spots overwritten.
    spots : (sections, Y, X) bool
        The middles of the spots: there a prediction may be compared with `stack`.

    References
    ----------
    Krull et al., Noise2Void, CVPR 2019; for noise that is correlated: Broaddus et al., Removing
    Structured Noise with Self-Supervised Blind-Spot Networks, ISBI 2020.

    Examples
    --------
    >>> stack = np.arange(144, dtype=np.float32).reshape(1, 12, 12)
    >>> hidden, spots = hide_spots(stack, 1, (0, 0, 0), np.random.default_rng(0))
    >>> int(spots.sum()), bool(((hidden != stack) == spots).all())
    (9, True)
    """
    depth, *sides = stack.shape
    assert min(sides) >= least_side(reach), "the stack is too narrow for noise of this reach"
    hidden = stack.copy()
    spots = np.zeros((sections, *sides), dtype=np.bool_)
    above, *around = reach
    moves = _moves(around)
    first = middle(depth, sections).start
    for index in range(sections):
        grid = [
            np.arange(int(rng.integers(p)), n, p)
            for p, n in zip(_pitch(around), sides, strict=True)
        ]
        places = np.stack(np.meshgrid(*grid, indexing="ij"), axis=-1).reshape(-1, 2)
        spots[index, places[:, 0], places[:, 1]] = True
        to, source = _boxes(
            places, moves[rng.integers(len(moves), size=len(places))], around, sides
        )
        for z in range(max(0, first + index - above), min(depth, first + index + above + 1)):
            hidden[z, to[0], to[1]] = stack[z, source[0], source[1]]
    return hidden, spots


def least_side(reach: Triple) -> int:
    """Return the width of the narrowest section in which spots can be hidden, voxels.

    Examples
    --------
    >>> least_side((0, 0, 0)), least_side((0, 4, 0))
    (9, 33)
    """
    return 2 * (3 * max(reach[1:]) + _AROUND) + 1


def _pitch(reach: list[int]) -> list[int]:
    """Return distances of spots at which at most a quarter of the section is hidden."""
    return [max(_PITCH, 2 * (2 * r + 1)) for r in reach]


def _moves(reach: list[int]) -> NDArray[np.intp]:
    """Return the (y, x) from a spot to where its values come from, clear of its own noise."""
    spans = [np.arange(-2 * r - _AROUND, 2 * r + _AROUND + 1) for r in reach]
    moves = np.stack(np.meshgrid(*spans, indexing="ij"), axis=-1).reshape(-1, 2)
    return moves[(np.abs(moves) > 2 * np.array(reach)).any(axis=1)]


def _boxes(
    places: NDArray[np.intp], moves: NDArray[np.intp], reach: list[int], sides: list[int]
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the voxels (2, N) of the boxes around `places`, and where their values come from.

    A move that would leave the section goes inwards.
    """
    low, high = np.array(reach), np.array(sides) - 1 - np.array(reach)
    moved = places + moves
    moves = np.where(moved < low, np.abs(moves), np.where(moved > high, -np.abs(moves), moves))
    box = np.stack(np.meshgrid(*(np.arange(-r, r + 1) for r in reach), indexing="ij"), axis=-1)
    to = (places[:, None] + box.reshape(-1, 2)).reshape(-1, 2)
    source = to + np.repeat(moves, box.shape[0] * box.shape[1], axis=0)
    inside = ((to >= 0) & (to < np.array(sides))).all(axis=1)
    return to[inside].T, source[inside].T
