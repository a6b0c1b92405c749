from __future__ import annotations

import logging

import numpy as np
import pytest
from skimage.measure import label as connected_components

from emds.errors import DataError, UsageError
from emds.geometry import Roi
from emds.io import create_container
from emds.segmentation.affinities import PAPER_SPEC, AffinitySpec, affinities_from_labels
from emds.segmentation.after.small_segments import absorb_small_segments
from emds.segmentation.blockwise.blocks import (
    connect_block,
    contract_block,
    values_on,
)
from emds.segmentation.blockwise.pieces import node_starts, nodes_of
from emds.segmentation.blockwise.scheme import BlockwiseScheme
from emds.segmentation.phases import label_affinities, label_phases
from emds.segmentation.plan import plan_labels
from emds.segmentation.relabel import relabel_by_first_voxel
from emds.segmentation.settings import LabelSettings
from emds.segmentation.store import MemoryArray, Store
from emds.segmentation.watershed.mutex_watershed import mutex_watershed
from emds.stages.tables import Tables

NEAREST = [(-1, 0, 0), (0, -1, 0), (0, 0, -1)]
OFFSETS = [(0, 1, 0), (1, 0, 0), (0, 0, 2), (0, -3, 0), (0, 2, -2), (-2, 0, 0), (-2, -4, 0),
           (1, -1, -1), (0, 0, -7), (3, 0, 4)]  # fmt: skip
FUZZ = 1200
PART = 60


@pytest.fixture(autouse=True)
def quietly():
    logging.getLogger("emds").setLevel(logging.ERROR)
    yield
    logging.getLogger("emds").setLevel(logging.NOTSET)


def draw_spec(rng):
    flat = rng.random() < 0.2
    nearest = [o for o in NEAREST if not (flat and o[0])]
    others = [o for o in OFFSETS if not (flat and o[0])]
    long = [others[i] for i in rng.permutation(len(others))[: rng.integers(1, 5)]]
    flags = [True] * len(nearest) + (rng.random(len(long)) < 0.15).tolist()
    order = rng.permutation(len(flags)) if rng.random() < 0.5 else range(len(flags))
    offsets = nearest + long
    return AffinitySpec(tuple(offsets[i] for i in order), tuple(flags[i] for i in order))


