"""What is tuned is what a run does, a gain is found where there is one, and luck is not stored."""

from __future__ import annotations

import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from small_runs import BLOCK, OFFSETS, PREDICTING, write_checkpoint, write_grey

from emds.errors import DataError, OutputExistsError, UsageError
from emds.geometry import Roi
from emds.io import MemoryVolume, open_volume
from emds.io.volume import CroppedVolume
from emds.metrics import SegmentationScores, evaluate_segmentation
from emds.networks.checkpoint import load_checkpoint, save_checkpoint
from emds.segmentation.affinities import AffinitySpec, affinities_from_labels
from emds.segmentation.settings import LabelSettings
from emds.stages import predict, tune, tuning_report
from emds.stages.inference import segment
from emds.stages.trials import Judge, Trial

SHAPE = (36, 24, 16)
WRONG = (0, 0, 0, 6, 6, 6)  # mutexes are not believed
BIAS = (0.5, -1.0, -1.0, 1.5, -0.5, -0.5)


def labels_in(out):
    return open_volume(out, role="labels").read()


def cells(shape=SHAPE, spacing=8):
    """Boxes that fill the volume, ids from 1."""
    z, y, x = np.indices(shape) // spacing
    return (1 + x + 10 * y + 100 * z).astype(np.uint32)


class Oracle:
    """A network that knows the labels, but for a bias in its logits that it should not have."""

    batch_size, halo = 4, 0

    def __init__(self, truth, offsets, wrong, noise):
        same, valid = affinities_from_labels(truth, offsets)
        rng = np.random.default_rng(0)
        logits = np.where(same | ~valid, 3.0, -3.0) + rng.normal(0, noise, same.shape)
        logits += np.reshape(wrong, (-1, 1, 1, 1))
        self.affinities = (1 / (1 + np.exp(-logits))).astype(np.float32)
        self.channels = len(offsets)

    def __call__(self, tiles):
        """Find each tile by its voxels, which hold their own place."""
        n, _, height, width = tiles.shape
        values = np.zeros((n, self.channels, 1, height, width), np.float32)
        flat = self.affinities.reshape(self.channels, -1)
        for tile, places in zip(values, tiles):
            tile[:] = flat[:, np.rint(places).astype(int)]
        return values


@pytest.fixture
def oracle(tmp_path, monkeypatch):
    """Return a function that makes a checkpoint, a volume and labels, for a wrong bias."""

    def make(wrong, noise=2.0, **fields):
        path = write_checkpoint(tmp_path / "model.pt")
        channels = {key: fields.pop(key) for key in ("offsets", "attractive") if key in fields}
        labels = LabelSettings(**({"mutex_strides": (1, 1, 1)} | fields))
        update = {"labels": labels, **channels}
        save_checkpoint(load_checkpoint(path).model_copy(update=update), path)
        predictor = Oracle(cells(), channels.get("offsets", OFFSETS), wrong, noise)
        for module in (predict, tune):
            monkeypatch.setattr(module, "make_predictor", lambda job, worker: predictor)
        places = np.arange(np.prod(SHAPE), dtype=np.float32).reshape(SHAPE)
        return path, MemoryVolume(places), MemoryVolume(cells())

    return make


OPTIONS = replace(PREDICTING, intensity=(0, 255), mutex_strides=None, min_size=None)


def bring(make, **how):
    path, volume, truth = make
    return tune.tune(path, volume, truth, options=OPTIONS, **how)


