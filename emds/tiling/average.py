"""Test-time augmentation: predict a tile from several sides, turn the results back, average."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emds.geometry import Roi, Triple
from emds.symmetry import SYMMETRIES, Symmetry
from emds.tiling.stream import TilePredictor

IMAGE: Triple = (0, 0, 0)
"""Offset of a channel that says something of a voxel alone."""


@dataclass(frozen=True, slots=True)
class Route:
    """What a channel of a transformed tile says of the tile itself.

    Attributes
    ----------
    source, target : int
        The channel, and the one whose edges it predicts.
    shift : (dz, dy, dx)
        What `source` says at ``v + shift``, once it is turned back, belongs to `target` at ``v``.
    """

    source: int
    target: int
    shift: Triple


def routes(symmetry: Symmetry, offsets: Sequence[Triple]) -> list[Route]:
    """Return where the channels go when a symmetry is undone.

    A channel then compares ``v`` with ``v + step``, `step` being its offset turned back. If no
    channel has that offset, one may have the opposite: it stores the same edge at the partner. A
    channel whose edges no other predicts goes nowhere.

    Parameters
    ----------
    symmetry : Symmetry
        What was applied to the tile.
    offsets : sequence of (dz, dy, dx)
        One for each channel; `IMAGE` where it is no affinity.

    Examples
    --------
    >>> quarter_turn = SYMMETRIES[1]
    >>> for route in routes(quarter_turn, [(0, -1, 0), (0, 0, -1), (0, 0, -5)]):
    ...     print(route)
    Route(source=0, target=1, shift=(0, 0, -1))
    Route(source=1, target=0, shift=(0, 0, 0))
    """
    places = {offset: channel for channel, offset in enumerate(offsets)}
    found = []
    for source, offset in enumerate(offsets):
        step = symmetry.undo_step(offset)
        opposite = (-step[0], -step[1], -step[2])
        if step in places:
            found.append(Route(source, places[step], (0, 0, 0)))
        elif opposite in places:
            found.append(Route(source, places[opposite], opposite))
    return found


class AveragedPredictor:
    """Means of what a predictor says of a tile and of its transformed copies.

    A voxel of a channel is the mean of the values there are for it: an edge that is stored at its
    other end has none where that end lies outside the tile. With the identity alone this is the
    predictor itself.

    Parameters
    ----------
    predictor : TilePredictor
        The network.
    offsets : sequence of (dz, dy, dx)
        One for each of its channels, all different: of an affinity, or `IMAGE`.
    symmetries : sequence of Symmetry
        The first is the identity. Those that transpose show the predictor (x, y) for (y, x).
    uncertainty : bool
        Return one more channel, the last: the standard deviation of the image over the symmetries.
    """

    def __init__(
        self,
        predictor: TilePredictor,
        offsets: Sequence[Triple],
        symmetries: Sequence[Symmetry] = SYMMETRIES[:1],
        *,
        uncertainty: bool = False,
    ) -> None:
        assert symmetries[0] == SYMMETRIES[0], "without the identity, voxels may have no value"
        assert len(offsets) == predictor.channels
        self.predictor = predictor
        self.others = [(symmetry, routes(symmetry, offsets)) for symmetry in symmetries[1:]]
        self.image = offsets.index(IMAGE) if uncertainty else None
        self.channels = predictor.channels + uncertainty
        self.batch_size = predictor.batch_size
        self.halo = predictor.halo

    def __call__(self, tiles: NDArray[Any]) -> NDArray[np.float32]:
        """Map (n, halo + z + halo, y, x) grey values to (n, channels, z, y, x) float32."""
        mean = self.predictor(tiles)
        counts = np.ones(mean.shape[1:], dtype=np.float32)
        images = [] if self.image is None else [mean[:, self.image].copy()]
        for symmetry, ways in self.others:
            predicted = symmetry.undo(self.predictor(symmetry.apply(tiles)))
            for way in ways:
                to, come_from = _overlap(mean.shape[2:], way.shift)
                so_far, count = mean[:, way.target][to], counts[way.target][to]
                count += 1
                so_far += (predicted[:, way.source][come_from] - so_far) / count
            if self.image is not None:
                images.append(predicted[:, self.image])
        if self.image is None:
            return mean
        return np.concatenate([mean, np.std(images, axis=0)[:, np.newaxis]], axis=1)


def _overlap(shape: tuple[int, ...], shift: Triple) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
    """Return the index of the voxels v for which v + shift is inside too, and that of v + shift."""
    z, y, x = shape
    whole = Roi.whole((z, y, x))
    here = whole.intersect(whole.relative_to(shift))
    return (..., *here.slices()), (..., *here.shift(shift).slices())
