from __future__ import annotations

import logging

import numpy as np
import pytest
from affinity_cases import cases
from bioimage_cpp.segmentation import mutex_watershed as bioimage_mutex_watershed
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_mutex_watershed import reference_mutex_watershed
from skimage.measure import label as connected_components

from emds.errors import DataError, UsageError
from emds.segmentation.affinities import PAPER_SPEC, AffinitySpec, affinities_from_labels
from emds.segmentation.relabel import relabel_by_first_voxel
from emds.segmentation.watershed.mutex_watershed import mutex_watershed

PAIR = AffinitySpec(((0, 0, 1), (0, 0, 2)), (True, False))
TWELVE = AffinitySpec(
    ((-1, 0, 0), (0, -1, 0), (0, 0, -1), (-2, 0, 0), (0, -3, 0), (0, 0, -3), (-1, -3, 0),
     (-1, 0, -3), (0, -3, -3), (0, 3, -3), (0, -5, 0), (0, 0, -5)),
    (True, True, True) + (False,) * 9,
)  # fmt: skip

settings.register_profile("segmentation", deadline=None)
settings.load_profile("segmentation")


@pytest.mark.parametrize("backend", ["numba", "elf"])
@pytest.mark.parametrize(
    ("attraction", "long_range", "expected"),
    [
        # Three voxels in a row: 1-2 attract, 2-3 attract by `attraction`, 1-3 have a mutex edge
        # with the weight 255 - long_range.
        (200, 50, [1, 1, 2]),  # 205 against 200: apart
        (200, 60, [1, 1, 1]),  # 195 against 200: together
        (255, 0, [1, 1, 1]),  # a tie: the lower channel, the attraction, comes first
        (0, 254, [1, 1, 2]),
        (0, 255, [1, 1, 1]),
    ],
)
def test_the_stronger_edge_decides(backend, attraction, long_range, expected):
    affinities = np.array([[[[255, attraction, 0]]], [[[long_range, 0, 0]]]], dtype=np.uint8)
    assert mutex_watershed(affinities, PAIR, backend=backend).ravel().tolist() == expected


@pytest.mark.parametrize("backend", ["numba", "elf"])
@pytest.mark.parametrize("offset", [(0, 0, 1), (0, 1, 0), (1, 0, 0)])
def test_one_means_same(backend, offset):
    reverse = tuple(-o for o in offset)
    spec = AffinitySpec((offset, reverse), (True, False))
    shape = tuple(o + 1 for o in offset)
    together = np.full((2, *shape), 200, dtype=np.uint8)
    assert mutex_watershed(together, spec, backend=backend).ravel().tolist() == [1, 1]
    assert mutex_watershed(255 - together, spec, backend=backend).ravel().tolist() == [1, 2]


@given(case=cases())
def test_equals_the_reference(case):
    np.testing.assert_array_equal(
        mutex_watershed(case.affinities, case.spec, **case.options),
        reference_mutex_watershed(case.affinities, case.spec, **case.options),
    )


@given(seed=st.integers(0, 2**32 - 1), spread=st.integers(1, 40))
@settings(max_examples=15)
def test_connected_labels_come_back_from_their_affinities(seed, spread):
    labels = np.random.default_rng(seed).integers(0, 1 + spread, (4, 9, 8), dtype=np.uint64)
    for neighbours in [[(0, 1, 0), (0, 0, 1)], [(1, 0, 0), (0, 1, 0), (0, 0, 1)]]:
        if len(neighbours) == 3:
            segments = connected_components(labels, connectivity=1, background=-1)
        else:
            sections = [connected_components(s, connectivity=1, background=-1) for s in labels]
            segments = np.stack([s + 1000 * z for z, s in enumerate(sections)])
        segments = relabel_by_first_voxel(segments.astype(np.uint64))
        # A mutex edge beside each attractive one, and long ones, which connect more of the same.
        mutexes = [tuple(-o for o in offset) for offset in neighbours] + [(0, -3, 0), (0, 0, -4)]
        spec = AffinitySpec(
            (*neighbours, *mutexes), (True,) * len(neighbours) + (False,) * len(mutexes)
        )
        same, _ = affinities_from_labels(segments, spec.offsets)
        affinities = same.astype(np.uint8) * np.uint8(255)
        np.testing.assert_array_equal(quietly(mutex_watershed, affinities, spec), segments)