@pytest.mark.parametrize("roi", [None, Roi((3, 5, 1), (20, 19, 14))])
@pytest.mark.parametrize("block", [BLOCK, (36, 24, 16)])
def test_a_run_makes_the_very_labels_that_were_scored(tmp_path, roi, block):
    path = write_checkpoint(tmp_path / "model.pt")
    setting = LabelSettings((1, 2, 2), 40, BIAS)
    model = load_checkpoint(path)
    spec = AffinitySpec(model.offsets, model.attractive)
    tuned = {"labels": setting}
    save_checkpoint(model.model_copy(update=tuned), tmp_path / "tuned.pt")
    options = replace(
        PREDICTING,
        roi=roi,
        mutex_strides=None,
        min_size=None,
        block_shape=block,
        label_block_shape=block,
    )
    with open_volume(write_grey(tmp_path / "grey.zarr")) as grey:
        region = roi or grey.roi
        request = tune.Request("segment", "grey", str(path), None, replace(options, roi=region))
        affinities = tune._predict(tune.prepare(request, grey, None), lambda *_: None)
        truth = MemoryVolume(np.ones(region.shape, np.uint8))
        judge = Judge([affinities], spec, truth, region.offset, "voi")
        expected = judge.labels(setting)
        others = {
            "bias": judge.labels(replace(setting, bias=(0.0,) * spec.channels)),
            "min_size": judge.labels(replace(setting, min_size=0)),
            "mutex_strides": judge.labels(replace(setting, mutex_strides=(1, 1, 1))),
        }
        out = segment(
            grey,
            tmp_path / "tuned.pt",
            out=tmp_path / "seg.zarr",
            options=options,
            keep_affinities=True,
        )
    for name, labels in others.items():
        assert (expected != labels).any(), f"test invalid: {name} changes nothing"
    np.testing.assert_array_equal(labels_in(out), expected)
    # The bias is in the affinities that were kept, and is not added once more.
    kept = open_volume(out, role="affinities")
    again = segment(kept, None, out=tmp_path / "again.zarr")
    np.testing.assert_array_equal(labels_in(again), expected)


def test_a_wrong_bias_is_put_right(oracle):
    report = bring(oracle(WRONG))
    assert (report.protocol, report.part_name) == ("volume", "columns")
    assert report.best.scores.voi < report.start.scores.voi - 0.3
    assert report.is_gain
    assert report.chosen is report.best
    assert report.best.setting.bias[4] < 0
    tuned = load_checkpoint(Path(report.out))
    assert tuned.labels.bias == report.best.setting.bias
    assert tuned.labels.mutex_strides == report.best.setting.mutex_strides
    assert tuned.labels.min_size == report.best.setting.min_size
    record = tuned.metrics["tuning"]
    assert record["kept_start"] is False
    assert record["start"]["voi"] == report.start.scores.voi
    assert record["best"]["voi"] == report.best.scores.voi
    low, high = record["held_out_gain"]["interval"]
    assert 0 < low < record["held_out_gain"]["mean"] < high


def test_the_labels_of_the_tuned_checkpoint_score_what_was_said(oracle, tmp_path):
    path, volume, truth = oracle(WRONG)
    report = tune.tune(path, volume, truth, options=OPTIONS)
    assert report.out == str(path.with_name("model_tuned.pt"))
    out = segment(volume, Path(report.out), out=tmp_path / "seg.zarr", options=OPTIONS)
    scores = evaluate_segmentation(MemoryVolume(labels_in(out)), truth, "volume").scores
    assert scores == report.chosen.scores


def test_where_nothing_can_be_gained_the_start_is_kept(oracle):
    report = bring(oracle((0,) * 6, noise=1.0, min_size=30))
    assert report.start.scores.voi == 0
    assert report.chosen is report.start is report.best
    tuned = load_checkpoint(Path(report.out))
    assert tuned.labels == LabelSettings((1, 1, 1), 30)
    assert tuned.metrics["tuning"]["kept_start"] is True


def test_luck_is_not_stored(oracle, monkeypatch):
    def by_luck(judge, setting):
        parts = np.random.default_rng([1, zlib.crc32(repr(setting).encode())]).normal(2, 0.3, 16)
        return Trial(setting, SegmentationScores(*[float(parts.mean())] * 7), tuple(parts))

    monkeypatch.setattr(Judge, "__call__", by_luck)
    report = bring(oracle((0,) * 6))
    assert min(trial.scores.voi for trial in report.trials) < report.start.scores.voi
    assert report.chosen is report.start


