"""Connected components as scipy finds them in the whole volume, whatever the blocks."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from emds.errors import UsageError
from emds.segmentation.affinities import AffinitySpec
from emds.segmentation.phases import label_affinities
from emds.segmentation.settings import LabelSettings

SPEC = AffinitySpec(
    ((-1, 0, 0), (0, -1, 0), (0, 0, 1), (0, 2, -3), (0, 0, -2)), (True, True, True, True, False)
)
SETTINGS = LabelSettings(labeller="connected-components")


def reference(affinities, mask):
    """Edge by edge, over the whole volume, as a graph of scipy's."""
    shape = affinities.shape[1:]
    ends = []
    for values, offset, attracts in zip(affinities, SPEC.offsets, SPEC.attractive):
        for voxel in np.argwhere(values > 127) if attracts else ():
            partner = voxel + offset
            if (partner < 0).any() or (partner >= shape).any():
                continue
            if mask is None or (mask[tuple(voxel)] and mask[tuple(partner)]):
                ends.append([np.ravel_multi_index(v, shape) for v in (voxel, partner)])
    size = int(np.prod(shape))
    rows, columns = np.array(ends).reshape(-1, 2).T
    graph = coo_matrix((np.ones(len(rows)), (rows, columns)), (size, size))
    _, components = connected_components(graph, directed=False)
    labels = np.zeros(size, np.uint64)
    names = {}
    for voxel in range(size):
        if mask is None or mask.ravel()[voxel]:
            labels[voxel] = names.setdefault(components[voxel], len(names) + 1)
    return labels.reshape(shape)


@pytest.mark.parametrize("seed", range(30))
def test_blocks_change_nothing(seed):
    rng = np.random.default_rng(seed)
    shape = tuple(int(n) for n in rng.integers(1, (5, 9, 9)))
    # About as many edges as make components of all sizes.
    values = rng.random((SPEC.channels, *shape)) < rng.choice([0.15, 0.3, 0.5])
    affinities = np.where(values, rng.integers(128, 256), rng.integers(0, 128)).astype(np.uint8)
    mask = rng.random(shape) < 0.8 if seed % 3 == 0 else None
    expected = reference(affinities, mask)
    for block_shape in (None, (2, 3, 4), (1, 1, 1), (3, 9, 2)):
        found = label_affinities(affinities, SPEC, SETTINGS, mask=mask, block_shape=block_shape)
        np.testing.assert_array_equal(found, expected)


def test_blocks_that_stay_apart_are_refused():
    settings = LabelSettings(labeller="connected-components", stitch="none")
    with pytest.raises(UsageError, match="'none' is for the mutex watershed"):
        label_affinities(np.zeros((5, 2, 4, 4), np.uint8), SPEC, settings, block_shape=(1, 4, 4))
