"""Seen from all sides: edges go back to where they are stored, and means are of what there is."""

from collections import defaultdict

import numpy as np
import pytest

from emds.segmentation.affinities import affinities_from_labels
from emds.segmentation.offset_sets import OFFSET_SETS
from emds.symmetry import SYMMETRIES
from emds.tiling.average import IMAGE, AveragedPredictor, routes

SETS = {
    **{name: spec.offsets for name, spec in OFFSET_SETS.items()},
    "incomplete": ((0, -1, 0), (0, 0, -1), (0, -2, 0), (-1, 0, 2), (-1, -1, 0)),
    "both ways": ((0, -1, 0), (0, 1, 0), (0, 0, -1), (-1, 0, 0)),
}
SHAPE = (4, 7, 6)


class Fake:
    """A predictor of an image and affinities, of tiles that are seen with no others around."""

    batch_size = 2
    halo = 0

    def __init__(self, offsets):
        self.offsets = offsets
        self.channels = 1 + len(offsets)

    def __call__(self, tiles):
        parts = [[tile, *self.affinities(tile)] for tile in tiles]
        return np.array(parts, dtype=np.float32)


class Truth(Fake):
    """Takes the tile for labels."""

    def affinities(self, tile):
        return affinities_from_labels(tile, self.offsets)[0]


class Contrast(Fake):
    """An edge is the stronger the more alike its voxels are; one that leaves the tile is 0.5."""

    def affinities(self, tile):
        values = tile.astype(np.float32)
        everywhere = np.stack(np.indices(tile.shape))
        for offset in self.offsets:
            partner = everywhere + np.reshape(offset, (3, 1, 1, 1))
            size = np.reshape(tile.shape, (3, 1, 1, 1))
            inside = ((partner >= 0) & (partner < size)).all(axis=0)
            other = values[tuple(np.clip(partner, 0, size - 1))]
            yield np.where(inside, np.exp(-((values - other) ** 2) / 1000), 0.5)


class Anything(Fake):
    """Says something else with each call, and remembers it."""

    def __init__(self, offsets):
        super().__init__(offsets)
        self.said = []

    def __call__(self, tiles):
        rng = np.random.default_rng(len(self.said))
        self.said.append(rng.random((len(tiles), self.channels, *tiles.shape[1:]), np.float32))
        return self.said[-1].copy()


def labels(seed=0, shape=SHAPE):
    return np.random.default_rng(seed).integers(1, 4, (2, *shape)).astype(np.uint32)


def averaged(predictor, symmetries=SYMMETRIES, **options):
    return AveragedPredictor(predictor, (IMAGE, *predictor.offsets), symmetries, **options)


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_true_affinities_of_a_turned_volume_go_back_to_those_of_the_volume(name, symmetry):
    offsets, (volume, _) = SETS[name], labels()
    truth, valid = affinities_from_labels(volume, offsets)
    turned = affinities_from_labels(np.ascontiguousarray(symmetry.apply(volume)), offsets)[0]
    back = symmetry.undo(turned)
    compared = 0
    for route in routes(symmetry, offsets):
        for voxel in zip(*np.nonzero(valid[route.target])):
            place = tuple(v + s for v, s in zip(voxel, route.shift))
            # An edge inside the volume has both its ends there.
            assert min(place) >= 0
            assert back[(route.source, *place)] == truth[(route.target, *voxel)]
            compared += 1
    assert compared >= valid.sum() / 4, "test invalid"


@pytest.mark.parametrize("name", OFFSET_SETS)
def test_the_offsets_of_emds_lose_nothing(name):
    offsets = OFFSET_SETS[name].offsets
    for symmetry in SYMMETRIES:
        found = routes(symmetry, offsets)
        assert sorted(route.target for route in found) == list(range(len(offsets)))
        assert all((route.shift in ((0, 0, 0), offsets[route.target])) for route in found)


