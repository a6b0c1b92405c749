from __future__ import annotations

import json

import numpy as np
import pytest

import emds
from emds.errors import DataError, UsageError
from emds.geometry import Roi
from emds.io.volume import CroppedVolume, MemoryVolume
from emds.stages.evaluate import evaluate

NM = (40.0, 4.0, 4.0)


@pytest.fixture
def labels():
    rng = np.random.default_rng(0)
    return np.repeat(np.repeat(rng.integers(0, 400, (4, 5, 6)), 5, axis=1), 5, axis=2)


@pytest.fixture
def images():
    rng = np.random.default_rng(1)
    clean = rng.integers(20, 200, (3, 24, 24)).astype(np.uint8)
    return clean + rng.integers(0, 20, clean.shape).astype(np.uint8), clean


def volume(values, **options):
    return MemoryVolume(np.asarray(values), **options)


def test_labels_and_images_in_one_report(labels, images):
    report = evaluate(
        volume(labels, location="seg"),
        volume(labels, location="gt"),
        denoised=volume(images[0], location="d"),
        clean=volume(images[1], location="c"),
        protocols=["all"],
    )
    values = report.to_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert list(values) == ["emds", "inputs", "shapes", "segmentation", "denoising", "notes"]
    assert values["emds"] == emds.__version__
    assert values["inputs"] == {
        **{"segmentation": "seg", "ground_truth": "gt"},
        **{"denoised": "d", "clean": "c"},
    }
    assert values["shapes"] == {"segmentation": [4, 25, 30], "denoising": [3, 24, 24]}
    assert list(values["segmentation"]) == ["volume", "strict", "paper", "released"]
    assert values["segmentation"]["strict"]["voi"] == 0
    # Ids of blocks of 25 pixels: in eight bits those that share a byte are one, 0 is no object.
    per_section = []
    for section in labels[:, ::5, ::5]:
        ids = np.unique(section[section % 256 > 0], return_counts=True)
        whole = np.bincount(ids[0] % 256, weights=ids[1])
        parts = [n / ids[1].sum() * np.log2(whole[i % 256] / n) for i, n in zip(*ids)]
        per_section.append(sum(parts))
    assert values["segmentation"]["released"]["voi"] == pytest.approx(np.mean(per_section))
    assert np.mean(per_section) > 0.01, "test invalid"
    squares = np.square(images[0].astype(float) - images[1]).mean(axis=(1, 2))
    psnr = np.mean(10 * np.log10(255**2 / squares))
    assert values["denoising"]["psnr"] == pytest.approx(psnr)
    assert values["notes"] == []


def test_defaults_and_table(labels):
    merged = np.where(labels == labels[0, 0, 0], labels[0, 0, 29], labels)
    report = evaluate(volume(merged), volume(labels))
    assert [one.protocol for one in report.segmentation] == ["volume", "strict"]
    assert report.to_dict()["denoising"] is None
    table = {name: (value, note) for name, value, note in report.rows()}
    value, note = table["volume: VOI merge"]
    # Two objects of a and b voxels became one, of n in all: H(a / (a + b)) (a + b) / n.
    a, b = (int((labels == labels[0, 0, x]).sum()) for x in (0, 29))
    share = a / (a + b)
    entropy = -share * np.log2(share) - (1 - share) * np.log2(1 - share)
    seen = int((labels > 0).sum())
    assert value == report.segmentation[0].scores.voi_merge
    assert value == pytest.approx(entropy * (a + b) / seen)
    assert note == "bits, H(gt | seg)"
    assert "over 4 sections" in table["strict: ARAND"][1]
    assert "convention cremi" in table["strict: ARAND"][1]
    assert "volume: ignored" in table


def test_a_protocol_named_twice_is_computed_once(labels):
    report = evaluate(volume(labels), volume(labels), protocols=["paper", "all", "paper"])
    assert [one.protocol for one in report.segmentation] == [
        *("paper", "volume", "strict", "released")
    ]