@pytest.mark.parametrize(
    ("spread", "moves"),
    [
        # Each step gains 0.01 on each of 16 columns: that cannot be chance.
        (0.0, True),
        # On half of the columns it gains 1.01, on the others it loses 0.99.
        (1.0, False),
    ],
)
def test_a_step_is_taken_if_its_gain_lies_beyond_chance(oracle, monkeypatch, spread, moves):
    """A score that falls with the smallest segment, and parts that agree with it, or hardly do."""
    ladder = sorted({0, 25, 50, 100, 200, 400, 800, 1600, 3200})

    def judged(judge, setting):
        rung = ladder.index(setting.min_size)
        signs = np.where(np.arange(16) % 2, 1, -1) * spread * rung
        parts = 2 - 0.01 * rung + signs
        return Trial(setting, SegmentationScores(*[2 - 0.01 * rung] * 7), tuple(parts))

    monkeypatch.setattr(Judge, "__call__", judged)
    report = bring(oracle((0,) * 6))
    assert report.best.setting.min_size == (3200 if moves else 0)
    assert (report.best is report.start) is not moves


def test_what_does_not_pay_elsewhere_is_told_and_not_stored(oracle, monkeypatch):
    monkeypatch.setattr(tuning_report, "held_out_gains", lambda scores: np.zeros(16))
    report = bring(oracle(WRONG))
    assert report.best.scores.voi < report.start.scores.voi
    tuned = load_checkpoint(Path(report.out))
    assert tuned.labels == LabelSettings((1, 1, 1), 0)
    assert tuned.metrics["tuning"]["best"]["voi"] == report.best.scores.voi
    assert tuned.metrics["tuning"]["kept_start"] is True
    assert "the start is kept" in report.summary()[-1]


@pytest.mark.parametrize("metric", ["voi", "arand"])
def test_a_column_says_what_the_score_of_the_volume_owes_to_it(metric):
    """Labels of two images at random, and each column left out by calling it background."""
    spec = AffinitySpec(((-1, 0, 0), (0, 0, -1)), (True, False))
    rng = np.random.default_rng(0)
    truth = np.repeat(rng.integers(0, 4, (3, 10, 1)), 12, axis=2).astype(np.uint64)
    truth[:, :3, :3] = 0  # the first column is not asked
    images = [rng.integers(1, 6, truth.shape).astype(np.uint64) for _ in range(2)]
    values = [np.zeros((2, *truth.shape), np.float32)] * 2
    judge = Judge(values, spec, MemoryVolume(truth), (0, 0, 0), metric)
    judge.labels = lambda setting, image: images[image]
    trial = judge(LabelSettings((1, 1, 1), 0, (0.0, 0.0)))

    def score(kept):
        reports = [
            evaluate_segmentation(MemoryVolume(labels), MemoryVolume(kept), "volume")
            for labels in images
        ]
        return np.mean([getattr(report.scores, metric) for report in reports])

    whole, expected = score(truth), []
    for y, x in list(np.ndindex(4, 4))[1:]:
        without = truth.copy()
        without[:, 3 * y : 3 * y + 3, 3 * x : 3 * x + 3] = 0
        expected.append(15 * whole - 14 * score(without))
    assert getattr(trial.scores, metric) == pytest.approx(whole)
    np.testing.assert_allclose(trial.parts, expected)


def test_more_images_of_the_place_are_judged_together(oracle, tmp_path):
    path, volume, truth = oracle(WRONG)
    alone = tune.tune(path, volume, truth, options=OPTIONS)
    # The network of this test knows a voxel by its grey value: this one shows it another place.
    other = MemoryVolume(volume.read()[::-1].copy(), location="other")
    both = tune.tune(path, volume, truth, also=[other], options=OPTIONS, out=tmp_path / "both.pt")
    second = tune.tune(path, other, truth, options=OPTIONS, out=tmp_path / "other.pt")
    mean = (alone.start.scores.voi + second.start.scores.voi) / 2
    assert both.start.scores.voi == pytest.approx(mean)
    np.testing.assert_allclose(
        both.start.parts, np.mean([alone.start.parts, second.start.parts], axis=0)
    )
    assert len(load_checkpoint(tmp_path / "both.pt").metrics["tuning"]["volumes"]) == 2
    part = MemoryVolume(volume.read()[1:], location="part")
    with pytest.raises(DataError, match=r"--also part is \(35, 24, 16\)"):
        tune.tune(path, volume, truth, also=[part], options=OPTIONS, overwrite=True)


