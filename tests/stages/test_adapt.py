"""``adapt`` end to end on a toy volume: what it writes can be run, what is worse is not kept."""

import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import gaussian_filter, uniform_filter

from emds.demo.phantom import make_phantom
from emds.errors import (
    CheckpointError,
    ConfigError,
    DataError,
    InterruptedRunError,
    NoGainError,
    OutputExistsError,
    UsageError,
)
from emds.geometry import Roi
from emds.io import MemoryVolume, open_volume
from emds.networks.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from emds.networks.joint import Architecture
from emds.noise import Film, add_noise
from emds.stages.adapt import _sampler, adapt
from emds.stages.adapt_plan import AdaptOptions, plan_adaptation
from emds.stages.inference import run
from emds.stages.plan import InferenceOptions

OFFSETS = ((0, -1, 0), (0, 0, -1), (0, -3, 0), (0, 0, -3))
OPTIONS = AdaptOptions(steps=12, lr=0.01, held_out=(6, 10), device="cpu")


@pytest.fixture(scope="module")
def noisy():
    """Return a phantom with noise that is correlated along rows."""
    raw = gaussian_filter(make_phantom((10, 64, 72), seed=1)[0].astype(float), 1.2)
    noise = np.random.default_rng(0).normal(0, 1, raw.shape)
    noise = uniform_filter(noise, (0, 0, 3)) * 30 * np.sqrt(3)
    values = np.clip(np.rint(raw + noise), 0, 255).astype(np.uint8)
    return MemoryVolume(values, location="noisy.tif")


def write_checkpoint(path, networks=("denoiser", "segmenter", "fusion"), **changes):
    torch.manual_seed(0)
    architecture = Architecture(
        networks=networks, width="tiny", window=32, affinity_channels=len(OFFSETS), **changes
    )
    network = architecture.build()
    network(torch.randn(4, architecture.in_slices, 32, 32))
    segmenting = "segmenter" in networks
    checkpoint = Checkpoint(
        architecture=architecture.to_dict(),
        weights=network.state_dict(),
        offsets=OFFSETS if segmenting else (),
        attractive=(True, True, False, False) if segmenting else (),
        crop=32,
        recipe="joint" if segmenting else "dn_only",
        metrics={"psnr": 20.0},
        license="CC0-1.0",
    )
    save_checkpoint(checkpoint, path)
    return path


@pytest.fixture
def model(tmp_path):
    return write_checkpoint(tmp_path / "model.pt")


def test_a_gain_is_written_with_its_history_and_can_be_run(tmp_path, model, noisy):
    found = adapt(model, noisy, out=tmp_path / "new.pt", options=OPTIONS)
    assert found.is_better
    assert found.difference == pytest.approx((found.after - found.before).mean())
    assert len(found.before) == 4
    parent, child = load_checkpoint(model), load_checkpoint(tmp_path / "new.pt")
    moved = [n for n in parent.weights if not torch.equal(parent.weights[n], child.weights[n])]
    assert {name.split(".")[0] for name in moved} == {"denoiser", "fusion"}
    history = child.adaptation
    assert history["score"]["after"] < history["score"]["before"]
    assert history["held_out"] == [6, 10]
    assert history["reach"] == [0, 0, 2]
    assert history["noise"]["length"] == pytest.approx(3, abs=0.4)
    assert len(history["parent"]["sha256"]) == len(history["volume"]) == 64
    assert (child.license, child.metrics, child.recipe) == ("CC0-1.0", {}, "joint")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["model.pt", "new.pt"]
    options = InferenceOptions(device="cpu", tile=(1, 32, 32), overlap=(0, 8, 8))
    out = run(noisy, tmp_path / "new.pt", out=tmp_path / "seg.zarr", options=options)
    assert open_volume(out, role="labels").read().min() >= 1


def test_what_is_worse_is_refused_and_nothing_is_left(tmp_path, model, noisy):
    good = tmp_path / "good.pt"
    adapt(model, noisy, out=good, options=OPTIONS)
    worse = replace(OPTIONS, steps=2, lr=1.0)
    with pytest.raises(NoGainError, match="No checkpoint was written") as caught:
        adapt(good, noisy, out=tmp_path / "new.pt", options=worse)
    assert "95 % interval" in str(caught.value)
    assert caught.value.exit_code == 3
    assert sorted(path.name for path in tmp_path.iterdir()) == ["good.pt", "model.pt"]


