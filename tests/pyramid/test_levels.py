"""Which axes are halved, and when it is enough."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emds.pyramid import plan_levels

SIZES = st.tuples(*[st.floats(1, 100)] * 3)
SHAPES = st.tuples(*[st.integers(1, 3000)] * 3)


def factors(shape, voxel_size, count):
    return [level.factor for level in plan_levels(shape, voxel_size, count)]


@pytest.mark.parametrize(
    ("voxel_size", "expected"),
    [
        ((8, 8, 8), [(2, 2, 2)] * 4),
        (None, [(2, 2, 2)] * 4),
        ((4, 8, 8), [(2, 2, 2)] * 4),
        ((16, 8, 8), [(1, 2, 2)] + [(2, 2, 2)] * 3),
        ((40, 8, 8), [(1, 2, 2)] * 3 + [(2, 2, 2)]),
    ],
)
def test_sections_are_kept_as_long_as_they_are_the_longest(voxel_size, expected):
    assert factors((512, 512, 512), voxel_size, 4) == expected


def test_a_section_stays_a_section():
    assert factors((1, 512, 512), (8, 8, 8), 2) == [(1, 2, 2)] * 2
    assert [level.shape for level in plan_levels((1, 1025, 300), None, None)] == [
        (1, 513, 150),
        (1, 257, 75),
        (1, 129, 38),
    ]


@given(shape=SHAPES, voxel_size=SIZES)
def test_by_default_the_last_is_small_and_the_one_before_is_not(shape, voxel_size):
    levels = plan_levels(shape, voxel_size, None)
    shapes = [shape, *(level.shape for level in levels)]
    assert max(shapes[-1]) <= 256
    assert all(max(larger) > 256 for larger in shapes[:-1])


@given(shape=SHAPES, voxel_size=SIZES, count=st.integers(0, 20))
def test_each_level_is_half_of_the_one_before(shape, voxel_size, count):
    levels = plan_levels(shape, voxel_size, count)
    assert len(levels) == count or max([shape, *(x.shape for x in levels)][-1]) == 1
    for level in levels:
        assert level.shape == tuple(-(-n // f) for n, f in zip(shape, level.factor))
        assert max(level.factor) == 2
        shape = level.shape
