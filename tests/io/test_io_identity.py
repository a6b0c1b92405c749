"""Which volume it is: what is stated of it and what is sampled of it, from end to end."""

import numpy as np
import pytest

from emds.io import MemoryVolume
from emds.io.identity import volume_identity

SHAPE = (40, 300, 280)
VALUES = np.random.default_rng(0).integers(0, 255, SHAPE).astype(np.uint8)


def identity(values=VALUES, voxel_size=(4.0, 2.0, 1.0), offset=(0.0, 0.0, 0.0)):
    return volume_identity(MemoryVolume(values, voxel_size=voxel_size, offset=offset))


@pytest.mark.parametrize("place", [(0, 0, 0), (-1, -1, -1)])
def test_a_changed_voxel_at_either_end_of_the_diagonal_is_seen(place):
    changed = VALUES.copy()
    changed[place] ^= 1
    assert identity(changed) != identity() == identity(VALUES.copy())


@pytest.mark.parametrize("section", [0, 13, 26, 39])
def test_what_covers_a_quarter_of_the_sections_is_seen(section):
    changed = VALUES.copy()
    changed[max(0, section - 5) : section + 5] //= 2
    assert identity(changed) != identity()


@pytest.mark.parametrize(
    "change",
    [
        {"values": VALUES[:-1]},
        {"values": VALUES.view(np.int8)},
        {"voxel_size": (4.0, 1.0, 2.0)},
        {"voxel_size": None},
        {"offset": (0.0, 0.0, 1.0)},
    ],
)
def test_what_is_stated_is_part_of_it(change):
    assert identity(**change) != identity()