def test_stopped_and_resumed_it_writes_the_same_weights(tmp_path, model, noisy):
    adapt(model, noisy, out=tmp_path / "whole.pt", options=OPTIONS)

    def stop(done, total, what):
        if what.startswith("adapt"):
            signal.raise_signal(signal.SIGTERM)

    out = tmp_path / "new.pt"
    with pytest.raises(InterruptedRunError, match="step 10 of 12"):
        adapt(model, noisy, out=out, options=OPTIONS, progress=stop)
    assert not out.exists()
    with pytest.raises(OutputExistsError, match="--resume"):
        adapt(model, noisy, out=out, options=OPTIONS)
    other = replace(OPTIONS, seed=1)
    with pytest.raises(ConfigError, match=r"settings\.seed"):
        adapt(model, noisy, out=out, options=other, resume=True)
    adapt(model, noisy, out=out, options=OPTIONS, resume=True)
    whole, resumed = load_checkpoint(tmp_path / "whole.pt"), load_checkpoint(out)
    assert resumed.adaptation == whole.adaptation
    for name, weights in whole.weights.items():
        assert torch.equal(resumed.weights[name], weights), name


def test_nothing_is_learnt_from_the_held_out_sections(tmp_path, noisy):
    model = write_checkpoint(tmp_path / "model.pt", in_slices=3, out_slices=3)
    options = AdaptOptions(held_out=(3, 7), roi=Roi((0, 0, 0), (10, 64, 72)))
    plan = plan_adaptation(model, noisy, options, lambda *_: None)
    assert plan.starts == (0, 7)
    assert plan.slices == (3, 3)
    values = np.minimum(noisy.read(noisy.roi), 200)
    values[3:7] = 255
    marked = _sampler(MemoryVolume(values), plan)
    brightest = plan.intensity.to_network(np.float32(200))
    for step in range(20):
        batch = marked.batch(step)
        assert max(batch.hidden.max(), batch.noisy.max()) <= brightest


def test_a_third_of_the_sections_is_held_out_unless_said(tmp_path, model, noisy):
    plan = plan_adaptation(model, noisy, AdaptOptions(), lambda *_: None)
    assert plan.held_out == (6, 10)
    assert plan.starts == tuple(range(6))


def test_a_denoiser_alone_can_be_adapted(tmp_path, noisy):
    model = write_checkpoint(tmp_path / "dn.pt", ("denoiser",))
    assert adapt(model, noisy, out=tmp_path / "new.pt", options=OPTIONS).is_better


def test_a_model_that_makes_no_image_is_refused(tmp_path, noisy):
    model = write_checkpoint(tmp_path / "seg.pt", ("segmenter",))
    with pytest.raises(CheckpointError, match="makes no image"):
        adapt(model, noisy, out=tmp_path / "new.pt", options=OPTIONS)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        (AdaptOptions(held_out=(8, 12)), UsageError, "sections of the region, 0:10"),
        (AdaptOptions(held_out=(8, 10)), UsageError, "at least 4 sections"),
        (AdaptOptions(held_out=(0, 10)), DataError, "left to learn from"),
        (AdaptOptions(roi=Roi((0, 0, 0), (3, 64, 64))), DataError, "left to learn from"),
        (AdaptOptions(roi=Roi((0, 0, 0), (10, 30, 64))), DataError, "voxels wide along y and x"),
    ],
)
def test_a_plan_that_cannot_work_is_refused(tmp_path, model, noisy, options, error, words):
    with pytest.raises(error, match=words):
        adapt(model, noisy, out=tmp_path / "new.pt", options=options)
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_film_grain_is_refused(tmp_path, model):
    """Predicting hidden places better made images worse there."""
    raw = gaussian_filter(make_phantom((12, 96, 96), seed=1)[0].astype(float), 1.2)
    grain = add_noise(np.rint(raw).astype(np.uint8), Film(), seed=0)
    with pytest.raises(DataError, match="film grain"):
        adapt(model, MemoryVolume(grain), out=tmp_path / "new.pt", options=OPTIONS)
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


def test_what_is_there_is_not_replaced_unasked(tmp_path, model, noisy):
    (tmp_path / "new.pt").write_text("thesis")
    with pytest.raises(OutputExistsError, match="--overwrite"):
        adapt(model, noisy, out=tmp_path / "new.pt", options=OPTIONS)
    with pytest.raises(UsageError, match="never replaced"):
        adapt(model, noisy, out=model, options=OPTIONS, overwrite=True)
    with pytest.raises(UsageError, match="nothing to resume"):
        adapt(model, noisy, out=tmp_path / "other.pt", options=OPTIONS, resume=True)
    (tmp_path / "third.pt.partial").mkdir()
    (tmp_path / "third.pt.partial" / "thesis.txt").write_text("all of it")
    with pytest.raises(OutputExistsError, match="in the way"):
        adapt(model, noisy, out=tmp_path / "third.pt", options=OPTIONS, overwrite=True)
    assert (tmp_path / "new.pt").read_text() == "thesis"
