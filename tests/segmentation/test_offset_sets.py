"""Named sets of offsets: what is in them, and which is chosen."""

import numpy as np
import pytest

from emds.errors import ConfigError, UsageError
from emds.segmentation.affinities import PAPER_SPEC, affinities_from_labels
from emds.segmentation.offset_sets import OFFSET_SETS, attract_neighbours, choose_offsets
from emds.segmentation.watershed.mutex_watershed import mutex_watershed


def test_the_planar_set_is_the_papers():
    assert OFFSET_SETS["planar"] == PAPER_SPEC


@pytest.mark.parametrize("name", ["isotropic", "anisotropic"])
def test_a_set_across_sections_holds_the_papers_and_the_section_below(name):
    spec = OFFSET_SETS[name]
    assert set(PAPER_SPEC.offsets) < set(spec.offsets)
    attracting = {o for o, attracts in zip(spec.offsets, spec.attractive) if attracts}
    assert attracting == {(-1, 0, 0), (0, -1, 0), (0, 0, -1)}
    assert all(dz <= 0 for dz, _, _ in spec.offsets)
    assert spec.reach == ({"isotropic": 3, "anisotropic": 2}[name], 15, 15)


@pytest.mark.parametrize("name", OFFSET_SETS)
def test_connected_labels_come_back_from_their_affinities(name):
    """Two cells a section, which swap sides from the third section on."""
    labels = np.ones((6, 20, 20), np.uint64)
    labels[:, :, 10:] = 2
    labels[3:] += 2
    spec = OFFSET_SETS[name]
    same, _ = affinities_from_labels(labels, spec.offsets)
    found = mutex_watershed(np.where(same, 255, 0).astype(np.uint8), spec, strides=(1, 1, 1))
    expected = (
        labels if not spec.planar else labels * 100 + np.arange(6, dtype=np.uint64)[:, None, None]
    )
    _, dense = np.unique(expected, return_inverse=True)
    pairs = np.unique(np.stack([dense.ravel(), found.ravel()]), axis=1)
    assert pairs.shape[1] == len(np.unique(dense)) == len(np.unique(found))


@pytest.mark.parametrize(
    ("voxel_size", "name"),
    [
        ((10.0, 10.0, 10.0), "isotropic"),
        ((20.0, 8.0, 10.0), "isotropic"),
        ((40.0, 8.0, 8.0), "anisotropic"),
        ((50.0, 4.6, 4.6), "anisotropic"),
    ],
)
def test_the_voxel_size_decides(voxel_size, name):
    assert choose_offsets("auto", voxel_size) == OFFSET_SETS[name]
    assert choose_offsets(name, None) == OFFSET_SETS[name]


def test_what_cannot_be_chosen_is_refused():
    with pytest.raises(ConfigError, match="offsets=isotropic, anisotropic or planar"):
        choose_offsets("auto", None)
    with pytest.raises(ConfigError, match="number of offsets, 2"):
        choose_offsets([(0, -1, 0), (0, 0, -1)], None, attractive=3)
    with pytest.raises(UsageError, match="no offset is attractive"):
        attract_neighbours([(0, -2, 0)])
    assert choose_offsets([(0, -2, 0)], None, attractive=1).attractive == (True,)
