"""Whatever a checkpoint says of itself: it is refused when it is loaded, or it can be run."""

import copy
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from small_runs import write_checkpoint

from emds.errors import CheckpointError, EmdsError
from emds.io import MemoryVolume
from emds.networks.checkpoint import load_checkpoint
from emds.stages.inference import run
from emds.stages.plan import InferenceOptions

VOLUME = MemoryVolume(np.random.default_rng(0).integers(0, 256, (4, 16, 24)).astype(np.uint8))
OPTIONS = InferenceOptions(device="cpu", batch_size=1)


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    """The content of a checkpoint with every field filled, from before there were hashes."""
    path = write_checkpoint(tmp_path_factory.mktemp("models") / "model.pt")
    content = torch.load(path, weights_only=True)
    del content["sha256"]
    labels = content.pop("labels")
    noise = [{"kind": "gaussian", "sigma": [5.0, 40.0], "share": 1.0}]
    noise.append({"kind": "film", "mode": "minmax", "kernel": 5, "maximum": 2.0})
    found = {"deviation": 20.0, "grey": 100.0, "length": 1.5}
    return content | {
        "format": 1,
        "mutex_strides": labels["mutex_strides"],
        "min_size": labels["min_size"],
        "bias": [0.5] * 6,
        "voxel_size": [40.0, 10.0, 10.0],
        "noise": noise,
        "config": {"steps": 10},
        "metrics": {"step": 10, "seconds": 3.0},
        "adaptation": {"noise": found, "parent": {"recipe": "joint"}},
    }


def store(content, folder, changes):
    """Write the content with other values at some paths; a path is a tuple of keys."""
    changed = copy.deepcopy({k: v for k, v in content.items() if k != "weights"})
    changed["weights"] = content["weights"]
    for path, value in changes.items():
        place = changed
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
    torch.save(changed, folder / "model.pt")
    return folder / "model.pt"


def paths_of(value, at=()):
    """Yield the path of every value in nested dictionaries and lists."""
    pairs = value.items() if isinstance(value, dict) else enumerate(value)
    for key, one in pairs:
        if key not in ("weights", "kind", "format"):
            yield (*at, key)
            if isinstance(one, dict | list):
                yield from paths_of(one, (*at, key))


HUGE = [1e20, 1e30, 10**18, -(10**18)]
WRONG = {
    ("crop",): [0, -8, 12, 4, 5000, 1e30, math.nan, None, "x", True],
    ("mutex_strides",): [[1, 0, 1], [1, -1, 1], [1, 1e20, 1e20], [1, 1], [1.5, 1, 1], None],
    ("min_size",): [-1, *HUGE[:2], math.nan, None],
    ("bias",): [[0.5] * 5, [math.nan] * 6, [math.inf] * 6, [1e4] * 6],
    ("voxel_size",): [[0, 1, 1], [-1, 1, 1], [math.nan, 1, 1], [math.inf, 1, 1], [1, 1], 3.0],
    ("offsets",): [[], [[0, 0, 1]], [[0, 0, 0]] * 6, [[0, 0, 1]] * 6, [[0, 0, 1e20]] * 6, None],
    ("attractive",): [[], [True], [False] * 6, [True] * 7],
    ("intensity", "low"): [math.nan, math.inf, 255.0, 256.0, 1e300, None],
    ("intensity", "high"): [math.nan, math.inf, 0.0, -1.0, 1e300, 1e-46, None],
    ("architecture", "window"): [0, -8, 7, 1e20, math.nan, None],
    ("architecture", "affinity_channels"): [0, -1, 5, 7, 10**9],
    ("architecture", "in_slices"): [0, -1, 2, 10**9],
    ("architecture", "out_slices"): [0, -1, 2, 3],
    ("architecture", "width"): ["huge", None, 3],
    ("architecture", "denoiser"): ["vgg", "transunet", None],
    ("architecture", "networks"): [
        [],
        ["fusion", "denoiser"],
        ["denoiser", "denoiser"],
        ["denoiser", "fusion"],
        ["generator"],
        "denoiser",
        None,
    ],
    ("architecture", "iem_mode"): ["", "cat"],
    ("architecture",): [{}, [], None, {"networks": ["denoiser"], "depth": 3}],
    ("metrics",): [{"psnr": math.nan}, {"psnr": math.inf}, {3: 1}, {"psnr": torch.zeros(2)}, []],
    ("config",): [{"a": {"b": [math.nan]}}, None],
    ("adaptation",): [{"noise": {}}, {"noise": {"deviation": 1.0}}, {"noise": 3}],
    ("adaptation", "noise", "deviation"): [math.nan, -1.0, "x"],
    ("recipe",): [None, 3],
    ("versions",): [{"emds": None}, 3],
    ("unheard of",): [1],
}


