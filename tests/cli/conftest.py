"""A small clean stack with ground truth, a checkpoint with random weights, and `emds` itself."""

from __future__ import annotations

import shutil

import h5py
import numpy as np
import pytest
import tifffile
import torch
from typer.testing import CliRunner

from emds.cli.app import app
from emds.networks.checkpoint import Checkpoint, save_checkpoint
from emds.networks.joint import Architecture
from emds.segmentation.settings import LabelSettings

SHAPE = (8, 64, 64)
VOXEL_NM = (40.0, 8.0, 8.0)


def cells(shape, spacing=16, seed=0):
    """Return Voronoi cells, constant in z, ids 1..n."""
    rng = np.random.default_rng(seed)
    count = (shape[1] // spacing) * (shape[2] // spacing)
    seeds = rng.uniform(0, shape[1:], (count, 2))
    pixels = np.stack(np.mgrid[: shape[1], : shape[2]], axis=-1)
    distance = np.linalg.norm(pixels[:, :, None] - seeds, axis=-1)
    return np.repeat((distance.argmin(axis=-1) + 1)[None], shape[0], axis=0).astype(np.uint16)


def picture(labels, seed=0):
    """Return an image of the cells: bright inside, dark where two of them meet."""
    edge = np.zeros(labels.shape, bool)
    edge[:, :, 1:] |= labels[:, :, 1:] != labels[:, :, :-1]
    edge[:, 1:] |= labels[:, 1:] != labels[:, :-1]
    texture = np.random.default_rng(seed).normal(0, 4, labels.shape)
    return np.clip(np.where(edge, 70, 160) + texture, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Return a folder with raw.tif, labels.tif, gt.h5 (CREMI layout) and model.pt."""
    folder = tmp_path_factory.mktemp("inputs")
    labels = cells(SHAPE)
    raw = picture(labels)
    tifffile.imwrite(folder / "raw.tif", raw, photometric="minisblack")
    tifffile.imwrite(folder / "labels.tif", labels, photometric="minisblack")
    with h5py.File(folder / "gt.h5", "w") as file:
        ids = file.create_dataset("volumes/labels/neuron_ids", data=labels.astype(np.uint64))
        image = file.create_dataset("volumes/raw", data=raw)
        for dataset in (ids, image):
            dataset.attrs["resolution"] = VOXEL_NM
            dataset.attrs["offset"] = (0.0, 0.0, 0.0)
    save_random_checkpoint(folder / "model.pt")
    return folder


@pytest.fixture
def place(made, tmp_path, monkeypatch):
    """Return a folder of its own with copies of the inputs, and work in it."""
    shutil.copytree(made, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def save_random_checkpoint(path, networks=("denoiser", "segmenter", "fusion")):
    torch.manual_seed(0)
    offsets = ((0, -1, 0), (0, 0, -1), (0, -5, 0), (0, 0, -5))
    segmenting = "segmenter" in networks
    architecture = Architecture(
        networks=tuple(networks), width="tiny", affinity_channels=len(offsets), window=32
    )
    save_checkpoint(
        Checkpoint(
            architecture=architecture.to_dict(),
            weights=architecture.build().state_dict(),
            offsets=offsets if segmenting else (),
            attractive=(True, True, False, False) if segmenting else (),
            labels=LabelSettings((1, 2, 2)),
            crop=32,
            voxel_size=VOXEL_NM,
            recipe="joint" if len(networks) == 3 else "dn_only",
            license="CC0-1.0",
        ),
        path,
    )


@pytest.fixture
def random_checkpoint():
    """Return a function (path, networks) that saves a checkpoint."""
    return save_random_checkpoint


class Outcome:
    """What a call of the command line left: exit code, stdout, stderr."""

    def __init__(self, result):
        self.code = result.exit_code
        self.stdout = result.stdout
        self.stderr = result.stderr
        self.exception = result.exception

    def __repr__(self):
        return f"exit {self.code}\n--- stdout\n{self.stdout}\n--- stderr\n{self.stderr}"


@pytest.fixture
def emds():
    """Return a function that runs a command line and gives an `Outcome`."""
    runner = CliRunner()

    def call(*arguments):
        result = runner.invoke(app, [str(word) for word in arguments], prog_name="emds")
        return Outcome(result)

    return call


@pytest.fixture
def emds_ok(emds):
    """Return the same function for calls that must succeed: it gives their stdout."""

    def call(*arguments):
        outcome = emds(*arguments)
        assert outcome.code == 0, outcome
        return outcome.stdout

    return call


@pytest.fixture
def emds_fails(emds):
    """Return the same function for calls that must fail: it gives the error message."""

    def call(code, *arguments):
        outcome = emds(*arguments)
        assert outcome.code == code, outcome
        assert outcome.stdout == "", outcome
        assert "Traceback" not in outcome.stderr
        complaints = [line for line in outcome.stderr.splitlines() if "emds: error: " in line]
        assert len(complaints) == 1, outcome
        return outcome.stderr.split("emds: error: ", 1)[1]

    return call
