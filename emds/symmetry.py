"""Turning and mirroring: of volumes, and of what points from one voxel to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emds.geometry import Triple


@dataclass(frozen=True, slots=True)
class Symmetry:
    """One of the sixteen symmetries of a square prism: y and x change places, then axes reverse.

    z keeps its place, for sections may be thicker than pixels are wide.

    Attributes
    ----------
    transposes : bool
        Whether y and x change places.
    reverses : (bool, bool, bool)
        Which of z, y and x are reversed after that.

    Examples
    --------
    >>> quarter_turn = SYMMETRIES[1]
    >>> quarter_turn.apply(np.array([[[1, 2, 3]]])).tolist()
    [[[3], [2], [1]]]
    >>> quarter_turn.undo_step((0, -1, 0))
    (0, 0, 1)
    """

    transposes: bool
    reverses: tuple[bool, bool, bool]

    def apply(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return a view of (..., z, y, x), transformed."""
        turned = values.swapaxes(-2, -1) if self.transposes else values
        return np.flip(turned, self._reversed_axes)

    def undo(self, values: NDArray[Any]) -> NDArray[Any]:
        """Return a view of (..., z, y, x), so that ``undo(apply(values))`` is `values`."""
        straight = np.flip(values, self._reversed_axes)
        return straight.swapaxes(-2, -1) if self.transposes else straight

    def undo_step(self, step: Triple) -> Triple:
        """Return the step (dz, dy, dx) in a volume that is `step` in the transformed one."""
        z, y, x = (-n if back else n for n, back in zip(step, self.reverses, strict=True))
        return (z, x, y) if self.transposes else (z, y, x)

    @property
    def _reversed_axes(self) -> tuple[int, ...]:
        return tuple(axis for axis, back in zip((-3, -2, -1), self.reverses, strict=True) if back)


def _symmetry(number: int) -> Symmetry:
    turns, mirrors, reverses = number & 3, bool(number & 4), bool(number & 8)
    return Symmetry(turns in (1, 3), (reverses, turns in (1, 2), (turns in (2, 3)) != mirrors))


SYMMETRIES: tuple[Symmetry, ...] = tuple(map(_symmetry, range(16)))
"""All of them, by number: quarter turns in the low two bits, then a flip of x, then a flip of z.

The first is the identity, the first eight leave every voxel in its section.
"""
