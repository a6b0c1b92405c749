"""However few edges a group may have, the segments are those of the whole."""

from __future__ import annotations

import numpy as np
import pytest

from emds.geometry import Roi
from emds.segmentation.affinities import AffinitySpec, affinities_from_labels
from emds.segmentation.blockwise.blocks import connect_block, contract_block, values_on
from emds.segmentation.blockwise.groups import Level, contract_levels, name_segments
from emds.segmentation.blockwise.pieces import node_starts, nodes_of
from emds.segmentation.blockwise.scheme import BlockwiseScheme
from emds.segmentation.watershed.mutex_watershed import mutex_watershed
from emds.stages.tables import Tables

pytestmark = pytest.mark.usefixtures("no_fsync")

OFFSETS = ((-1, 0, 0), (0, -1, 0), (0, 0, -1), (-3, 0, 0), (0, -4, 2), (0, 0, -7))
SPEC = AffinitySpec(OFFSETS, (True,) * 3 + (False,) * 3)


def noisy_cells(shape):
    rng = np.random.default_rng(3)
    cells = np.ones(shape, dtype=np.uint64)
    for axis, index in enumerate(np.indices(shape)):
        cells = cells * np.uint64(50) + (index // (4, 9, 8)[axis]).astype(np.uint64)
    same, _ = affinities_from_labels(cells, OFFSETS, background="ordinary")
    return np.where(rng.random(same.shape) < 0.3, rng.integers(0, 256, same.shape), 255 * same)


@pytest.mark.parametrize(("most", "least_levels"), [(1, 6), (3000, 3), (10**9, 2)])
def test_groups_of_any_size_have_the_global_result(tmp_path, most, least_levels):
    affinities = noisy_cells((9, 32, 36)).astype(np.uint8)
    scheme = BlockwiseScheme(SPEC, (1, 2, 2), Roi.whole(affinities.shape[1:]), (3, 9, 8))
    tables = Tables(tmp_path)
    fragments = np.zeros(scheme.volume.shape, np.uint32)
    pieces = []
    for block in scheme.blocks:
        read = (..., *scheme.seen_by(block).slices())
        found = contract_block(affinities[read], scheme, block)
        fragments[block.write_roi.slices()] = found.fragments
        pieces.append(found.pieces)
        tables.save("contract", block.index, **found.pieces._asdict())
    starts = node_starts([part.open_count for part in pieces]).tolist()
    for block in scheme.blocks:
        read = (..., *scheme.seen_by(block).slices())
        graph = connect_block(
            affinities[read],
            fragments[read],
            scheme,
            block,
            lambda number: nodes_of(pieces[number].is_open, starts[number]),
            *starts[block.index : block.index + 2],
        )
        tables.save("connect", block.index, **graph._asdict())

    levels = contract_levels(tables, Level("contract", "connect", starts), most)
    sizes = name_segments(tables, levels).sizes
    assert len(levels) >= least_levels
    labels = values_on(
        lambda number: tables.load("segments", number)["segments"],
        fragments,
        scheme,
        scheme.volume,
    )
    np.testing.assert_array_equal(labels, mutex_watershed(affinities, SPEC, strides=(1, 2, 2)))
    np.testing.assert_array_equal(sizes, np.bincount(labels.ravel().astype(int)))
    assert sorted(path.name for path in tmp_path.glob("edges-*")) == []
