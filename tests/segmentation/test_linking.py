"""Linking sections by overlap: as the slow, obvious way does it, and whatever the blocks."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from emds.errors import UsageError
from emds.geometry import Roi
from emds.segmentation.affinities import AffinitySpec
from emds.segmentation.after.linking import (
    join_sections,
    merge_overlaps,
    overlap_roi,
    overlaps_of_sections,
    section_overlaps_of_block,
)
from emds.segmentation.blockwise.blocks import settled_block
from emds.segmentation.blockwise.scheme import BlockwiseScheme
from emds.segmentation.relabel import relabel_by_first_voxel
from emds.segmentation.settings import LabelSettings

SPEC = AffinitySpec(((0, -1, 0), (0, 0, -1)), (True, True))


def link_sections(labels, threshold):
    sizes = np.bincount(labels.ravel().astype(np.int64), minlength=1)
    overlaps = overlaps_of_sections(labels, Roi.whole(labels.shape))
    return join_sections(overlaps, sizes, threshold)[labels]


def reference_links(labels, threshold):
    """Compare every segment with every one of the next section, as fractions, and flood."""
    members = {int(i): {tuple(v) for v in np.argwhere(labels == i)[:, 1:]} for i in ids_of(labels)}
    section = {i: int(np.argwhere(labels == i)[0, 0]) for i in members}

    def likeness(a, b):
        return Fraction(len(members[a] & members[b]), len(members[a] | members[b]))

    def best(a, z):
        there = [b for b in members if section[b] == z and likeness(a, b) > 0]
        return min(there, key=lambda b: (-likeness(a, b), b), default=None)

    new = {i: i for i in members}
    for a in sorted(members):
        b = best(a, section[a] + 1)
        if b is None or best(b, section[a]) != a or likeness(a, b) < Fraction(threshold):
            continue
        old, kept = new[b], new[a]
        new = {i: kept if value == old else value for i, value in new.items()}
    linked = np.zeros_like(labels)
    for i, value in new.items():
        linked[labels == i] = value
    return relabel_by_first_voxel(linked)


def ids_of(labels):
    return np.unique(labels[labels > 0])


def stack(seed, shape, objects, background):
    """Sections of blobs that move a little from one to the next, with ids of their own."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform(0, shape[1:], (objects, 2))
    pixels = np.stack(np.mgrid[: shape[1], : shape[2]], axis=-1)[:, :, None]
    labels = np.zeros(shape, np.uint64)
    for z in range(shape[0]):
        centres += rng.normal(0, 0.8, centres.shape)
        nearest = np.linalg.norm(pixels - centres, axis=-1).argmin(axis=-1)
        labels[z] = 1 + z * objects + rng.permutation(objects)[nearest]
    labels[rng.random(shape) < background] = 0
    return relabel_by_first_voxel(labels)


stacks = st.builds(
    stack,
    seed=st.integers(0, 2**32 - 1),
    shape=st.sampled_from([(1, 6, 7), (4, 1, 9), (5, 6, 7)]),
    objects=st.sampled_from([1, 3, 8]),
    background=st.sampled_from([0.0, 0.1, 0.9, 1.0]),
)
# Halves and thirds, for ties with the threshold itself.
thresholds = st.sampled_from([1e-9, 0.25, 1 / 2, 0.75, 1.0])


@settings(deadline=None, max_examples=60)  # the first one compiles
@given(stacks, thresholds)
def test_it_equals_the_slow_obvious_way(labels, threshold):
    before = labels.copy()
    linked = link_sections(labels, threshold)
    np.testing.assert_array_equal(linked, reference_links(labels, threshold))
    np.testing.assert_array_equal(labels, before)


@settings(deadline=None, max_examples=60)
@given(
    stacks,
    thresholds,
    st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(1, 5)),
    st.randoms(use_true_random=False),
)
def test_blocks_and_their_order_change_nothing(labels, threshold, block_shape, random):
    scheme = BlockwiseScheme(SPEC, (1, 1, 1), Roi((3, 0, 5), labels.shape), block_shape)
    fragments = np.zeros(labels.shape, np.uint32)
    segments = []

    def here(roi):
        return roi.relative_to(scheme.volume.offset).slices()

    for block in scheme.blocks:
        part = labels[here(block.write_roi)]
        ids = ids_of(part)
        # From the highest down, so that no two blocks agree on a number.
        local = np.where(part > 0, ids.size - np.searchsorted(ids, part), 0)
        fragments[here(block.write_roi)] = settled_block(local, scheme, block).fragments
        segments.append(np.concatenate([np.zeros(1, np.uint64), ids[::-1]]))

    parts = [
        section_overlaps_of_block(
            fragments[here(overlap_roi(scheme, block))], scheme, block, segments.__getitem__
        )
        for block in random.sample(scheme.blocks, len(scheme.blocks))
    ]
    sizes = np.bincount(labels.ravel().astype(np.int64), minlength=1)
    joined = join_sections(merge_overlaps(parts), sizes, threshold)
    np.testing.assert_array_equal(joined[labels], link_sections(labels, threshold))


def test_what_moves_a_little_stays_one_and_what_ends_ends():
    """::

    section 0    1 1 1 2 2 2 .
    section 1    3 3 4 4 4 4 .      3 is 1, 4 is 2
    section 2    5 5 5 5 5 5 5      5 covers both: it is like neither
    section 3    6 6 6 7 7 7 .      and nothing is like 5
    """
    labels = np.array(
        [[1, 1, 1, 2, 2, 2, 0], [3, 3, 4, 4, 4, 4, 0], [5] * 7, [6, 6, 6, 7, 7, 7, 0]], np.uint64
    )[:, None]
    linked = link_sections(labels, 0.6)[:, 0]
    np.testing.assert_array_equal(
        linked, [[1, 1, 1, 2, 2, 2, 0], [1, 1, 2, 2, 2, 2, 0], [3] * 7, [4, 4, 4, 5, 5, 5, 0]]
    )


def test_of_two_equals_the_lower_id_is_the_better_match():
    labels = np.array([[[1, 1]], [[2, 3]]], np.uint64)
    np.testing.assert_array_equal(link_sections(labels, 0.5), [[[1, 1]], [[1, 2]]])


def test_equal_sections_make_columns():
    labels = np.arange(1, 13, dtype=np.uint64).reshape(1, 3, 4) + np.uint64(12) * np.arange(
        4, dtype=np.uint64
    ).reshape(4, 1, 1)
    columns = np.broadcast_to(labels[:1], labels.shape)
    np.testing.assert_array_equal(link_sections(labels, 1.0), columns)


@pytest.mark.parametrize("threshold", [0.0, -0.5, 1.01, float("nan")])
def test_a_threshold_that_means_nothing_is_refused(threshold):
    with pytest.raises(UsageError, match=r"link_sections must be (above|at most|a finite)"):
        LabelSettings(link_sections=threshold)
