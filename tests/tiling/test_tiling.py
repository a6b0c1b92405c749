"""One grid for the whole volume; blending identity predictions returns the volume."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emds.errors import UsageError
from emds.geometry import Roi, iter_blocks
from emds.tiling.blend import tile_weights
from emds.tiling.grid import TileGrid
from emds.tiling.stream import stream_blocks


class Identity:
    """Returns what it is shown, twice, the second time negated."""

    channels = 2
    halo = 0

    def __init__(self, batch_size=3):
        self.batch_size = batch_size
        self.tiles = 0

    def __call__(self, tiles):
        assert len(tiles) == self.batch_size
        self.tiles += len(tiles)
        return np.stack([tiles, -tiles], axis=1).astype(np.float32)


class Neighbours(Identity):
    """Returns the sections two above and two below the tile's own."""

    halo = 2

    def __call__(self, tiles):
        self.tiles += len(tiles)
        return np.stack([tiles[:, :-4], tiles[:, 4:]], axis=1).astype(np.float32)


class Position(Identity):
    """Returns what depends on the place in the tile, so every seam matters."""

    def __call__(self, tiles):
        _, z, y, x = tiles.shape
        ramp = np.arange(z * y * x, dtype=np.float32).reshape(z, y, x)
        return np.stack([tiles + ramp, tiles * ramp], axis=1).astype(np.float32)


def reader(volume):
    """Reads boxes that may stick out of the volume."""

    def read(roi):
        pad = [
            (max(0, -o), max(0, e - n))
            for o, e, n in zip(roi.offset, roi.end, volume.shape, strict=True)
        ]
        padded = np.pad(volume, pad, mode="symmetric")
        begin = [o + p[0] for o, p in zip(roi.offset, pad)]
        return padded[tuple(slice(b, b + n) for b, n in zip(begin, roi.shape))]

    return read


def predict(volume, grid, roi, block_shape, predictor):
    out = np.full((predictor.channels, *volume.shape), np.nan, np.float32)

    def write(box, values):
        assert np.isnan(out[(slice(None), *box.slices())]).all(), "written twice"
        out[(slice(None), *box.slices())] = values

    stream_blocks(reader(volume), write, predictor, grid, iter_blocks(roi, block_shape))
    return out[(slice(None), *roi.slices())]


@st.composite
def layouts(draw):
    shape = tuple(draw(st.integers(1, n)) for n in (4, 21, 18))
    tile = tuple(draw(st.integers(1, n)) for n in (2, 9, 9))
    overlap = tuple(draw(st.integers(0, n - 1)) for n in tile)
    blocks = [tuple(draw(st.integers(1, n)) for n in (4, 21, 18)) for _ in range(2)]
    return TileGrid(shape, tile, overlap), blocks


@settings(max_examples=60, deadline=None)
@given(layouts(), st.integers(0, 2**32 - 1))
def test_blending_identity_predictions_returns_the_volume(layout, seed):
    grid, (blocks, _) = layout
    volume = np.random.default_rng(seed).random(grid.shape, dtype=np.float32)
    blended = predict(volume, grid, Roi.whole(grid.shape), blocks, Identity())
    np.testing.assert_allclose(blended[0], volume, rtol=0, atol=1e-6)
    np.testing.assert_allclose(blended[1], -volume, rtol=0, atol=1e-6)


@settings(max_examples=60, deadline=None)
@given(layouts())
def test_any_block_shape_gives_the_same_bytes(layout):
    grid, (one, other) = layout
    volume = np.random.default_rng(0).random(grid.shape, dtype=np.float32)
    whole = Roi.whole(grid.shape)
    first = predict(volume, grid, whole, one, Position())
    np.testing.assert_array_equal(first, predict(volume, grid, whole, other, Position(5)))


