from __future__ import annotations

import numpy as np
import pytest
from affinity_cases import cases, untied_affinities
from hypothesis import assume, given, settings

from emds.errors import UsageError
from emds.segmentation.affinities import PAPER_SPEC, AffinitySpec
from emds.segmentation.watershed.mutex_watershed import mutex_watershed


@given(case=cases(tied=False))
@settings(max_examples=40, deadline=None)
def test_elf_agrees_where_no_weights_are_tied(case):
    assume(sum(case.spec.attractive) <= 3)
    np.testing.assert_array_equal(
        mutex_watershed(case.affinities, case.spec, backend="elf", **case.options),
        mutex_watershed(case.affinities, case.spec, backend="numba", **case.options),
    )


def test_elf_agrees_on_sections_with_many_ties():
    affinities = np.random.default_rng(3).integers(90, 256, (10, 3, 40, 40), dtype=np.uint8)
    options = {"strides": (2, 5, 5), "origin": (1, 2, 3)}
    labels = mutex_watershed(affinities, PAPER_SPEC, **options)
    assert labels.max() > 10, "test invalid"
    np.testing.assert_array_equal(
        mutex_watershed(affinities, PAPER_SPEC, backend="elf", **options), labels
    )


def test_elf_leaves_the_input_as_it_is():
    affinities = untied_affinities(np.random.default_rng(1), PAPER_SPEC, (1, 20, 20))
    before = affinities.copy()
    mutex_watershed(affinities, PAPER_SPEC, backend="elf")
    np.testing.assert_array_equal(affinities, before)


def test_elf_cannot_take_more_attractive_channels_than_axes():
    spec = AffinitySpec(((1, 0, 0), (0, 1, 0), (0, 0, 1), (0, 0, 2)), (True,) * 4)
    with pytest.raises(UsageError, match="at most 3"):
        mutex_watershed(np.full((4, 2, 4, 4), 255, dtype=np.uint8), spec, backend="elf")
