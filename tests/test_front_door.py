"""What Python users call is what the command line calls: defaults, validation, shared resources."""

from __future__ import annotations

import inspect
import json

import numpy as np
import pytest

import emds
from emds.errors import EmdsError
from emds.execution import Execution
from emds.geometry import Roi
from emds.io import MemoryVolume
from emds.memory import memory_limit
from emds.stages import inference
from emds.stages.inference import request_for
from emds.stages.plan import InferenceOptions

GREY = MemoryVolume(np.zeros((9, 32, 32), np.uint8), voxel_size=(10.0, 10.0, 10.0))


def test_every_public_name_is_there_and_documented():
    for name in emds.__all__:
        value = getattr(emds, name)
        assert name == "__version__" or inspect.getdoc(value), name


@pytest.mark.parametrize(
    ("options", "name"),
    [
        (InferenceOptions(), "stack.pt"),
        (InferenceOptions(roi=Roi((0, 0, 0), (3, 32, 32))), "section.pt"),
        (InferenceOptions(voxel_size=(40.0, 4.0, 4.0)), "section.pt"),
    ],
)
def test_the_checkpoint_that_suits_is_the_default(options, name):
    assert request_for("run", GREY, None, options).checkpoint.endswith(name)


def test_processes_share_the_memory(monkeypatch, tmp_path):
    seen = []

    def stop(request, source, mask):
        seen.append(request.options.max_memory)
        raise EmdsError

    monkeypatch.setattr("emds.stages.execute.prepare", stop)
    monkeypatch.setattr("emds.stages.execute._open_again", lambda request: None)
    for workers in (1, 4):
        for asked in (None, 2**30):
            with pytest.raises(EmdsError):
                inference.run(
                    GREY,
                    out=tmp_path / "out.zarr",
                    options=InferenceOptions(max_memory=asked),
                    execution=Execution(workers),
                )
    quarter = memory_limit()
    assert seen == [quarter, 2**30, quarter // 4, 2**28]


@pytest.mark.parametrize(
    "wrong",
    [
        {"stitch": "exakt"},
        {"image": "fuse"},
        {"tile": (1, -8, 8)},
        {"batch_size": 0},
        {"labeller": "magic"},
        {"voxel_size": (float("nan"), 1, 1)},
    ],
    ids=json.dumps,
)
def test_an_option_that_cannot_be_is_refused_from_python_too(wrong):
    with pytest.raises(EmdsError, match=next(iter(wrong))) as caught:
        InferenceOptions(**wrong)
    assert caught.value.exit_code == 2