def test_a_channel_whose_edges_no_other_has_goes_nowhere():
    """A quarter turn makes (0, -2, 0) a step along x, and no channel looks two voxels along x."""
    for symmetry in SYMMETRIES:
        sources = {route.source for route in routes(symmetry, SETS["incomplete"])}
        assert (2 in sources) != symmetry.transposes


@pytest.mark.parametrize("name", SETS)
@pytest.mark.parametrize("kind", [Truth, Contrast])
@pytest.mark.parametrize("count", [1, 8, 16])
def test_what_is_the_same_from_all_sides_stays_the_same(name, kind, count):
    predictor, tiles = kind(SETS[name]), labels()
    mean = averaged(predictor, SYMMETRIES[:count])(tiles)
    np.testing.assert_allclose(mean, predictor(tiles), rtol=0, atol=1e-6)
    np.testing.assert_array_equal(mean[:, 0], tiles)
    assert mean.dtype == np.float32


def edges_of(offsets, shape, symmetry):
    """Yield (channel, place) in a turned tile and (channel, place) where that edge is stored.

    Found with the coordinates of a wide surrounding of the tile, turned with it.
    """
    reach = max(abs(step) for offset in offsets for step in offset)
    wide = [n + 2 * reach for n in shape]
    origin = symmetry.apply(np.stack(np.indices(wide)) - reach)
    inside = np.ones(shape, bool)
    for voxel in zip(*np.nonzero(symmetry.apply(inside))):
        here = tuple(origin[(slice(None), *(v + reach for v in voxel))])
        for channel, offset in enumerate(offsets):
            there = (v + o + reach for v, o in zip(voxel, offset))
            partner = tuple(origin[(slice(None), *there)])
            step = tuple(int(b - a) for a, b in zip(here, partner))
            opposite = tuple(-s for s in step)
            if step in offsets:
                yield (channel, *voxel), (offsets.index(step), *here)
            elif opposite in offsets and all(0 <= p < n for p, n in zip(partner, shape)):
                yield (channel, *voxel), (offsets.index(opposite), *partner)


@pytest.mark.parametrize("name", ["isotropic", "incomplete", "both ways"])
@pytest.mark.parametrize("shape", [(1, 3, 4), (4, 3, 5)])
def test_a_mean_is_of_all_that_is_said_of_an_edge(name, shape):
    predictor, (tile, _) = Anything(SETS[name]), labels(shape=shape)
    got = averaged(predictor)(tile[None])[0]
    values = defaultdict(list)
    for symmetry, said in zip(SYMMETRIES, predictor.said):
        for source, target in edges_of((IMAGE, *SETS[name]), shape, symmetry):
            values[target].append(said[(0, *source)])
    assert len(values) == got.size
    assert len({len(said) for said in values.values()}) > 1, "test invalid"
    for place, said in values.items():
        assert got[place] == pytest.approx(np.mean(said), abs=1e-6)


def test_the_identity_alone_is_the_predictor():
    predictor = Anything(SETS["planar"])
    np.testing.assert_array_equal(averaged(predictor, SYMMETRIES[:1])(labels()), predictor.said[0])


@pytest.mark.parametrize("count", [8, 16])
def test_the_uncertainty_is_the_deviation_of_the_images(count):
    predictor, tiles = Anything(SETS["planar"]), labels()
    averaging = averaged(predictor, SYMMETRIES[:count], uncertainty=True)
    got = averaging(tiles)
    images = [s.undo(said)[:, 0] for s, said in zip(SYMMETRIES, predictor.said)]
    assert got.shape[1] == averaging.channels == predictor.channels + 1
    np.testing.assert_allclose(got[:, -1], np.std(images, axis=0), atol=1e-6)
    np.testing.assert_allclose(got[:, 0], np.mean(images, axis=0), atol=1e-6)


def test_tiles_are_left_alone():
    tiles = labels()
    before = tiles.copy()
    averaged(Contrast(SETS["planar"]), uncertainty=True)(tiles)
    np.testing.assert_array_equal(tiles, before)
