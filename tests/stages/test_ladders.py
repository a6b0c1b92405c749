"""Ladders hold what there is to choose, and the walk ends where no single step is better."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emds.segmentation.offset_sets import OFFSET_SETS
from emds.segmentation.settings import LabelSettings
from emds.stages.ladders import Ladders, descend


def start_of(spec, strides=(1, 5, 7), min_size=77):
    return LabelSettings(strides, min_size, tuple(channel / 4 for channel in range(spec.channels)))


@pytest.mark.parametrize("spec", OFFSET_SETS.values(), ids=OFFSET_SETS)
def test_the_start_is_on_every_ladder(spec):
    start = start_of(spec)
    ladders = Ladders.around(start, spec)
    assert ladders.setting(ladders.bottom) == start
    for rungs in ladders.rungs:
        assert list(rungs) == sorted(set(rungs))


def test_strides_stay_within_sections_where_offsets_do():
    across = {name: Ladders.around(start_of(s), s).rungs[1] for name, s in OFFSET_SETS.items()}
    assert across["planar"] == (1,)
    assert across["isotropic"] == (1, 2, 3)


def test_a_group_moves_together_and_attraction_in_the_section_not_at_all():
    spec = OFFSET_SETS["isotropic"]
    start = start_of(spec)
    ladders = Ladders.around(start, spec)
    assert list(ladders.groups) == ["attraction across", "mutex", "mutex across"]
    point = list(ladders.bottom)
    point[4] += 3
    moved = np.subtract(ladders.setting(tuple(point)).bias, start.bias)
    expected = [1.5 if o[0] == 0 and not a else 0 for o, a in zip(spec.offsets, spec.attractive)]
    np.testing.assert_array_equal(moved, expected)


def beside(point, heights):
    for ladder, height in enumerate(heights):
        for step in (-1, 1):
            if 0 <= point[ladder] + step < height:
                yield (*point[:ladder], point[ladder] + step, *point[ladder + 1 :])


@given(st.lists(st.integers(1, 5), min_size=1, max_size=4), st.data())
def test_the_walk_goes_step_by_step_and_ends_where_none_is_better(heights, data):
    start = tuple(data.draw(st.integers(0, height - 1)) for height in heights)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    table = rng.integers(0, 9, heights)
    path = [start]

    def better(one, other):
        assert one in set(beside(other, heights))
        assert other == path[-1]
        if table[one] < table[other]:
            path.append(one)
        return table[one] < table[other]

    best = descend(start, heights, better)
    assert best == path[-1]
    assert all(table[point] >= table[best] for point in beside(best, heights))
    assert best == start or table[best] < table[start]


def test_it_is_told_of_every_ladder():
    def less(one, other):
        return sum(one) < sum(other)

    told = []
    descend((0, 0), (3, 2), less, lambda turn, ladder: told.append((turn, ladder)))
    assert told == [(1, 1), (1, 2)]
    told.clear()
    descend((2, 0), (3, 2), less, lambda turn, ladder: told.append((turn, ladder)))
    assert told == [(1, 1), (1, 2), (2, 1), (2, 2)]
