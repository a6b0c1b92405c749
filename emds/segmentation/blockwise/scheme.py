"""How a volume is cut into blocks for the exact blockwise mutex watershed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray

from emds.errors import UsageError
from emds.geometry import Block, Roi, Triple, iter_blocks
from emds.segmentation.affinities import AffinitySpec
from emds.segmentation.blockwise.residual import check_keys
from emds.segmentation.watershed.contraction import check_block


@dataclass(frozen=True)
class BlockwiseScheme:
    """How a volume is cut into blocks, and what each of them has to see.

    Attributes
    ----------
    spec : AffinitySpec
        Offset of each affinity channel, and which channels attract.
    strides : (z, y, x)
        As in `mutex_watershed`.
    volume : Roi
        What is segmented. Edges to voxels outside do not exist.
    block_shape : (z, y, x)
        Blocks lie on a grid anchored at the first voxel of the volume.

    Raises
    ------
    UsageError
        If the strides or the block shape are not three numbers from 1 up.
    DataError
        If a block has too many edges, or the volume.
    """

    spec: AffinitySpec
    strides: Triple
    volume: Roi
    block_shape: Triple

    def __post_init__(self) -> None:
        if len(self.block_shape) != 3 or min(self.block_shape) < 1:
            raise UsageError(
                f"the block shape must be three numbers from 1 up, not {self.block_shape}."
            )
        fitting = (
            min(n, whole) for n, whole in zip(self.block_shape, self.volume.shape, strict=True)
        )
        z, y, x = fitting
        check_block((z, y, x), self.spec, self.strides)
        check_keys(self.volume.shape, self.spec)

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks, in an order in which runs of 2, 4, 8, ... of them lie close together."""
        origin, places = self.volume.offset, self._numbers.ravel().tolist()
        row_major = iter_blocks(Roi.whole(self.volume.shape), self.block_shape)
        numbered = [
            Block(number, block.read_roi.shift(origin), block.write_roi.shift(origin))
            for number, block in zip(places, row_major, strict=True)
        ]
        return tuple(sorted(numbered, key=lambda block: block.index))

    @property
    def independent(self) -> bool:
        """Whether no edge leaves a block, so that each can be segmented for itself."""
        return all(
            reach == 0 or block >= whole
            for reach, block, whole in zip(
                _reach(self.spec), self.block_shape, self.volume.shape, strict=True
            )
        )

    def seen_by(self, block: Block) -> Roi:
        """Return the box that a block needs to see: itself, and all that an offset reaches."""
        return block.write_roi.grow(_reach(self.spec)).intersect(self.volume)

    def meeting(self, roi: Roi) -> Iterator[Block]:
        """Return the blocks that share voxels with a box inside the volume.

        Examples
        --------
        >>> spec = AffinitySpec(((0, 0, 1),), (True,))
        >>> scheme = BlockwiseScheme(spec, (1, 1, 1), Roi.whole((4, 4, 9)), (4, 4, 4))
        >>> [block.index for block in scheme.meeting(Roi((0, 0, 4), (4, 4, 5)))]
        [1, 2]
        """
        inside = roi.relative_to(self.volume.offset)
        places = [
            range(b // n, (e - 1) // n + 1)
            for b, e, n in zip(inside.offset, inside.end, self.block_shape, strict=True)
        ]
        for place in product(*places):
            yield self.blocks[self._numbers[place]]

    @cached_property
    def _numbers(self) -> NDArray[np.int64]:
        """The number of the block at each place of the grid."""
        z, y, x = (-(-n // b) for n, b in zip(self.volume.shape, self.block_shape, strict=True))
        numbers = np.empty((z, y, x), dtype=np.int64)
        for number, place in enumerate(_halved(Roi.whole((z, y, x)), self.block_shape)):
            numbers[place] = number
        return numbers


def _halved(places: Roi, sizes: Triple) -> Iterator[Triple]:
    """Yield the places of a grid, cut in two where it is longest, and each half again."""
    if places.size <= 1:
        yield from [places.offset] * places.size
        return
    lengths = [n * size if n > 1 else 0 for n, size in zip(places.shape, sizes, strict=True)]
    axis = lengths.index(max(lengths))
    offset, shape = list(places.offset), list(places.shape)
    shape[axis] //= 2
    yield from _halved(Roi(places.offset, (shape[0], shape[1], shape[2])), sizes)
    offset[axis] += shape[axis]
    shape[axis] = places.shape[axis] - shape[axis]
    yield from _halved(
        Roi((offset[0], offset[1], offset[2]), (shape[0], shape[1], shape[2])), sizes
    )


def _reach(spec: AffinitySpec) -> Triple:
    z, y, x = (max(abs(offset[axis]) for offset in spec.offsets) for axis in range(3))
    return z, y, x
