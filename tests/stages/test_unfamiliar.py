"""Warnings of noise that a checkpoint never saw: said once, and only where it can be told."""

import logging
import os
import subprocess
import sys

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter
from small_runs import InterruptedHereError, interrupt_after

from emds.demo.phantom import make_phantom
from emds.geometry import Roi
from emds.io import create_volume
from emds.io.volume import MemoryVolume
from emds.networks.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from emds.networks.joint import Architecture
from emds.noise import Film, Gaussian, add_noise
from emds.stages.estimate_noise import estimate_noise
from emds.stages.execute import execute
from emds.stages.grey_values import sample_boxes
from emds.stages.job import Request, prepare
from emds.stages.plan import InferenceOptions
from emds.stages.seen_noise import FoundNoise
from emds.stages.unfamiliar import warn_if_unfamiliar

STRONG = {"kind": "gaussian-poisson", "sigma": [55, 85], "lam": [0.6, 0.8], "share": 2}
WEAK = {"kind": "gaussian-poisson", "sigma": [0, 55], "lam": [0.8, 4.0]}
FILM = {"kind": "film"}
OPTIONS = InferenceOptions(device="cpu", tile=(1, 16, 16), block_shape=(16, 32, 32))


@pytest.fixture(scope="module")
def clean():
    raw, _ = make_phantom((12, 96, 96), seed=1)
    return np.rint(gaussian_filter(raw.astype(np.float32), 1.2)).astype(np.uint8)


def blurred(clean, sigma):
    rng = np.random.default_rng(0)
    noise = gaussian_filter(rng.normal(0, 1, clean.shape), (0, 1.2, 1.2))
    return np.clip(np.rint(clean + noise * (sigma / noise.std())), 0, 255).astype(np.uint8)


def volume_with(clean, kind):
    if kind == "none":
        return clean
    if kind == "film":
        return add_noise(clean, Film(), seed=0)
    name, sigma = kind.split()
    if name == "blurred":
        return blurred(clean, float(sigma))
    return add_noise(clean, Gaussian(sigma=float(sigma)), seed=0)


def checkpoint_of(path, models, adaptation=None):
    architecture = Architecture(networks=("denoiser",), width="tiny", window=16)
    checkpoint = Checkpoint(
        architecture=architecture.to_dict(),
        weights=architecture.build().state_dict(),
        crop=16,
        recipe="dn_only",
        noise=models,
        adaptation=adaptation or {},
    )
    save_checkpoint(checkpoint, path)
    return path


def told(tmp_path, caplog, values, models, **changes):
    """Return what is said of these grey values."""
    path = checkpoint_of(tmp_path / "model.pt", models, **changes)
    request = Request("denoise", "noisy.tif", str(path), None, OPTIONS)
    with caplog.at_level(logging.WARNING, logger="emds"):
        warn_if_unfamiliar(prepare(request, MemoryVolume(values, location="noisy.tif"), None))
    return caplog.text


@pytest.mark.parametrize(
    ("kind", "models"),
    [
        ("gaussian 120", [STRONG, WEAK]),
        ("gaussian 8", [STRONG]),
        ("none", [STRONG]),
        ("film", [STRONG, WEAK]),
        ("blurred 40", [STRONG, WEAK]),
        ("blurred 60", [STRONG, WEAK, FILM]),
        ("gaussian 20", [FILM]),
    ],
)
def test_noise_that_was_never_seen_is_told(tmp_path, caplog, clean, kind, models):
    text = told(tmp_path, caplog, volume_with(clean, kind), models)
    assert "the noise of noisy.tif has a standard deviation of" in text
    assert models[0]["kind"] in text
    assert "emds adapt" in text
    assert "emds train" in text


@pytest.mark.parametrize(
    ("kind", "models"),
    [
        ("gaussian 70", [STRONG, WEAK]),
        ("gaussian 30", [STRONG, WEAK]),
        ("none", [STRONG, WEAK]),
        ("film", [STRONG, WEAK, FILM]),
        ("gaussian 120", []),
        ("gaussian 120", [{"kind": "of another emds", "strength": 7}]),
    ],
)
def test_noise_that_was_seen_or_cannot_be_told_is_passed_over(
    tmp_path, caplog, clean, kind, models
):
    assert told(tmp_path, caplog, volume_with(clean, kind), models) == ""


def test_too_few_voxels_tell_nothing(tmp_path, caplog):
    few = add_noise(np.full((1, 20, 20), 128, np.uint8), Gaussian(sigma=120), seed=0)
    assert told(tmp_path, caplog, few, [WEAK]) == ""


def test_a_checkpoint_that_was_adapted_knows_the_noise_of_its_volume(tmp_path, caplog, clean):
    values = blurred(clean, 60)
    model = load_checkpoint(checkpoint_of(tmp_path / "one.pt", [STRONG]))
    found = FoundNoise.of(estimate_noise(MemoryVolume(values)).estimate, model.intensity)
    assert "far from" in told(tmp_path, caplog, values, [STRONG]), "test invalid"
    caplog.clear()
    assert told(tmp_path, caplog, values, [STRONG], adaptation={"noise": found.to_dict()}) == ""


class OfChunks(MemoryVolume):
    def __init__(self, chunk_shape):
        super().__init__(np.broadcast_to(np.uint8(0), (1000, 20_000, 20_000)))
        self.chunk_shape = chunk_shape


def test_no_more_is_read_than_takes_no_time():
    whole = Roi.whole((1000, 20_000, 20_000))
    many = sample_boxes(OfChunks((16, 256, 256)), whole, 12)
    assert len(many) == 12
    assert all(whole.contains(box) for box in many)
    assert sample_boxes(OfChunks((1, 20_000, 20_000)), whole) == []


def write(path, values):
    with create_volume(path, shape=values.shape, dtype=np.uint8) as volume:
        volume.write(volume.roi, values)
    return path


def test_a_run_says_it_once_however_often_it_is_taken_up(tmp_path, caplog, clean):
    values = np.concatenate([volume_with(clean, "gaussian 120")] * 3)
    model = checkpoint_of(tmp_path / "model.pt", [WEAK])
    request = Request("denoise", "noisy.tif", str(model), None, OPTIONS)
    source, out = MemoryVolume(values, location="noisy.tif"), tmp_path / "out.zarr"
    with caplog.at_level(logging.WARNING, logger="emds"):
        with pytest.raises(InterruptedHereError):
            execute(request, source, None, out, progress=interrupt_after(2))
        execute(request, source, None, out, resume=True)
    assert caplog.text.count("the noise of") == 1


@pytest.mark.slow
def test_workers_do_not_repeat_it(tmp_path, clean):
    values = np.concatenate([volume_with(clean, "gaussian 120")[:, :32, :32]] * 3)
    noisy = write(tmp_path / "noisy.zarr", values)
    model = checkpoint_of(tmp_path / "model.pt", [WEAK])
    words = ("denoise", noisy, "-m", model, "-o", tmp_path / "out.zarr", "--device", "cpu")
    done = subprocess.run(
        [sys.executable, "-m", "emds", *map(str, words), "--workers", "2"],
        capture_output=True,
        text=True,
        check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.stderr.count("is far from what the checkpoint was trained on") == 1