def test_planar_offsets_are_scored_section_by_section(oracle):
    offsets = ((0, -1, 0), (0, 0, -1), (0, -3, 0), (0, 0, -3), (0, -4, 0), (0, 0, -4))
    attractive = (True, True, False, False, False, False)
    report = bring(oracle((0, 0, 6, 6, 6, 6), offsets=offsets, attractive=attractive))
    assert (report.protocol, report.part_name) == ("strict", "sections")
    assert list(report.groups) == ["mutex"]
    assert len(report.best.parts) == SHAPE[0]
    assert np.mean(report.best.parts) == pytest.approx(report.best.scores.voi)
    assert report.is_gain
    assert {trial.setting.mutex_strides[0] for trial in report.trials} == {1}


def test_the_metric_that_is_asked_for_is_made_small(oracle):
    report = bring(oracle(WRONG), metric="arand")
    assert report.best.scores.arand < report.start.scores.arand
    assert report.metric == "arand"


def test_the_same_again_gives_the_same(oracle):
    made = oracle(WRONG)
    assert bring(made).to_dict() == bring(made, overwrite=True).to_dict()


def test_labels_of_a_part_are_laid_on_the_volume_where_they_belong(oracle):
    path, volume, truth = oracle(WRONG)
    box = Roi((4, 2, 2), (24, 22, 14))
    part = CroppedVolume(truth, box)
    report = tune.tune(path, volume, part, options=OPTIONS)
    inside = tune.tune(
        path, volume, truth, options=replace(OPTIONS, roi=box), out=path.with_name("roi.pt")
    )
    assert "the place of the ground truth" in report.notes[0]
    assert [trial.parts for trial in report.trials] == [trial.parts for trial in inside.trials]
    with pytest.raises(UsageError, match=r"must lie where .* has ground truth, \(4, 2, 2\)"):
        tune.tune(
            path,
            volume,
            part,
            options=replace(OPTIONS, roi=Roi((0, 2, 2), (24, 22, 14))),
            overwrite=True,
        )


def test_what_is_there_is_not_replaced_unasked(oracle):
    made = oracle((0,) * 6)
    target = made[0].with_name("model_tuned.pt")
    target.write_bytes(b"mine")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        bring(made)
    assert target.read_bytes() == b"mine"
    bring(made, overwrite=True)
    assert load_checkpoint(target).metrics["tuning"]


def test_too_few_witnesses_are_refused(oracle):
    path, volume, truth = oracle((0,) * 6)
    sparse = truth.read()
    sparse[:, 6:] = 0
    sparse[:, :, 12:] = 0
    with pytest.raises(DataError, match=r"at least 4 columns .* has 3\."):
        tune.tune(path, volume, MemoryVolume(sparse), options=OPTIONS)
    assert not path.with_name("model_tuned.pt").exists()


def test_a_region_too_large_for_the_memory_is_refused_before_any_work(oracle):
    made = oracle((0,) * 6)
    with pytest.raises(UsageError, match="--roi"):
        tune.tune(*made, options=replace(OPTIONS, max_memory=10**5))


def test_a_row_for_each_trial(oracle):
    report = bring(oracle(WRONG))
    rows = report.rows()
    assert len(rows) == len(report.trials)
    assert {len(row) for row in rows} == {len(report.columns())}
    assert rows[0][-1] == "start"
    assert [row[-1] for row in rows].count("best") == 1
    assert rows[0][:5] == ("1 1 1", "0", "+0", "+0", "+0")
    assert "the best is taken" in report.summary()[-1]


def test_a_bias_in_the_checkpoint_is_where_the_walk_begins(oracle):
    report = bring(oracle(WRONG, bias=(0.25, 0.0, 0.0, -6.0, -6.0, -6.0)))
    assert report.start.setting.bias == (0.25, 0.0, 0.0, -6.0, -6.0, -6.0)
    assert report.start.scores.voi < 0.3
