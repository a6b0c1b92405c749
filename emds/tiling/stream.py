"""Read, compute and write at the same time, one block after the other, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from emds.errors import BlockError
from emds.geometry import Block, Roi
from emds.tiling.blend import Blender
from emds.tiling.grid import TileGrid

Value = TypeVar("Value")


class TilePredictor(Protocol):
    """What maps tiles to values; `emds.tiling.predict.NetworkPredictor` is the real one.

    Attributes
    ----------
    channels : int
        Values per voxel of the output.
    batch_size : int
        Tiles per call; the batch is always full, so a tile's result never depends on how many
        were left over.
    halo : int
        Sections it sees above and below a tile.
    """

    channels: int
    batch_size: int
    halo: int

    def __call__(self, tiles: NDArray[Any]) -> NDArray[np.float32]:
        """Map (n, halo + z + halo, y, x) grey values to (n, channels, z, y, x), a new array."""


def stream_blocks(
    read: Callable[[Roi], NDArray[Any]],
    write: Callable[[Block, NDArray[np.float32]], None],
    predictor: TilePredictor,
    grid: TileGrid,
    blocks: Iterable[Block],
    on_tiles: Callable[[int], None] = lambda count: None,
) -> None:
    """Predict block after block: a thread reads the next while another writes the last.

    Parameters
    ----------
    read : callable
        Returns the (z, y, x) grey values of a box, which may stick out of the volume.
    write : callable
        Stores the (channels, z, y, x) float32 values of a block's write box; called in a thread,
        for one block after the other.
    predictor : TilePredictor
        The network.
    grid : TileGrid
        Where the tiles lie. A block computes every tile that meets its write box.
    blocks : iterable of Block
        What to compute, in order; only the write boxes matter.
    on_tiles : callable
        Told how many tiles were just computed.

    Raises
    ------
    BlockError
        If reading, computing or writing a block fails.
    """
    with (
        ThreadPoolExecutor(1, thread_name_prefix="read") as reader,
        ThreadPoolExecutor(1, thread_name_prefix="write") as writer,
    ):
        writing: tuple[Block, Future[None]] | None = None
        for block, tiles, hull, grey in _read_ahead(reader, read, grid, blocks, predictor.halo):
            with _blamed_on(block):
                values = _predict_block(
                    block.write_roi, tiles, hull, grey, predictor, grid, on_tiles
                )
            if writing is not None:
                _wait_for(*writing)
            writing = block, writer.submit(write, block, values)
        if writing is not None:
            _wait_for(*writing)


def hull_of(grid: TileGrid, block: Block, halo: int) -> Roi:
    """Return the box of the volume that the tiles of a block see; it may stick out."""
    tiles = grid.tiles_meeting(block.write_roi)
    return Roi.between(tiles[0].offset, tiles[-1].end).grow((halo, 0, 0))


def _predict_block(
    roi: Roi,
    tiles: list[Roi],
    hull: Roi,
    grey: NDArray[Any],
    predictor: TilePredictor,
    grid: TileGrid,
    on_tiles: Callable[[int], None],
) -> NDArray[np.float32]:
    blender = Blender(roi, predictor.channels, grid.overlap)
    size = predictor.batch_size
    for first in range(0, len(tiles), size):
        batch = tiles[first : first + size]
        seen = [tile.grow((predictor.halo, 0, 0)) for tile in batch]
        values = np.zeros((size, *seen[0].shape), dtype=grey.dtype)
        for slot, box in enumerate(seen):
            values[slot] = grey[box.relative_to(hull.offset).slices()]
        predicted = predictor(values)
        for slot, tile in enumerate(batch):
            blender.add(tile, predicted[slot])
        on_tiles(len(batch))
    return blender.result()


def _read_ahead(
    reader: ThreadPoolExecutor,
    read: Callable[[Roi], NDArray[Any]],
    grid: TileGrid,
    blocks: Iterable[Block],
    halo: int,
) -> Iterator[tuple[Block, list[Roi], Roi, NDArray[Any]]]:
    """Yield each block with its tiles, the box around what they see and its grey values."""
    waiting: tuple[Block, list[Roi], Roi, Future[NDArray[Any]]] | None = None
    for block in blocks:
        tiles = grid.tiles_meeting(block.write_roi)
        hull = hull_of(grid, block, halo)
        upcoming = (block, tiles, hull, reader.submit(read, hull))
        if waiting is not None:
            yield (*waiting[:3], _wait_for(waiting[0], waiting[3]))
        waiting = upcoming
    if waiting is not None:
        yield (*waiting[:3], _wait_for(waiting[0], waiting[3]))


def _wait_for(block: Block, future: Future[Value]) -> Value:
    with _blamed_on(block):
        return future.result()


@contextmanager
def _blamed_on(block: Block) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        raise BlockError(block.index) from error
