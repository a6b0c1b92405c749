"""`emds adapt` as it is typed: a table and a new file, or exit code 3 and no file."""

import json
import signal

import numpy as np
import pytest
import tifffile

from emds.networks.checkpoint import load_checkpoint

ADAPT = ("adapt", "model.pt", "noisy.tif", "--device", "cpu", "--steps", "6", "--lr", "0.02")


@pytest.fixture
def noisy_place(place):
    """Return the folder of inputs with a noisy.tif in it, as wide as the picture."""
    raw = tifffile.imread(place / "raw.tif").astype(float)
    noise = np.random.default_rng(0).normal(0, 30, raw.shape)
    values = np.clip(np.rint(raw + noise), 0, 255).astype(np.uint8)
    tifffile.imwrite(place / "noisy.tif", values, photometric="minisblack")
    return place


def names(folder):
    return {path.name for path in folder.iterdir()}


def test_it_prints_both_errors_and_writes_a_checkpoint_that_denoises(noisy_place, emds, emds_ok):
    before = (noisy_place / "model.pt").read_bytes()
    outcome = emds(*ADAPT)
    assert outcome.code == 0, outcome
    table = {line[:13].strip(): line[13:].split()[0] for line in outcome.stdout.splitlines()}
    assert float(table["error after"]) < float(table["error before"])
    assert float(table["sections"]) == 4
    assert "wrote model_adapted.pt" in outcome.stderr
    assert (noisy_place / "model.pt").read_bytes() == before
    score = load_checkpoint(noisy_place / "model_adapted.pt").adaptation["score"]
    assert score["difference"] == pytest.approx(float(table["difference"]), abs=1e-3)
    denoise = ("denoise", "noisy.tif", "--checkpoint", "model_adapted.pt", "--device", "cpu")
    emds_ok(*denoise, "--out", "clean.zarr")
    assert json.loads(emds_ok("info", "model_adapted.pt", "--json"))


def test_without_a_gain_there_is_an_exit_code_and_no_file(noisy_place, emds, emds_fails):
    assert emds(*ADAPT, "--out", "good.pt").code == 0
    before = names(noisy_place)
    worse = ("adapt", "good.pt", "noisy.tif", "--device", "cpu", "--steps", "2", "--lr", "1")
    assert "good.pt gains nothing from" in emds_fails(3, *worse, "--out", "worse.pt")
    assert names(noisy_place) == before


def test_stopped_by_a_signal_it_says_how_to_go_on(noisy_place, emds, emds_fails, monkeypatch):
    before = names(noisy_place)

    def stopping(sampler, start, steps, device):
        for step in range(start, steps):
            if step == 2:
                signal.raise_signal(signal.SIGTERM)
            yield sampler.batch(step)

    short = (*ADAPT, "--out", "new.pt")
    with monkeypatch.context() as patched:
        patched.setattr("emds.training.adaptation.iter_batches", stopping)
        assert "Continue with --resume" in emds_fails(75, *short)
    assert not (noisy_place / "new.pt").exists()
    assert emds(*short, "--resume").code == 0
    assert names(noisy_place) == before | {"new.pt"}


@pytest.mark.parametrize(
    ("code", "changed", "hint"),
    [
        (2, ("--held-out", "0:99"), "--held-out"),
        (2, ("--out", "model.pt", "--overwrite"), "never replaced"),
        (2, ("--resume",), "nothing to resume"),
        (3, ("--roi", "0:4"), "left to learn from"),
        (4, ("--out", "noisy.tif"), "--overwrite"),
    ],
)
def test_what_cannot_be_adapted_is_refused(noisy_place, emds_fails, code, changed, hint):
    before = names(noisy_place)
    assert hint in emds_fails(code, *ADAPT, *changed)
    assert names(noisy_place) == before
