"""`emds tune` as it is typed: a table or one JSON object, a new file, and refusals."""

import json

import pytest

from emds.networks.checkpoint import load_checkpoint

TUNE = ("tune", "model.pt", "raw.tif", "labels.tif", "--roi", "0:5", "--device", "cpu")


def test_it_prints_what_it_tried_and_writes_a_checkpoint_beside(place, emds):
    before = (place / "model.pt").read_bytes()
    outcome = emds(*TUNE)
    assert outcome.code == 0, outcome
    heading, first, *_ = outcome.stdout.splitlines()
    assert " ".join(heading.split()) == "mutex strides min size mutex bias VOI split merge ARAND"
    assert first.split()[:5] == ["1", "2", "2", "0", "+0"]
    assert "start" in first
    assert "wrote model_tuned.pt" in outcome.stderr
    assert "cross-validated gain" in outcome.stderr
    assert (place / "model.pt").read_bytes() == before
    tuned = load_checkpoint(place / "model_tuned.pt")
    assert tuned.metrics["tuning"]["roi"] == {"offset": [0, 0, 0], "shape": [5, 64, 64]}


def test_it_prints_one_json_object(place, emds_ok):
    arguments = (*TUNE, "--also", "raw.tif", "--metric", "arand", "--out", "mine.pt", "--json")
    report = json.loads(emds_ok(*arguments))
    assert (report["protocol"], report["metric"], report["out"]) == ("strict", "arand", "mine.pt")
    assert report["best"]["arand"] <= report["start"]["arand"]
    tuned = load_checkpoint(place / "mine.pt")
    assert list(tuned.labels.mutex_strides) == report["chosen"]["mutex_strides"]
    assert len(tuned.metrics["tuning"]["volumes"]) == 2
    assert tuned.metrics["tuning"]["tried"] == len(report["trials"])
    assert emds_ok("info", "mine.pt", "--json")


@pytest.mark.parametrize(
    ("code", "changed", "hint"),
    [
        (3, ("--roi", "0:3"), "at least 4 sections"),
        (2, ("--roi", "0:99"), "--roi"),
        (4, ("--out", "model.pt"), "--overwrite"),
    ],
)
def test_what_cannot_be_tuned_is_refused(place, emds_fails, code, changed, hint):
    assert hint in emds_fails(code, *TUNE, *changed)
    assert not (place / "model_tuned.pt").exists()


def test_a_model_without_segmenter_is_refused(place, emds_fails, random_checkpoint):
    random_checkpoint(place / "dn.pt", ["denoiser"])
    assert "no segmenter" in emds_fails(3, "tune", "dn.pt", "raw.tif", "labels.tif")
