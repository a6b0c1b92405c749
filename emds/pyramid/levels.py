"""Which lower resolutions an image has: how large they are, and which axes each of them halves."""

from __future__ import annotations

from dataclasses import dataclass

from emds.geometry import Triple
from emds.io.volume import Nanometres

SMALL = 256
"""An image that is no longer than this along any axis needs no lower resolution."""


@dataclass(frozen=True, slots=True)
class Level:
    """A lower resolution.

    Attributes
    ----------
    shape : (Z, Y, X)
        In voxels of its own.
    factor : (z, y, x)
        How many voxels of the level above it make one of its own, by axis: 1 or 2.
    """

    shape: Triple
    factor: Triple


def plan_levels(shape: Triple, voxel_size: Nanometres | None, count: int | None) -> list[Level]:
    """Return the lower resolutions of an image, the finest of them first.

    y and x are halved from one level to the next. z is halved with them once its voxels are no
    longer the longest: thick sections keep their number until y and x have caught up. An axis of
    one voxel stays as it is, so the levels of a single section are single sections.

    Parameters
    ----------
    shape : (Z, Y, X)
        Shape of the image.
    voxel_size : (z, y, x) float or None
        Nanometres; None counts as a cube.
    count : int, optional
        How many. By default as many as it takes until no axis has more than 256 voxels. Fewer are
        returned where nothing is left to halve.

    Examples
    --------
    >>> for level in plan_levels((50, 1200, 1000), (40, 16, 16), None):
    ...     print(level.shape, level.factor)
    (50, 600, 500) (1, 2, 2)
    (50, 300, 250) (1, 2, 2)
    (25, 150, 125) (2, 2, 2)
    """
    levels: list[Level] = []
    size = voxel_size or (1.0, 1.0, 1.0)
    while (max(shape) > SMALL if count is None else len(levels) < count) and max(shape) > 1:
        thick = size[0] > max(size[1:]) and max(shape[1:]) > 1
        z, y, x = (1 if n == 1 else 2 for n in shape)
        factor = (1 if thick else z, y, x)
        depth, height, width = (-(-n // f) for n, f in zip(shape, factor, strict=True))
        shape = (depth, height, width)
        z_nm, y_nm, x_nm = (s * f for s, f in zip(size, factor, strict=True))
        size = (z_nm, y_nm, x_nm)
        levels.append(Level(shape, factor))
    return levels
