"""What a checkpoint says of labels is done where the user says nothing, and not otherwise."""

from dataclasses import replace

import numpy as np
import pytest
from small_runs import PREDICTING, write_checkpoint, write_grey

from emds.io import open_volume
from emds.networks.checkpoint import load_checkpoint, save_checkpoint
from emds.segmentation.settings import LabelSettings
from emds.stages.inference import run, segment
from emds.stages.plan import InferenceOptions

SILENT = replace(PREDICTING, min_size=None, mutex_strides=None)
STORED = {"labels": LabelSettings((1, 3, 3), 120)}


@pytest.fixture(scope="module")
def grey(tmp_path_factory):
    with open_volume(write_grey(tmp_path_factory.mktemp("grey") / "grey.zarr")) as volume:
        yield volume


@pytest.fixture
def model(tmp_path):
    path = write_checkpoint(tmp_path / "model.pt")
    save_checkpoint(load_checkpoint(path).model_copy(update=STORED), path)
    return path


def labels_of(out):
    return open_volume(out, role="labels").read()


def smallest(labels):
    return np.unique(labels, return_counts=True)[1].min()


@pytest.mark.parametrize("command", [run, segment])
def test_the_smallest_segment_is_that_of_the_checkpoint(tmp_path, grey, model, command):
    """Without one, some are smaller."""
    silent = command(grey, model, out=tmp_path / "silent.zarr", options=SILENT)
    assert smallest(labels_of(silent)) >= 120
    asked = replace(SILENT, min_size=0)
    every = command(grey, model, out=tmp_path / "every.zarr", options=asked)
    assert smallest(labels_of(every)) < 120
    same = replace(SILENT, min_size=120)
    again = command(grey, model, out=tmp_path / "again.zarr", options=same)
    np.testing.assert_array_equal(labels_of(silent), labels_of(again))


def test_affinities_that_were_kept_bring_the_settings_along(tmp_path, grey, model):
    out = run(grey, model, out=tmp_path / "run.zarr", options=SILENT, keep_affinities=True)
    kept = open_volume(out, role="affinities")
    again = segment(kept, None, out=tmp_path / "again.zarr")
    np.testing.assert_array_equal(labels_of(again), labels_of(out))
    plain = segment(kept, None, out=tmp_path / "all.zarr", options=InferenceOptions(min_size=0))
    assert smallest(labels_of(plain)) < 120 <= smallest(labels_of(again))


@pytest.mark.parametrize(
    ("options", "strides", "min_size"),
    [
        ({}, [1, 3, 3], 120),
        ({"min_size": 0}, [1, 3, 3], 0),
        ({"mutex_strides": (1, 1, 1), "min_size": 7}, [1, 1, 1], 7),
    ],
)
def test_an_output_says_which_settings_made_it(tmp_path, grey, model, options, strides, min_size):
    chosen = replace(SILENT, **options)
    out = segment(grey, model, out=tmp_path / "seg.zarr", options=chosen)
    made = open_volume(out, role="labels").attributes["mutex_watershed"]
    assert (made["mutex_strides"], made["min_size"]) == (strides, min_size)
