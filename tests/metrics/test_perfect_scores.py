"""What a perfect segmentation scores: nothing, but for the quirks of the released evaluation.

The expected values were found on Voronoi sections of 512², by other code, before this was written.
"""

import numpy as np
import pytest
from scipy.spatial import cKDTree

from emds.io.volume import MemoryVolume
from emds.metrics import evaluate_protocols

SECTIONS, SIDE = 6, 512


def voronoi_section(rng, cells):
    places = np.stack(np.meshgrid(*2 * [np.arange(SIDE)], indexing="ij"), axis=-1)
    nearest = cKDTree(rng.uniform(0, SIDE, (cells, 2))).query(places.reshape(-1, 2))[1]
    return nearest.reshape(SIDE, SIDE)


@pytest.mark.parametrize(
    ("cells", "largest_id", "voi", "arand"),
    [(100, 400, 0.16, 0.065), (200, 400, 0.32, 0.124), (300, 1000, 0.67, 0.234)],
)
def test_a_perfect_segmentation_under_every_protocol(cells, largest_id, voi, arand):
    rng = np.random.default_rng(cells)
    ids = np.arange(1, largest_id + 1)
    truth = np.stack(
        [
            rng.choice(ids, cells, replace=False)[voronoi_section(rng, cells)]
            for _ in range(SECTIONS)
        ]
    )
    protocols = ("strict", "volume", "paper", "released")
    perfect = MemoryVolume(truth)
    found = evaluate_protocols(perfect, perfect, protocols, "skimage")
    scores = {report.protocol: report.scores for report in found}
    for protocol in ("strict", "volume", "paper"):
        assert (scores[protocol].voi, scores[protocol].arand) == (0, 0)
    assert scores["released"].voi == pytest.approx(voi, abs=0.05)
    assert scores["released"].arand == pytest.approx(arand, abs=0.03)


def test_3d_ids_shared_in_a_section_cost_a_perfect_segmentation_of_sections():
    """A tenth of the cells bear the id of another one, as parts of one neuron do."""
    rng = np.random.default_rng(0)
    cells = np.stack([voronoi_section(rng, 200) + 1 for _ in range(SECTIONS)])
    truth = np.empty_like(cells)
    for z, section in enumerate(cells):
        ids = np.arange(201)
        renamed = rng.choice(np.arange(1, 201), 20, replace=False)
        ids[renamed] = rng.choice(np.setdiff1d(np.arange(1, 201), renamed), 20, replace=False)
        truth[z] = ids[section]
    strict, paper = evaluate_protocols(
        MemoryVolume(cells), MemoryVolume(truth), ("strict", "paper"), "skimage"
    )
    assert paper.scores.voi == pytest.approx(0.18, abs=0.03)
    assert paper.scores.arand == pytest.approx(0.08, abs=0.02)
    assert strict.scores.voi < 0.03  # only cells that share an id and touch