@settings(max_examples=40, deadline=None)
@given(layouts(), st.data())
def test_a_region_equals_the_crop_of_the_whole(layout, data):
    grid, (blocks, _) = layout
    volume = np.random.default_rng(0).random(grid.shape, dtype=np.float32)
    begin = [data.draw(st.integers(0, n - 1)) for n in grid.shape]
    end = [data.draw(st.integers(b + 1, n)) for b, n in zip(begin, grid.shape)]
    roi = Roi.between(tuple(begin), tuple(end))
    whole = predict(volume, grid, Roi.whole(grid.shape), grid.shape, Position())
    part = predict(volume, grid, roi, blocks, Position())
    np.testing.assert_array_equal(part, whole[(slice(None), *roi.slices())])


@settings(max_examples=40, deadline=None)
@given(layouts())
def test_a_tile_sees_the_sections_around_it_and_mirrors_at_the_ends(layout):
    grid, (blocks, _) = layout
    volume = np.random.default_rng(0).random(grid.shape, dtype=np.float32)
    blended = predict(volume, grid, Roi.whole(grid.shape), blocks, Neighbours())
    around = np.pad(volume, [(2, 2), (0, 0), (0, 0)], mode="symmetric")
    np.testing.assert_allclose(blended[0], around[:-4], rtol=0, atol=1e-6)
    np.testing.assert_allclose(blended[1], around[4:], rtol=0, atol=1e-6)


@given(layouts())
def test_tiles_cover_the_volume_and_overlap_enough(layout):
    grid, _ = layout
    for starts, n, tile, overlap in zip(grid.starts, grid.shape, grid.tile, grid.overlap):
        assert starts[0] == 0
        assert starts[-1] + tile >= n
        assert starts[-1] + tile == n or len(starts) == 1
        assert all(0 < b - a <= tile - overlap for a, b in pairwise(starts))


def test_slabs_compute_no_tile_twice():
    grid = TileGrid((6, 30, 30), (1, 16, 16), (0, 4, 4))
    predictor = Identity(batch_size=1)
    predict(np.zeros((6, 30, 30)), grid, Roi.whole(grid.shape), (2, 30, 30), predictor)
    assert predictor.tiles == 6 * 3 * 3


def test_weights_of_neighbours_add_up_to_one():
    r"""Two tiles of 6 that share 2:  /----\
                                        /----\ ."""
    weights = tile_weights((1, 1, 6), (0, 0, 2))[0, 0]
    assert weights.min() > 0
    np.testing.assert_allclose(weights[-2:] + weights[:2], 1, rtol=1e-6)
    np.testing.assert_array_equal(weights[2:4], 1)


def test_the_seam_is_a_weighted_mean():
    grid = TileGrid((1, 1, 10), (1, 1, 6), (0, 0, 2))
    out = predict(np.zeros((1, 1, 10)), grid, Roi.whole(grid.shape), grid.shape, Position())[0]
    w = tile_weights((1, 1, 6), (0, 0, 2))[0, 0]
    #        left tile at voxel 4, right tile at voxel 0
    expected = (4 * w[4] + 0 * w[0]) / (w[4] + w[0])
    assert out[0, 0, 4] == pytest.approx(expected)
    assert out[0, 0, 3] == 3
    assert out[0, 0, 6] == 2


def test_an_error_while_writing_is_not_lost():
    def write(roi, values):
        raise OSError("disk full")

    grid = TileGrid((2, 8, 8), (1, 8, 8), (0, 0, 0))
    with pytest.raises(OSError, match="disk full"):
        stream_blocks(
            reader(np.zeros((2, 8, 8))),
            write,
            Identity(),
            grid,
            iter_blocks(Roi.whole((2, 8, 8)), (1, 8, 8)),
        )


@pytest.mark.parametrize("overlap", [(0, 8, 0), (0, -1, 0)])
def test_an_overlap_that_does_not_fit_is_refused(overlap):
    with pytest.raises(UsageError, match="--overlap"):
        TileGrid((1, 20, 20), (1, 8, 8), overlap)
