from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from reference_scores import reference_components, same_partition

from emds.metrics.components import SectionComponents


def components(section, cuts=()):
    labeller = SectionComponents()
    strips = [np.ascontiguousarray(strip) for strip in np.split(section, cuts) if strip.size]
    provisional = np.concatenate([labeller.label(strip) for strip in strips])
    return labeller.final(provisional)


sections = hnp.arrays(
    st.sampled_from([np.uint8, np.uint64]),
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=12),
    elements=st.integers(0, 2),
)


@settings(max_examples=300, deadline=None)
@given(sections, st.lists(st.integers(1, 11), max_size=3).map(sorted))
def test_equals_a_labelling_of_the_whole_section_however_it_is_cut(section, cuts):
    result = components(section, cuts)
    assert same_partition(result, reference_components(section))
    np.testing.assert_array_equal(result == 0, section == 0)


def test_pieces_that_touch_at_a_corner_stay_apart():
    # 7 0
    # 0 7
    assert components(np.array([[7, 0], [0, 7]], dtype=np.uint8)).tolist() == [[1, 0], [0, 2]]


def test_a_spiral_is_one_piece():
    # 1 1 1 1 1
    # 0 0 0 0 1
    # 1 1 1 0 1
    # 1 0 0 0 1
    # 1 1 1 1 1
    spiral = np.ones((5, 5), np.uint8)
    spiral[1, :4] = spiral[1:4, 3] = spiral[3, 1:4] = 0
    assert np.unique(components(spiral, cuts=[1, 2, 3, 4])).tolist() == [0, 1]


@pytest.mark.parametrize("strips", [1, 4])
def test_a_random_section_of_many_pieces(strips):
    section = np.random.default_rng(0).integers(0, 4, (80, 90)).astype(np.uint16)
    cuts = [80 * k // strips for k in range(1, strips)]
    assert same_partition(components(section, cuts), reference_components(section))