@pytest.mark.parametrize(
    ("path", "value"),
    [(path, value) for path, values in WRONG.items() for value in values],
    ids=lambda part: ".".join(map(str, part)) if isinstance(part, tuple) else str(part)[:30],
)
def test_a_field_that_cannot_be_is_refused(tmp_path, sound, path, value):
    with pytest.raises(CheckpointError, match=r"model\.pt") as caught:
        load_checkpoint(store(sound, tmp_path, {path: value}))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 1000


def test_the_same_with_sound_fields_is_run(tmp_path, sound):
    load_checkpoint(store(sound, tmp_path, {}))
    run(VOLUME, tmp_path / "model.pt", out=tmp_path / "out.zarr", options=OPTIONS)


@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_weights_that_are_no_numbers_are_refused(tmp_path, sound, value):
    weights = dict(sound["weights"])
    name = next(name for name in weights if name.startswith("segmenter"))
    weights[name] = torch.full_like(weights[name], value)
    with pytest.raises(CheckpointError, match="nan or infinity"):
        load_checkpoint(store(sound, tmp_path, {("weights",): weights}))


@pytest.mark.parametrize("change", ["dtype", "shape", "absent", "further"])
def test_weights_that_do_not_fit_are_refused(tmp_path, sound, change):
    weights = dict(sound["weights"])
    name = next(name for name in weights if name.startswith("fusion"))
    if change == "dtype":
        weights[name] = weights[name].to(torch.int64)
    elif change == "shape":
        weights[name] = weights[name][None]
    elif change == "absent":
        del weights[name]
    else:
        weights["another"] = torch.zeros(2)
    with pytest.raises(CheckpointError, match="do not fit"):
        load_checkpoint(store(sound, tmp_path, {("weights",): weights}))


NUMBERS = st.one_of(
    st.sampled_from([0, 1, 2, 3, 8, 16, -1, 0.0, 0.5, 1.0, math.nan, math.inf, *HUGE, 2**63]),
    st.integers(-20, 40),
    st.floats(),
)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.text(max_size=5)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=3), inner, max_size=3)
    ),
    max_leaves=6,
)


def check(folder, sound, changes):
    """The law of this file."""
    try:
        path = store(sound, folder, changes)
        loaded = load_checkpoint(path)
    except CheckpointError:
        return
    json.dumps(loaded.summary(), allow_nan=False)
    try:
        run(VOLUME, path, out=folder / "out.zarr", options=OPTIONS, overwrite=True)
    except EmdsError as error:
        assert error.exit_code in (2, 3)  # noqa: PT017  (most examples raise nothing)


@st.composite
def changed_fields(draw, content, most):
    paths = draw(st.lists(st.sampled_from(list(paths_of(content))), min_size=1, max_size=most))
    # A change may take away the place of the next.
    paths = [p for p in paths if not any(p != q and p[: len(q)] == q for q in paths)]
    return {path: draw(VALUES) for path in paths}


def fuzz(folder, sound, examples):
    @settings(
        max_examples=examples,
        deadline=None,
        derandomize=True,
        suppress_health_check=list(HealthCheck),
    )
    @given(changes=changed_fields(sound, 2))
    def law(changes):
        check(folder, sound, changes)

    law()


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_whatever_it_says_it_is_refused_or_can_be_run(tmp_path, sound):
    fuzz(tmp_path, sound, 12)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_whatever_it_says_it_is_refused_or_can_be_run_many_times(tmp_path, sound):
    fuzz(tmp_path, sound, 1500)
