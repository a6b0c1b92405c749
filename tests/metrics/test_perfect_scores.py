"""What a perfect segmentation scores: nothing, but for the quirks of the released evaluation.

The values of `CASES` were found on Voronoi sections of 512², by other code, before this was
written.
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


def section_of(rng, cells, largest_id):
    """A section and the ids that its cells bear, some of which are one in eight bits."""
    ids = rng.choice(np.arange(1, largest_id + 1), cells, replace=False)
    return ids[voronoi_section(rng, cells)], ids


def scores_of_right_cells(areas, groups):
    """What cells score that are right, by a truth in which those of a group are one.

    VOI is Σ a/n log2(A/a) over cells of area a in groups of area A. Every pair that a cell joins
    is joined in the truth, of whose pairs the cells join Σ a(a - 1) / Σ A(A - 1). Group 0 has no
    truth.
    """
    whole = np.bincount(groups, weights=areas)
    a, around = areas[groups > 0], whole[groups[groups > 0]]
    voi = (a / a.sum() * np.log2(around / a)).sum()
    recall = (a * (a - 1)).sum() / (whole[1:] * (whole[1:] - 1)).sum()
    return voi, 1 - 2 * recall / (1 + recall)


CASES = [(100, 400, 0.16, 0.065), (200, 400, 0.32, 0.124), (300, 1000, 0.67, 0.234)]


@pytest.mark.parametrize(("cells", "largest_id"), [case[:2] for case in CASES])
def test_a_perfect_segmentation_under_every_protocol(cells, largest_id):
    rng = np.random.default_rng(cells)
    made = [section_of(rng, cells, largest_id) for _ in range(SECTIONS)]
    expected = []
    for section, ids in made:
        areas = np.bincount(section.ravel(), minlength=largest_id + 1)[ids]
        expected.append(scores_of_right_cells(areas, ids % 256))
    protocols = ("strict", "volume", "paper", "released")
    perfect = MemoryVolume(np.stack([section for section, _ in made]))
    found = evaluate_protocols(perfect, perfect, protocols, "skimage")
    scores = {report.protocol: report.scores for report in found}
    for protocol in ("strict", "volume", "paper"):
        assert (scores[protocol].voi, scores[protocol].arand) == (0, 0)
    voi, arand = np.mean(expected, axis=0)
    assert scores["released"].voi == pytest.approx(voi, rel=1e-9)
    assert scores["released"].arand == pytest.approx(arand, rel=1e-9)


@pytest.mark.parametrize(("cells", "largest_id", "voi", "arand"), CASES)
def test_the_formula_gives_what_was_found_before(cells, largest_id, voi, arand):
    """Over many draws of ids, for a single one is off by a quarter."""
    rng = np.random.default_rng(0)
    numbers, areas = np.unique(voronoi_section(rng, cells), return_counts=True)
    assert len(numbers) == cells
    drawn = [rng.choice(np.arange(1, largest_id + 1), cells, replace=False) for _ in range(500)]
    mean = np.mean([scores_of_right_cells(areas, ids % 256) for ids in drawn], axis=0)
    np.testing.assert_allclose(mean, (voi, arand), rtol=0.08)


def test_3d_ids_shared_in_a_section_cost_a_perfect_segmentation_of_sections():
    """A tenth of the cells bear the id of another one, as parts of one neuron do."""
    rng = np.random.default_rng(0)
    cells = np.stack([voronoi_section(rng, 200) + 1 for _ in range(SECTIONS)])
    truth, expected = np.empty_like(cells), []
    for z, section in enumerate(cells):
        ids = np.arange(201)
        renamed = rng.choice(np.arange(1, 201), 20, replace=False)
        ids[renamed] = rng.choice(np.setdiff1d(np.arange(1, 201), renamed), 20, replace=False)
        truth[z] = ids[section]
        expected.append(scores_of_right_cells(np.bincount(section.ravel(), minlength=201), ids))
    strict, paper = evaluate_protocols(
        MemoryVolume(cells), MemoryVolume(truth), ("strict", "paper"), "skimage"
    )
    voi, arand = np.mean(expected, axis=0)
    assert (voi, arand) == (pytest.approx(0.18, abs=0.03), pytest.approx(0.08, abs=0.02))
    assert paper.scores.voi == pytest.approx(voi, rel=1e-9)
    assert paper.scores.arand == pytest.approx(arand, rel=1e-9)
    assert strict.scores.voi < 0.03  # only cells that share an id and touch