@pytest.mark.parametrize("spec", [PAPER_SPEC, TWELVE])
@pytest.mark.parametrize("strides", [(1, 1, 1), (1, 2, 2)])
def test_cells_come_back_through_the_long_range_channels(spec, strides):
    z, y, x = np.indices((3, 48, 48))
    cells = (1 + y // 12 * 4 + x // 12 + (0 if not spec.planar else 16 * z)).astype(np.uint64)
    same, _ = affinities_from_labels(cells, spec.offsets)
    affinities = same.astype(np.uint8) * np.uint8(255)
    expected = relabel_by_first_voxel(cells)
    np.testing.assert_array_equal(mutex_watershed(affinities, spec, strides=strides), expected)


@given(case=cases())
@settings(max_examples=30)
def test_the_origin_is_where_the_array_lies_in_the_volume(case):
    box = tuple(
        slice(o, o + n) for o, n in zip(case.origin, case.affinities.shape[1:], strict=True)
    )
    shape = tuple(s.stop + 1 for s in box)
    volume = np.full((case.spec.channels, *shape), 99, dtype=case.affinities.dtype)
    volume[(slice(None), *box)] = case.affinities
    mask = np.zeros(shape, dtype=bool)
    mask[box] = True if case.mask is None else case.mask
    whole = quietly(mutex_watershed, volume, case.spec, strides=case.strides, mask=mask)
    part = quietly(mutex_watershed, case.affinities, case.spec, **case.options)
    np.testing.assert_array_equal(whole[box], part)


def test_strides_thin_out_the_mutex_edges_alone():
    # A mutex edge 0-2 and one 1-3; with stride 2 only the first is left, with origin 1 the second.
    affinities = np.array([[[[255, 100, 255, 0]]], [[[0, 0, 0, 0]]]], dtype=np.uint8)
    assert mutex_watershed(affinities, PAIR, strides=(1, 1, 2)).ravel().tolist() == [1, 1, 2, 2]
    affinities[1, 0, 0, 0] = 255
    thinned = mutex_watershed(affinities, PAIR, strides=(1, 1, 2))
    assert thinned.ravel().tolist() == [1, 1, 1, 1]
    shifted = mutex_watershed(affinities, PAIR, strides=(1, 1, 2), origin=(0, 0, 1))
    assert shifted.ravel().tolist() == [1, 1, 2, 2]


@given(case=cases())
@settings(max_examples=30)
def test_ids_are_dense_in_order_of_first_voxel_and_zero_is_masked(case):
    labels = quietly(mutex_watershed, case.affinities, case.spec, **case.options)
    assert labels.dtype == np.uint64
    ids, first = np.unique(labels[labels > 0], return_index=True)
    assert ids.tolist() == list(range(1, ids.size + 1))
    assert (np.diff(first) > 0).all()
    mask = np.ones(labels.shape, dtype=bool) if case.mask is None else case.mask
    np.testing.assert_array_equal(labels > 0, mask)


@pytest.mark.parametrize("spec", [PAPER_SPEC, TWELVE])
@pytest.mark.parametrize("levels", [2, 40, 256])
@pytest.mark.parametrize("strides", [(1, 1, 1), (1, 3, 2)])
def test_equals_bioimage_cpp_on_noise(spec, levels, strides):
    # Noise needs far more constraints than an image: the store grows many times over.
    rng = np.random.default_rng(levels)
    affinities = rng.integers(0, levels, (spec.channels, 3, 60, 50)) * 255 // (levels - 1)
    affinities = affinities.astype(np.uint8)
    attractive = sum(spec.attractive)
    weights = affinities.astype(np.float32)
    weights[attractive:] = 255 - weights[attractive:]
    theirs = bioimage_mutex_watershed(
        weights, list(spec.offsets), attractive, strides=list(strides)
    )
    ours = quietly(mutex_watershed, affinities, spec, strides=strides)
    np.testing.assert_array_equal(ours, relabel_by_first_voxel(theirs))


def test_the_input_stays_as_it_is_and_may_be_any_view():
    rng = np.random.default_rng(0)
    affinities = rng.integers(100, 256, (12, 3, 20, 20), dtype=np.uint8)
    mask = rng.random((3, 20, 20)) < 0.9
    before = affinities.copy(), mask.copy()
    first = mutex_watershed(affinities, TWELVE, mask=mask)
    assert first.max() > 1, "test invalid"
    np.testing.assert_array_equal(affinities, before[0])
    np.testing.assert_array_equal(mask, before[1])

    view = np.ascontiguousarray(affinities.transpose(3, 2, 1, 0)).transpose(3, 2, 1, 0)
    fortran_mask = np.asfortranarray(mask)
    np.testing.assert_array_equal(mutex_watershed(view, TWELVE, mask=fortran_mask), first)
    affinities.flags.writeable = False
    np.testing.assert_array_equal(mutex_watershed(affinities, TWELVE, mask=mask), first)


@pytest.mark.parametrize("backend", ["numba", "elf"])
@pytest.mark.parametrize("inverted", [False, True])
def test_affinities_of_the_opposite_sign_raise_a_warning(caplog, backend, inverted):
    cells = (1 + np.indices((1, 30, 30))[2] // 10).astype(np.uint64)
    same, _ = affinities_from_labels(cells, PAPER_SPEC.offsets)
    affinities = (same ^ inverted).astype(np.uint8) * np.uint8(255)
    with caplog.at_level(logging.WARNING, logger="emds"):
        mutex_watershed(affinities, PAPER_SPEC, backend=backend)
    assert ("opposite" in caplog.text) == inverted


@pytest.mark.parametrize("shape", [(0, 5, 5), (2, 0, 5), (1, 1, 1)])
@pytest.mark.parametrize("spec", [PAPER_SPEC, TWELVE])
def test_next_to_nothing_is_no_problem(spec, shape):
    labels = quietly(mutex_watershed, np.zeros((spec.channels, *shape), np.uint8), spec)
    assert labels.shape == shape
    assert labels.ravel().tolist() == [1] * labels.size


def test_a_mask_of_nothing_leaves_nothing():
    affinities = np.zeros((12, 2, 3, 3), dtype=np.uint8)
    labels = mutex_watershed(affinities, TWELVE, mask=np.zeros((2, 3, 3), dtype=bool))
    assert not labels.any()


GOOD = np.full((2, 1, 4, 4), 255, dtype=np.uint8)


@pytest.mark.parametrize(
    ("affinities", "options", "error", "message"),
    [
        (GOOD / 255, {}, DataError, "quantize"),
        (GOOD.astype(np.int64), {}, DataError, "int64"),
        (GOOD[:1], {}, DataError, "2 offsets"),
        (GOOD[0], {}, DataError, "shape"),
        (GOOD, {"mask": np.ones((4, 4), bool)}, DataError, "mask"),
        (GOOD, {"mask": np.ones((1, 4, 4), np.uint8)}, DataError, "mask"),
        (GOOD, {"strides": (0, 1, 1)}, UsageError, "strides"),
        (GOOD, {"strides": (2, 2)}, UsageError, "strides"),
        (GOOD, {"backend": "affogato"}, UsageError, "affogato"),
    ],
)
def test_what_cannot_be_segmented_is_refused(affinities, options, error, message):
    with pytest.raises(error, match=message):
        mutex_watershed(affinities, PAIR, **options)


@pytest.mark.parametrize(
    ("channels", "shape", "strides"),
    [(2, (2**11, 2**10, 2**10), (2, 2, 2)), (2, (2**11, 2**10, 2**10), (1, 1, 1))],
)
def test_more_edges_than_32_bits_count_are_refused_before_any_work(channels, shape, strides):
    affinities = np.broadcast_to(np.uint8(255), (channels, *shape))
    spec = AffinitySpec(((1, 0, 0), (2, 0, 0)), (True, False))
    with pytest.raises(DataError, match=r"2\*\*32"):
        mutex_watershed(affinities, spec, strides=strides)


def quietly(function, *arguments, **options):
    """Call a function without its warnings about affinities that are noise."""
    logging.getLogger("emds").setLevel(logging.ERROR)
    try:
        return function(*arguments, **options)
    finally:
        logging.getLogger("emds").setLevel(logging.NOTSET)
