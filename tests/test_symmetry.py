"""The sixteen symmetries of a square prism, against turns and flips done one after the other."""

from itertools import product

import numpy as np
import pytest

from emds.symmetry import SYMMETRIES

VOLUME = np.arange(2 * 3 * 4).reshape(2, 3, 4)


@pytest.mark.parametrize("number", range(16))
def test_a_number_is_quarter_turns_and_two_flips(number):
    expected = np.rot90(VOLUME, number & 3, axes=(1, 2))
    if number & 4:
        expected = expected[:, :, ::-1]
    if number & 8:
        expected = expected[::-1]
    np.testing.assert_array_equal(SYMMETRIES[number].apply(VOLUME), expected)


def test_the_first_is_the_identity_and_the_first_eight_keep_the_sections():
    np.testing.assert_array_equal(SYMMETRIES[0].apply(VOLUME), VOLUME)
    for number, symmetry in enumerate(SYMMETRIES):
        sections = np.sort(symmetry.apply(VOLUME).reshape(2, -1))
        assert np.array_equal(sections, VOLUME.reshape(2, -1)) == (number < 8)


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_what_is_done_is_undone_with_any_axes_in_front(symmetry):
    for values in (VOLUME, np.stack([VOLUME, -VOLUME])[None]):
        np.testing.assert_array_equal(symmetry.undo(symmetry.apply(values)), values)


@pytest.mark.parametrize("symmetry", SYMMETRIES)
def test_a_step_leads_to_the_same_voxel(symmetry):
    places = np.stack(np.indices((3, 4, 5)))
    seen = symmetry.apply(places)
    for begin, end in product(np.ndindex(seen.shape[1:]), repeat=2):
        step = tuple(b - a for a, b in zip(begin, end))
        true_step = seen[(slice(None), *end)] - seen[(slice(None), *begin)]
        assert symmetry.undo_step(step) == tuple(true_step)
