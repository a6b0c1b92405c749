"""Where the network looks: one grid of tiles for the whole volume, whatever the blocks.

The grid depends on the volume's shape, the tile and the overlap, never on the block or the
region that is computed, so a voxel is always the blend of the same tiles.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product

from emds.errors import UsageError
from emds.geometry import Roi, Triple


@dataclass(frozen=True, slots=True)
class TileGrid:
    """Tiles that start every (tile - overlap) voxels; the last of an axis ends at its edge.

    Parameters
    ----------
    shape : (Z, Y, X)
        The volume. An axis shorter than the tile has one tile that sticks out at the end.
    tile, overlap : (z, y, x)
        Size of a tile, and the least number of voxels that neighbours share.

    Raises
    ------
    UsageError
        If the overlap is negative or not smaller than the tile.

    Examples
    --------
    >>> TileGrid((1, 10, 4), (1, 4, 8), (0, 1, 0)).starts
    ((0,), (0, 3, 6), (0,))
    """

    shape: Triple
    tile: Triple
    overlap: Triple

    def __post_init__(self) -> None:
        if any(not 0 <= o < t for o, t in zip(self.overlap, self.tile, strict=True)):
            raise UsageError(
                f"--overlap {self.overlap} must be at least 0 and smaller than --tile {self.tile} "
                "on every axis (z, y, x)."
            )

    @property
    def starts(self) -> tuple[tuple[int, ...], ...]:
        """First voxels of the tiles, per axis."""
        return tuple(
            (*range(0, n - t, t - o), max(0, n - t))
            for n, t, o in zip(self.shape, self.tile, self.overlap, strict=True)
        )

    def tiles_meeting(self, roi: Roi) -> list[Roi]:
        """Return the tiles that share a voxel with `roi`, in grid order (row-major)."""
        near = [
            [s for s in starts if s < end and s + size > begin]
            for starts, size, begin, end in zip(
                self.starts, self.tile, roi.offset, roi.end, strict=True
            )
        ]
        return [Roi((z, y, x), self.tile) for z, y, x in product(*near)]
