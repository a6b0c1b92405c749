from __future__ import annotations

import json
import statistics

import numpy as np
import pytest
from reference_scores import (
    reference_components,
    reference_rand,
    reference_voi,
    voronoi_labels,
)
from skimage.metrics import adapted_rand_error, variation_of_information

import emds.metrics.protocols as protocols_module
from emds.errors import DataError, UsageError
from emds.io.volume import MemoryVolume
from emds.metrics import PROTOCOLS, evaluate_protocols, evaluate_segmentation
from emds.metrics.slabs import iter_slabs, slab_shape


def volume(values, **options):
    return MemoryVolume(np.asarray(values), **options)


@pytest.fixture(scope="module")
def pair():
    gt = voronoi_labels((5, 30, 33), 25, seed=1)
    gt[gt == 4] = 0
    seg = voronoi_labels((5, 30, 33), 35, seed=2)
    rng = np.random.default_rng(3)
    noise = rng.integers(0, 9, seg.shape).astype(np.uint64)
    return np.where(rng.random(seg.shape) < 0.05, noise, seg), gt


def test_volume_scores_all_voxels_at_once(pair):
    seg, gt = pair
    report = evaluate_segmentation(volume(seg), volume(gt), "volume", "skimage")
    split, merge = variation_of_information(gt, seg.astype(int), ignore_labels=(0,))
    assert report.scores.voi_split == pytest.approx(split, abs=1e-9)
    assert report.scores.voi_merge == pytest.approx(merge, abs=1e-9)
    arand = adapted_rand_error(gt, seg.astype(int), ignore_labels=(0,))[0]
    assert report.scores.arand == pytest.approx(arand, abs=1e-9)
    assert report.sd is None
    assert report.sections == ()
    assert report.voxels == np.count_nonzero(gt)
    assert report.ignored_fraction == pytest.approx(np.mean(gt == 0))
    assert report.gt_objects == np.count_nonzero(np.unique(gt))
    assert report.seg_objects == np.count_nonzero(np.unique(seg))


def prepared(protocol, seg, gt):
    """What each protocol does to a section, in the obvious way."""
    if protocol == "strict":
        return reference_components(seg), reference_components(gt)
    return seg, gt.astype(np.uint8) if protocol == "released" else gt


@pytest.mark.parametrize("protocol", ["strict", "paper", "released"])
@pytest.mark.parametrize("convention", ["cremi", "skimage"])
def test_sections_are_scored_one_by_one_and_averaged(pair, protocol, convention):
    seg, gt = pair
    gt = gt * np.uint64(20)
    report = evaluate_segmentation(volume(seg), volume(gt), protocol, convention)
    expected = []
    for z in range(len(gt)):
        section_seg, section_gt = prepared(protocol, seg[z, :12, :12], gt[z, :12, :12])
        expected.append(
            (
                *reference_voi(section_gt, section_seg),
                reference_rand(section_gt, section_seg, convention)[0],
            )
        )
    crop = evaluate_segmentation(
        volume(seg[:, :12, :12]), volume(gt[:, :12, :12]), protocol, convention
    )
    got = [(s.voi_split, s.voi_merge, s.arand) for _, s in crop.sections]
    np.testing.assert_allclose(got, expected, rtol=0, atol=1e-12)
    assert [z for z, _ in report.sections] == [0, 1, 2, 3, 4]
    vois = [section.voi for _, section in report.sections]
    assert report.scores.voi == pytest.approx(statistics.fmean(vois))
    assert report.sd.voi == pytest.approx(np.std(vois, ddof=1))


@pytest.mark.parametrize("slab_bytes", [1, 700, 5000, 10**9])
@pytest.mark.parametrize("chunk", [(1, 30, 33), (2, 7, 11), (5, 30, 33)])
def test_slabs_do_not_change_a_bit(pair, slab_bytes, chunk, monkeypatch):
    seg, gt = volume(pair[0]), volume(pair[1])
    whole = evaluate_protocols(seg, gt, PROTOCOLS)
    seg.chunk_shape = gt.chunk_shape = chunk
    slabs = []

    def small_slabs(*volumes):
        slabs.extend(iter_slabs(*volumes, slab_bytes=slab_bytes))
        return slabs

    monkeypatch.setattr(protocols_module, "iter_slabs", small_slabs)
    assert evaluate_protocols(seg, gt, PROTOCOLS) == whole
    assert len(slabs) > 1 or slab_bytes == 10**9, "test invalid: everything fits in one slab"