def test_table_of_images_names_range_and_convention(images):
    rows = evaluate(denoised=volume(images[0]), clean=volume(images[1])).rows()
    assert [name for name, _, _ in rows] == ["PSNR", "PSNR pooled", "SSIM (wang)", "SSIM (paper)"]
    assert "range 255" in rows[0][2]
    assert "over 3 sections" in rows[0][2]


def test_identical_images_are_null_with_a_note(images):
    report = evaluate(denoised=volume(images[1]), clean=volume(images[1]))
    assert report.rows()[0][1] is None
    assert report.to_dict()["denoising"]["psnr"] is None
    assert "3 of 3 sections equal the clean ones" in report.notes[0]


def test_a_result_for_a_region_is_compared_with_that_region(labels, images):
    gt = volume(labels, voxel_size=NM)
    seg = CroppedVolume(gt, Roi((1, 5, 5), (2, 20, 20)))
    clean = volume(images[1], voxel_size=NM)
    report = evaluate(
        seg, gt, denoised=CroppedVolume(clean, Roi((1, 0, 0), (2, 24, 24))), clean=clean
    )
    assert report.segmentation[0].scores.voi == 0
    assert report.shapes == {"segmentation": (2, 20, 20), "denoising": (2, 24, 24)}
    assert report.notes[0] == (
        "ground truth cut to z 1:3, y 5:25, x 5:25, the place of the segmentation"
    )
    assert report.notes[1].startswith("clean image cut to z 1:3")


def test_sparse_ground_truth_and_a_single_object_are_told(labels):
    gt = np.where(labels > 300, labels, 0)
    notes = evaluate(volume(np.ones_like(gt)), volume(gt), protocols=["volume"]).notes
    assert "of the voxels have ground truth 0 and were ignored" in notes[0]
    assert notes[1] == "volume: the segmentation holds a single object"


def test_images_of_different_types_are_told(images):
    report = evaluate(denoised=volume(images[0].astype(np.float32)), clean=volume(images[1]))
    assert report.notes == (
        "denoised values are float32, clean ones uint8: compared as they are, with a range of 255",
    )


ONES = np.ones((2, 3, 3), int)
HALVES = np.repeat([[[1, 1, 2]]], 2, axis=0).repeat(3, axis=1)


@pytest.mark.parametrize(
    ("seg", "gt", "message"),
    [
        (ONES * 1.5, HALVES, "segmentation memory must hold integer ids .* not float64"),
        (HALVES, HALVES.astype(np.float32), "ground truth memory must hold integer ids"),
        (np.stack([HALVES] * 3), HALVES, "3 channels of int64"),
        (HALVES, 0 * ONES, "ground truth memory holds no object"),
        (HALVES, ONES, "one id everywhere"),
        (0 * ONES, HALVES, "segmentation memory holds no object"),
        (HALVES[:1], HALVES, r"shape \(1, 3, 3\) .* has \(2, 3, 3\).*--roi"),
        (-HALVES, HALVES, "negative id -2"),
    ],
)
def test_what_cannot_be_scored_is_refused(seg, gt, message):
    with pytest.raises(DataError, match=message):
        evaluate(volume(seg), volume(gt))


def test_ids_that_fall_together_in_uint8_only_do_not_stop_the_others():
    gt = volume(HALVES * 256 - 255)  # 1 and 257
    reports = evaluate(gt, gt, protocols=["all"]).segmentation
    assert [one.gt_objects for one in reports] == [2, 4, 4, 2]


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"seg": volume(HALVES)},
        {"gt": volume(HALVES)},
        {"denoised": volume(HALVES)},
        {"clean": volume(HALVES)},
        {"seg": volume(HALVES), "gt": volume(HALVES), "protocols": []},
        {"seg": volume(HALVES), "gt": volume(HALVES), "protocols": ["3d"]},
    ],
)
def test_incomplete_requests_are_refused(arguments):
    with pytest.raises(UsageError):
        evaluate(**arguments)


def test_inputs_are_left_alone(labels):
    before = labels.copy()
    evaluate(volume(labels), volume(labels), protocols=["all"])
    np.testing.assert_array_equal(labels, before)
