"""Boxes in voxel space: the one vocabulary in which every module speaks of regions."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from math import prod

from emds.errors import UsageError

Triple = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Roi:
    """A box of voxels: where it starts and how large it is, both (z, y, x).

    Examples
    --------
    >>> roi = Roi((0, 10, 10), (2, 5, 5))
    >>> roi.end
    (2, 15, 15)
    >>> roi.grow((1, 2, 2)).intersect(Roi((0, 0, 0), (2, 100, 100)))
    Roi(offset=(0, 8, 8), shape=(2, 9, 9))
    """

    offset: Triple
    shape: Triple

    @classmethod
    def whole(cls, shape: Triple) -> Roi:
        """Return the box that covers a volume of this shape."""
        return cls((0, 0, 0), shape)

    @classmethod
    def between(cls, begin: Triple, end: Triple) -> Roi:
        """Return the box from `begin` (included) to `end` (excluded)."""
        return cls(begin, _triple(e - b for b, e in zip(begin, end, strict=True)))

    @classmethod
    def parse(cls, text: str, shape: Triple) -> Roi:
        """Read ``z0:z1,y0:y1,x0:x1``; a missing bound is the volume's own.

        Parameters
        ----------
        text : str
            One to three half-open ranges in voxels; missing trailing axes are whole.
        shape : (Z, Y, X)
            The volume the box must lie in.

        Raises
        ------
        UsageError
            If `text` is not of that form, or the box is empty or leaves the volume.

        Examples
        --------
        >>> Roi.parse("0:32", (200, 250, 250))
        Roi(offset=(0, 0, 0), shape=(32, 250, 250))
        """
        parts = text.replace(" ", "").split(",")
        if len(parts) > 3 or not all(re.fullmatch(r"\d{0,12}:\d{0,12}", part) for part in parts):
            raise UsageError(
                f"--roi must look like z0:z1,y0:y1,x0:x1 (voxels, half-open), not {text!r}."
            )
        parts += [":"] * (3 - len(parts))
        begin, end = [], []
        for part, size in zip(parts, shape, strict=True):
            low, high = part.split(":")
            begin.append(int(low or 0))
            end.append(int(high or size))
        roi = cls.between(_triple(begin), _triple(end))
        if any(n <= 0 for n in roi.shape) or not cls.whole(shape).contains(roi):
            raise UsageError(
                f"--roi {text} must be a non-empty box inside the volume of shape "
                f"{shape} (z, y, x)."
            )
        return roi

    @property
    def end(self) -> Triple:
        """First voxel past the box on every axis."""
        return _triple(o + n for o, n in zip(self.offset, self.shape, strict=True))

    @property
    def size(self) -> int:
        """Number of voxels."""
        return self.shape[0] * self.shape[1] * self.shape[2]

    def slices(self) -> tuple[slice, slice, slice]:
        """Return the index expression that cuts this box out of an array."""
        z, y, x = (slice(b, e) for b, e in zip(self.offset, self.end, strict=True))
        return z, y, x

    def contains(self, other: Roi) -> bool:
        """Say whether `other` lies inside this box."""
        return all(a <= b for a, b in zip(self.offset, other.offset, strict=True)) and all(
            a >= b for a, b in zip(self.end, other.end, strict=True)
        )

    def intersect(self, other: Roi) -> Roi:
        """Return the common box; its shape has a zero where the boxes do not meet."""
        begin = _triple(max(a, b) for a, b in zip(self.offset, other.offset, strict=True))
        end = _triple(min(a, b) for a, b in zip(self.end, other.end, strict=True))
        return Roi.between(begin, _triple(max(b, e) for b, e in zip(begin, end, strict=True)))

    def grow(self, halo: Triple) -> Roi:
        """Return the box with `halo` voxels added on both sides of every axis."""
        return Roi(
            _triple(o - h for o, h in zip(self.offset, halo, strict=True)),
            _triple(n + 2 * h for n, h in zip(self.shape, halo, strict=True)),
        )

    def shift(self, by: Triple) -> Roi:
        """Return the box moved by `by` voxels."""
        return Roi(_triple(o + b for o, b in zip(self.offset, by, strict=True)), self.shape)

    def relative_to(self, origin: Triple) -> Roi:
        """Return the same box in coordinates that start at `origin`."""
        return self.shift((-origin[0], -origin[1], -origin[2]))


@dataclass(frozen=True, slots=True)
class Block:
    """A unit of work: the box it reads (with halo) and the box it alone writes."""

    index: int
    read_roi: Roi
    write_roi: Roi


def iter_blocks(roi: Roi, block_shape: Triple, halo: Triple = (0, 0, 0)) -> Iterator[Block]:
    """Cut a box into blocks on the grid anchored at the volume's origin, row-major.

    Parameters
    ----------
    roi : Roi
        What the write boxes partition.
    block_shape : (z, y, x)
        Size of a block; those at the border of `roi` are smaller.
    halo : (z, y, x)
        Added on both sides for reading. Read boxes may leave the volume.

    Examples
    --------
    >>> [block.write_roi.shape for block in iter_blocks(Roi.whole((5, 4, 4)), (2, 4, 4))]
    [(2, 4, 4), (2, 4, 4), (1, 4, 4)]
    """
    starts = [
        range(o - o % b, e, b) for o, e, b in zip(roi.offset, roi.end, block_shape, strict=True)
    ]
    for index, corner in enumerate(product(*starts)):
        write_roi = Roi(_triple(corner), block_shape).intersect(roi)
        yield Block(index, write_roi.grow(halo), write_roi)


def grown_block(
    chunk_shape: Triple,
    shape: Triple,
    most: int,
    asked: Triple | None = None,
    axes: Sequence[int] = (2, 1, 0),
) -> Triple:
    """Return a block of whole chunks: the one asked for, or a large one.

    Parameters
    ----------
    chunk_shape, shape : (z, y, x)
        Shapes of a chunk and of the volume, voxels.
    most : int
        Voxels of the block, unless a single chunk has more.
    asked : (z, y, x), optional
        Rounded up to whole chunks; `most` is then ignored.
    axes : sequence of int
        The axes to grow along, to the whole volume if there is room, one after the other.

    Examples
    --------
    >>> grown_block((16, 256, 256), (100, 1000, 1000), 10_000_000, axes=(2, 1))
    (16, 512, 1024)
    >>> grown_block((16, 256, 256), (100, 1000, 1000), 0, asked=(20, 20, 20))
    (32, 256, 256)
    """
    sizes = list(chunk_shape)
    if asked is not None:
        sizes = [-(-n // c) * c for n, c in zip(asked, chunk_shape, strict=True)]
    for axis in axes if asked is None else ():
        others = prod(sizes) // sizes[axis]
        room = max(1, most // (others * chunk_shape[axis]))
        sizes[axis] = chunk_shape[axis] * min(room, -(-shape[axis] // chunk_shape[axis]))
    z, y, x = sizes
    return z, y, x


def compact_block(chunk_shape: Triple, shape: Triple, most: int) -> Triple:
    """Return a block of whole chunks with little surface.

    Parameters
    ----------
    chunk_shape, shape : (z, y, x)
        Shapes of a chunk and of the volume, voxels.
    most : int
        Voxels of the block, unless a single chunk has more.

    Examples
    --------
    >>> compact_block((16, 256, 256), (1000, 1000, 1000), 20_000_000)
    (304, 256, 256)
    """
    sizes = list(chunk_shape)
    while True:
        room = most - prod(sizes)
        axes = [
            axis
            for axis in range(3)
            if sizes[axis] < shape[axis] and prod(sizes) // sizes[axis] * chunk_shape[axis] <= room
        ]
        if not axes:
            return sizes[0], sizes[1], sizes[2]
        axis = min(axes, key=sizes.__getitem__)
        sizes[axis] += chunk_shape[axis]


def middle(size: int, count: int = 1) -> slice:
    """Return the `count` places in the middle of `size`; both are odd, or both even.

    Examples
    --------
    >>> middle(7, 3), middle(5)
    (slice(2, 5, None), slice(2, 3, None))
    """
    first = (size - count) // 2
    return slice(first, first + count)


def _triple(values: Iterable[int]) -> Triple:
    z, y, x = values
    return int(z), int(y), int(x)