def test_a_perfect_3d_segmentation_scores_0_unless_ids_are_cast_to_uint8():
    gt = voronoi_labels((4, 64, 64), 300, seed=0, first_id=1)
    assert gt.max() > 255, "test invalid"
    seg = gt + np.uint64(2**40)
    reports = {r.protocol: r for r in evaluate_protocols(volume(seg), volume(gt), PROTOCOLS)}
    for protocol in ("volume", "strict", "paper"):
        assert reports[protocol].scores.voi == reports[protocol].scores.arand == 0
    assert reports["released"].scores.voi > 0.01
    assert reports["released"].ignored_fraction == pytest.approx((gt % 256 == 0).mean())
    assert (gt % 256 == 0).any(), "test invalid"


# An object that leaves the plane and comes back: two pieces of one 3-D id in the section.
#   gt   1 1 2 1 1      a 2-D segmenter can only say   1 1 2 3 3
def test_pieces_of_one_3d_object_are_a_split_under_paper_and_right_under_strict():
    gt, seg = volume([[[1, 1, 2, 1, 1]]]), volume([[[1, 1, 2, 3, 3]]])
    strict, paper = evaluate_protocols(seg, gt, ["strict", "paper"])
    assert strict.scores.voi == 0
    assert strict.gt_objects == strict.seg_objects == 3
    assert paper.scores.voi_split == pytest.approx(0.8)


# A 3-D segmentation that joins the two pieces elsewhere is right under strict as well.
def test_strict_relabels_the_segmentation_too():
    both = volume([[[1, 1, 2, 1, 1]]])
    assert evaluate_segmentation(both, both, "strict").scores.voi == 0


def test_a_wrong_join_in_the_plane_counts_under_strict():
    report = evaluate_segmentation(volume([[[5, 5, 5, 5]]]), volume([[[1, 1, 2, 2]]]), "strict")
    assert report.scores.voi_merge == 1.0


def test_a_section_without_ground_truth_is_left_out():
    gt = np.array([[[1, 2]], [[0, 0]], [[1, 2]]])
    seg = np.array([[[1, 2]], [[1, 1]], [[1, 1]]])
    report = evaluate_segmentation(volume(seg), volume(gt), "paper")
    assert [z for z, _ in report.sections] == [0, 2]
    assert report.scores.voi == 0.5
    assert report.ignored_fraction == pytest.approx(1 / 3)


def test_a_report_is_json_with_stable_keys():
    gt = volume([[[1, 2]], [[1, 1]]])
    report = evaluate_segmentation(gt, gt, "strict").to_dict()
    assert json.loads(json.dumps(report)) == report
    assert list(report) == [
        *("protocol", "convention"),
        *("voi_split", "voi_merge", "voi", "arand", "cremi_score", "precision", "recall"),
        *("sd", "sections", "voxels", "ignored_fraction", "gt_objects", "seg_objects"),
    ]
    assert report["sections"][1]["z"] == 1


def test_progress_ends_at_the_total(pair):
    seen = []
    evaluate_segmentation(volume(pair[0]), volume(pair[1]), progress=lambda *a: seen.append(a))
    assert seen[-1][0] == seen[-1][1] == len(seen)


def test_names_are_checked_before_anything_is_read():
    with pytest.raises(UsageError, match="unknown protocol '2d'; choose from volume, strict"):
        evaluate_segmentation(
            volume(np.ones((1, 1, 1), int)), volume(np.ones((1, 1, 1), int)), "2d"
        )
    with pytest.raises(UsageError, match="unknown convention 'isbi'"):
        evaluate_segmentation(
            volume(np.ones((1, 1, 1), int)), volume(np.ones((1, 1, 1), int)), "volume", "isbi"
        )


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_ground_truth_that_is_all_background_is_refused(protocol):
    gt = volume(np.full((1, 2, 2), 256 if protocol == "released" else 0), location="gt.h5")
    with pytest.raises(DataError, match=r"gt\.h5 holds no object"):
        evaluate_segmentation(volume(np.ones((1, 2, 2), int)), gt, protocol)


def test_negative_ids_are_refused_with_the_place():
    with pytest.raises(DataError, match=r"a\.tif holds the negative id -1"):
        evaluate_segmentation(volume([[[1, -1]]], location="a.tif"), volume([[[1, 1]]]), "strict")


@pytest.mark.parametrize(
    ("shape", "chunk", "slab_bytes", "expected"),
    [
        ((10, 8, 4), (1, 8), 10**6, (10, 8, 4)),
        ((10, 8, 4), (2, 8), 8 * 4 * 5, (4, 8, 4)),  # two layers of chunks fit, a fifth section not
        ((10, 8, 4), (5, 2), 5 * 4 * 4, (5, 4, 4)),  # a layer does not fit: strips of whole chunks
        ((10, 8, 4), (10, 8), 8 * 4 * 3, (3, 8, 4)),  # one chunk is too large: some of its sections
        ((10, 8, 4), (10, 8), 1, (1, 8, 4)),
    ],
)
def test_slabs_are_whole_chunks_as_long_as_they_fit(shape, chunk, slab_bytes, expected):
    assert slab_shape(shape, chunk, 1, slab_bytes) == expected
