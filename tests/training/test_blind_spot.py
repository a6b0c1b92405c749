"""Blind spots: nothing that shares the noise of a spot can be seen by who must predict it."""

import numpy as np
import pytest
from scipy.ndimage import uniform_filter

from emds.training.blind_spot import hide_spots, least_side

REACHES = [(0, 0, 0), (0, 4, 4), (0, 0, 2), (0, 3, 0), (1, 1, 2)]


def numbered(depth, side):
    """Return a stack in which every value says where it is from."""
    return np.arange(depth * side * side, dtype=np.float32).reshape(depth, side, side)


def hide(stack, sections, reach, seed=0):
    return hide_spots(stack, sections, reach, np.random.default_rng(seed))


@pytest.mark.parametrize("reach", REACHES)
@pytest.mark.parametrize("side", [33, 40])
def test_what_is_seen_around_a_spot_comes_from_beyond_its_reach(reach, side):
    stack = numbered(5, side)
    hidden, spots = hide(stack, 1, reach)
    assert spots.any(), "test invalid"
    for _, y, x in np.argwhere(spots):
        for z in range(2 - reach[0], 2 + reach[0] + 1):
            rows = slice(max(0, y - reach[1]), y + reach[1] + 1)
            columns = slice(max(0, x - reach[2]), x + reach[2] + 1)
            source = hidden[z, rows, columns].astype(int)
            assert (source // side**2 == z).all()
            away = np.abs(source // side % side - y), np.abs(source % side - x)
            assert ((away[0] > reach[1]) | (away[1] > reach[2])).all()


@pytest.mark.parametrize("reach", REACHES)
def test_nothing_else_changes(reach):
    stack = numbered(5, 40)
    before = stack.copy()
    hidden, spots = hide(stack, 3, reach)
    near = np.zeros(stack.shape, bool)
    for section, y, x in np.argwhere(spots):
        z = section + 1
        box = [(z, reach[0]), (y, reach[1]), (x, reach[2])]
        near[tuple(slice(max(0, at - r), at + r + 1) for at, r in box)] = True
    np.testing.assert_array_equal(hidden[~near], stack[~near])
    np.testing.assert_array_equal(stack, before)


@pytest.mark.parametrize("reach", REACHES)
def test_at_most_a_third_of_a_section_is_hidden_and_every_row_in_its_turn(reach):
    stack = numbered(1, 40)
    reach = (0, *reach[1:])
    chosen = np.zeros((40, 40), bool)
    for seed in range(120):
        hidden, spots = hide(stack, 1, reach, seed)
        assert 0 < (hidden != stack).mean() < 0.34
        chosen |= spots[0]
    assert chosen.any(axis=0).all()
    assert chosen.any(axis=1).all()


def test_each_section_has_spots_at_other_places():
    _, spots = hide(numbered(7, 40), 5, (0, 0, 0))
    assert len({section.tobytes() for section in spots}) > 1
    assert all(section.any() for section in spots)


def test_a_spot_as_wide_as_the_noise_tells_nothing_of_it_and_a_narrow_one_does():
    """Noise of 5 × 5 voxels: what stands in the spot and beside it, against what was there."""
    rng = np.random.default_rng(1)
    noise = uniform_filter(rng.normal(0, 1, (1, 600, 600)), (0, 5, 5)).astype(np.float32)
    for reach, told in ((4, False), (1, True)):
        hidden, spots = hide(noise, 1, (0, reach, reach))
        _, y, x = np.argwhere(spots[:, 5:-5, 5:-5]).T + np.array([[0], [5], [5]])
        around = [hidden[0, y, x + step] for step in range(-4, 5)]
        likeness = max(abs(np.corrcoef(noise[0, y, x], seen)[0, 1]) for seen in around)
        assert bool(likeness > 0.2) is told, likeness


def test_the_narrowest_section_is_wide_enough():
    for reach in REACHES:
        side = least_side(reach)
        hidden, _ = hide(numbered(3, side), 1, reach)
        assert (hidden != numbered(3, side)).any()