def draw_affinities(rng, spec, shape):
    """Noise with few levels, or cells with errors: with noise alone nearly everything is open."""
    size = (spec.channels, *shape)
    dtype = rng.choice([np.uint8, np.uint16], p=[0.9, 0.1])
    levels = rng.integers(2, 5) if rng.random() < 0.8 else 1000
    palette = rng.integers(0, np.iinfo(dtype).max + 1, levels).astype(dtype)
    noise = rng.choice(palette, size)
    if rng.random() < 0.3:
        return noise
    if rng.random() < 0.4:
        return np.maximum(noise, rng.choice(palette, size))
    cells = np.zeros(shape, dtype=np.uint64)
    step = rng.integers(2, 6, 3)
    for axis, index in enumerate(np.indices(shape)):
        cells = cells * 50 + ((index + rng.integers(0, 3)) // step[axis]).astype(np.uint64)
    same, _ = affinities_from_labels(cells, spec.offsets, background="ordinary")
    clean = np.where(same, palette.max(), palette.min())
    return np.where(rng.random(size) < rng.choice([0.05, 0.2, 0.4]), noise, clean).astype(dtype)


def draw_case(seed):
    rng = np.random.default_rng(seed)
    spec = draw_spec(rng)
    shape = tuple(int(rng.integers(1, high)) for high in (6, 11, 13))
    # Six blocks or so, from slivers to nearly the whole.
    cuts = rng.choice([1, 1, 2, 3], 3)
    block_shape = tuple(
        max(1, -(-n // int(c)) - int(rng.integers(0, 2))) for n, c in zip(shape, cuts)
    )
    origin = tuple(rng.integers(0, 5, 3).tolist()) if rng.random() < 0.3 else (0, 0, 0)
    strides = rng.integers(1, 4, 3).tolist() if rng.random() < 0.5 else (1, 1, 1)
    strides = (1, *strides[1:]) if spec.planar else tuple(strides)
    mask = rng.random(shape) < 0.85 if rng.random() < 0.3 else None
    scheme = BlockwiseScheme(spec, strides, Roi(origin, shape), block_shape)
    affinities = draw_affinities(rng, spec, shape)
    # Few edges at once make many levels of groups.
    blocks = {
        "block_shape": block_shape,
        "order": rng.permutation(len(scheme.blocks)).tolist(),
        "max_residual": int(rng.choice([1, 10, 100, 10**6])),
    }
    settings = LabelSettings(strides, min_size=int(rng.choice([0, 0, 3, 8])))
    return affinities, spec, settings, mask, origin, blocks


def labels_of_the_whole(affinities, spec, settings, mask, origin):
    strides = settings.mutex_strides
    found = mutex_watershed(affinities, spec, strides=strides, mask=mask, origin=origin)
    if settings.min_size:
        found = absorb_small_segments(found, affinities, spec, settings.min_size)
    return found


def labels_on_disk(folder, affinities, spec, settings, mask, origin, blocks):
    """Do the phases as a run does: arrays are zarr, tables are files."""
    shape = affinities.shape[1:]
    plan = plan_labels(
        Roi(origin, shape),
        spec,
        settings,
        chunk_shape=blocks["block_shape"],
        memory=2**28,
        block_shape=blocks["block_shape"],
        max_residual=blocks["max_residual"],
    )
    chunks = {"chunk_shape": blocks["block_shape"]}
    with create_container(folder / "out.zarr") as container:
        store = Store(
            MemoryArray(affinities),
            None if mask is None else MemoryArray(mask),
            container.create_image("fragments", shape, np.uint32, **chunks),
            container.create_labels("neurons", shape, np.uint64, **chunks),
            Tables(folder / "tables"),
        )
        for phase in label_phases(plan):
            count = len(plan.blocks) if phase.by_block else 1
            order = blocks["order"] if phase.by_block else [0]
            assert not any(phase.is_done(plan, store, block) for block in range(count))
            do = phase.begin(plan, store)
            for block in order:
                do(block)
            assert all(phase.is_done(plan, store, block) for block in range(count))
        return store.labels.read()


@pytest.mark.parametrize("part", range(FUZZ // PART))
def test_blockwise_is_the_global_result(part):
    for seed in range(part * PART, part * PART + PART):
        affinities, spec, settings, mask, origin, blocks = draw_case(seed)
        expected = labels_of_the_whole(affinities, spec, settings, mask, origin)
        found = label_affinities(affinities, spec, settings, mask=mask, origin=origin, **blocks)
        np.testing.assert_array_equal(found, expected, err_msg=f"seed {seed}: {spec} {blocks}")


@pytest.mark.usefixtures("no_fsync")
@pytest.mark.parametrize("seed", range(FUZZ, FUZZ + 40))
def test_on_disk_it_is_the_global_result(tmp_path, seed):
    affinities, spec, settings, mask, origin, blocks = draw_case(seed)
    expected = labels_of_the_whole(affinities, spec, settings, mask, origin)
    found = labels_on_disk(tmp_path, affinities, spec, settings, mask, origin, blocks)
    np.testing.assert_array_equal(found, expected, err_msg=f"{spec} {blocks}")


@pytest.mark.parametrize("spec", [PAPER_SPEC, AffinitySpec(
    (*NEAREST, (0, -5, 0), (0, 0, -5), (0, -9, -9), (-2, -4, 0)), (True,) * 3 + (False,) * 4
)])  # fmt: skip
@pytest.mark.parametrize("noise", [0.05, 1])
def test_blockwise_is_the_global_result_on_more_voxels(spec, noise):
    # Stores and tables outgrow their first size here, and paths through many blocks are long.
    rng = np.random.default_rng(5)
    z, y, x = np.indices((6, 70, 60))
    cells = (1 + z // 3 + 10 * (y // 14) + 100 * (x // 17)).astype(np.uint64)
    same, _ = affinities_from_labels(cells, spec.offsets)
    affinities = np.where(rng.random(same.shape) < noise, rng.random(same.shape), same) * 255
    affinities = affinities.astype(np.uint8)
    found = label_affinities(
        affinities, spec, LabelSettings(), block_shape=(3, 20, 25), max_residual=2000
    )
    np.testing.assert_array_equal(found, mutex_watershed(affinities, spec))


@pytest.mark.parametrize("seed", range(12))
def test_connected_labels_come_back_from_their_affinities(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 2 + seed, (4, 9, 8), dtype=np.uint64)
    segments = connected_components(labels, connectivity=1, background=-1).astype(np.uint64)
    segments = relabel_by_first_voxel(segments)
    mutexes = [(1, 0, 0), (0, 1, 0), (0, 0, 1), (0, -3, 0), (-2, -4, 0)]
    spec = AffinitySpec((*NEAREST, *mutexes), (True,) * 3 + (False,) * 5)
    same, _ = affinities_from_labels(segments, spec.offsets)
    affinities = same.astype(np.uint8) * np.uint8(255)
    found = label_affinities(affinities, spec, LabelSettings(), block_shape=(2, 4, 5))
    np.testing.assert_array_equal(found, segments)


def test_what_a_block_surely_holds_is_no_node():
    # Two sections, each with a cell in the middle of a block, in a background that is everywhere.
    cells = np.zeros((1, 12, 24), dtype=np.uint64)
    cells[0, 4:8, 4:8], cells[0, 4:8, 16:20] = 1, 2
    spec = AffinitySpec(((0, -1, 0), (0, 0, -1), (0, 1, 0), (0, 0, 1)), (True,) * 2 + (False,) * 2)
    same, _ = affinities_from_labels(cells, spec.offsets, background="ordinary")
    affinities = same.astype(np.uint8) * np.uint8(255)
    scheme = BlockwiseScheme(spec, (1, 1, 1), Roi.whole(cells.shape), (1, 12, 12))
    contractions = [
        contract_block(affinities[(..., *scheme.seen_by(block).slices())], scheme, block)
        for block in scheme.blocks
    ]
    for contraction in contractions:
        cell = contraction.fragments[0, 5, 5] - 1
        pieces = contraction.pieces
        assert not pieces.is_open[cell]
        assert pieces.sizes[cell] == 16
        assert pieces.is_open.sum() == pieces.is_open[0] == 1
    firsts = [c.pieces.first_voxels[c.fragments[0, 5, 5] - 1] for c in contractions]
    assert firsts == [100, 112]
    assert node_starts([c.pieces.open_count for c in contractions]).tolist() == [0, 1, 2]
    nodes = [nodes_of(c.pieces.is_open, start) for start, c in enumerate(contractions)]
    assert [some.tolist() for some in nodes] == [[0, 1, 0], [0, 2, 0]]
    fragments = np.concatenate([contraction.fragments for contraction in contractions], axis=2)
    # The strongest edge between the nodes: at the first voxel right of the border, attractive.
    channel, voxel = 1, 12
    for block in scheme.blocks:  # both know of it
        read = (..., *scheme.seen_by(block).slices())
        own = (block.index, block.index + 1)
        graph = connect_block(
            affinities[read], fragments[read], scheme, block, nodes.__getitem__, *own
        )
        assert [column.tolist() for column in graph] == [
            [1], [2], [2 * (channel * cells.size + voxel) + 1]
        ]  # fmt: skip


def test_whole_sections_have_nothing_to_connect():
    rng = np.random.default_rng(0)
    affinities = rng.integers(0, 256, (10, 4, 20, 20), dtype=np.uint8)
    scheme = BlockwiseScheme(PAPER_SPEC, (1, 1, 1), Roi.whole((4, 20, 20)), (2, 20, 20))
    block = scheme.blocks[1]
    assert scheme.seen_by(block) == block.write_roi
    assert not contract_block(affinities[:, 2:], scheme, block).pieces.is_open.any()


@pytest.mark.parametrize(
    ("block_shape", "group_shape"), [((4, 4, 4), (8, 8, 8)), ((4, 10, 10), (16, 10, 20))]
)
def test_blocks_with_consecutive_numbers_lie_together(block_shape, group_shape):
    z, y, x = (4 * n for n in block_shape)
    scheme = BlockwiseScheme(PAPER_SPEC, (1, 1, 1), Roi((5, 0, 0), (z, y, x)), block_shape)
    for first in range(0, 64, 8):
        boxes = [block.write_roi for block in scheme.blocks[first : first + 8]]
        begin, end = np.min([b.offset for b in boxes], 0), np.max([b.end for b in boxes], 0)
        assert tuple(end - begin) == group_shape
    assert [block.index for block in scheme.blocks] == list(range(64))


def test_values_are_looked_up_across_blocks():
    spec = AffinitySpec(((0, 0, 1),), (True,))
    scheme = BlockwiseScheme(spec, (1, 1, 1), Roi((0, 0, 1), (1, 1, 6)), (1, 1, 3))
    assert [block.write_roi.offset[2] for block in scheme.blocks] == [1, 4]
    fragments = np.array([[[1, 0, 2, 1]]], dtype=np.uint32)  # voxels 2 to 5
    values = [np.array([70, 71]), np.array([70, 72, 73, 74])]
    found = values_on(values.__getitem__, fragments, scheme, Roi((0, 0, 2), (1, 1, 4)))
    assert found.tolist() == [[[71, 70, 73, 72]]]


SPEC = AffinitySpec(((0, 0, 1),), (True,))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: BlockwiseScheme(SPEC, (1, 1, 1), Roi.whole((1, 4, 4)), (0, 4, 4)), "block shape"),
        (lambda: BlockwiseScheme(SPEC, (0, 1, 1), Roi.whole((1, 4, 4)), (1, 4, 4)), "strides"),
        (lambda: LabelSettings(mutex_strides=(0, 1, 1)), "mutex_strides"),
        (lambda: LabelSettings(min_size=-1), "min_size must be at least 0"),
        (lambda: LabelSettings(stitch="exakt"), "stitch must be 'exact' or 'none'"),
        (lambda: LabelSettings(backend="gpu"), "'numba' or 'elf'"),
        (lambda: LabelSettings(labeller="magic"), "mutex-watershed"),
    ],
)
def test_what_makes_no_sense_is_refused(make, message):
    with pytest.raises(UsageError, match=message):
        make()


def test_too_large_a_volume_or_block_is_refused_before_any_work():
    with pytest.raises(DataError, match=r"2\*\*46"):
        BlockwiseScheme(SPEC, (1, 1, 1), Roi.whole((2**16, 2**16, 2**16)), (8, 8, 8))
    volume = Roi.whole((2**13, 2**13, 2**13))
    cross = AffinitySpec(((1, 0, 0),), (True,))
    with pytest.raises(DataError, match=r"2\*\*32"):
        BlockwiseScheme(cross, (1, 1, 1), volume, (2**11, 2**11, 2**10))


def test_a_block_wants_its_own_affinities():
    scheme = BlockwiseScheme(SPEC, (1, 1, 1), Roi.whole((1, 4, 8)), (1, 4, 4))
    with pytest.raises(DataError, match=r"\(1, 1, 4, 5\)"):
        contract_block(np.zeros((1, 1, 4, 4), np.uint8), scheme, scheme.blocks[0])


@pytest.mark.parametrize("shape", [(0, 4, 4), (1, 1, 1)])
def test_next_to_nothing_is_no_problem(shape):
    affinities = np.zeros((1, *shape), dtype=np.uint8)
    found = label_affinities(affinities, SPEC, LabelSettings(), block_shape=(2, 2, 2))
    assert found.ravel().tolist() == [1] * found.size
