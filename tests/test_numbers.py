"""Numbers that cannot be are refused wherever they come from; those that can be are kept."""

import math
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emds.config import parse_train_config
from emds.config.schema import TrainConfig
from emds.errors import ConfigError, UsageError
from emds.execution import Execution
from emds.geometry import Roi
from emds.io import create_volume
from emds.io.volume import MemoryVolume
from emds.metrics.alignment import align
from emds.noise import Gaussian, add_noise
from emds.segmentation.settings import LabelSettings
from emds.stages.adapt_plan import AdaptOptions
from emds.stages.estimate_noise import estimate_noise
from emds.stages.evaluate import evaluate
from emds.stages.plan import InferenceOptions
from emds.stages.pyramid import pyramid
from emds.stages.reproduce.workspace import Settings
from emds.stages.simulate_noise import simulate_noise

NAN, INF = math.nan, math.inf
VOLUME = MemoryVolume(np.arange(192, dtype=np.uint8).reshape(3, 8, 8))

OPTIONS = [
    *((InferenceOptions, "voxel_size", v) for v in [(NAN, 1, 1), (1, INF, 1), (1, 1, 0)]),
    *((InferenceOptions, "voxel_size", v) for v in [(-4, 4, 4), (1e300, 1, 1), (4, 4), 4.0, "4"]),
    *((InferenceOptions, "intensity", v) for v in [(0, INF), (NAN, 1), (5, 5), (9, 1), "autom"]),
    (InferenceOptions, "intensity", (1e9, 1e9 + 1)),  # float32 would not tell them apart
    *((InferenceOptions, "tile", v) for v in [(1, 0, 8), (1, -8, 8), (1, 10**9, 8), (1, 8.5, 8)]),
    *((InferenceOptions, "overlap", v) for v in [(0, -1, 0), (0, NAN, 0), (0, INF, 0)]),
    *((InferenceOptions, "block_shape", v) for v in [(0, 8, 8), (8, 8), (8, 8, 10**30)]),
    *((InferenceOptions, name, (0, 1, 1)) for name in ("chunk_shape", "mutex_strides")),
    (InferenceOptions, "label_block_shape", (1, 1, -1)),
    *((InferenceOptions, "batch_size", v) for v in [0, -1, 10**12, 1.5, NAN, "many"]),
    *((InferenceOptions, "min_size", v) for v in [-1, NAN, 10**30]),
    *((InferenceOptions, "link_sections", v) for v in [0, NAN, 1.5, -0.5, INF]),
    *((InferenceOptions, "max_memory", v) for v in [0, -1, 10**30]),
    (InferenceOptions, "max_residual", 0),
    (InferenceOptions, "stitch", "exakt"),
    (InferenceOptions, "backend", "nunba"),
    (InferenceOptions, "precision", "fp16"),
    (InferenceOptions, "image", "final"),
    (InferenceOptions, "tta", "sometimes"),
    (InferenceOptions, "device", 3),
    (InferenceOptions, "roi", "0:3"),
    *((AdaptOptions, "lr", v) for v in [0, -1e-3, NAN, INF]),
    *((AdaptOptions, "steps", v) for v in [0, -5, 10**30, NAN]),
    *((AdaptOptions, "seed", v) for v in [-1, 2**64, 0.5]),
    *((AdaptOptions, "held_out", v) for v in [(-1, 4), (0, NAN), (1,), "0:4"]),
    (AdaptOptions, "intensity", (9.0, 9.0)),
    *((LabelSettings, "mutex_strides", v) for v in [(0, 1, 1), (1, 1)]),
    (LabelSettings, "link_sections", NAN),
    (LabelSettings, "stitch", "exakt"),
    *((Execution, "workers", v) for v in [0, -1, 10**9, NAN]),
    *((Settings, "dms_weight", v) for v in [-1, NAN, INF]),
    (Settings, "steps", 0),
]


@pytest.mark.parametrize(("kind", "name", "value"), OPTIONS)
def test_an_option_that_cannot_be_is_refused_by_name(kind, name, value):
    with pytest.raises(UsageError, match=f"^{name} must ") as caught:
        kind(**{name: value})
    assert len(str(caught.value).splitlines()) == 1


def test_what_can_be_becomes_what_is_annotated():
    chosen = InferenceOptions(
        tile=[1, np.int64(64), 64], voxel_size=np.array([40, 4, 4]), intensity=[0, np.float32(9)]
    )
    assert chosen.tile == (1, 64, 64)
    assert chosen.voxel_size == (40.0, 4.0, 4.0)
    assert chosen.intensity == (0.0, 9.0)
    assert [type(n) for n in (*chosen.tile, *chosen.voxel_size)] == [int] * 3 + [float] * 3
    assert InferenceOptions(intensity="auto").intensity == "auto"
    assert InferenceOptions(roi=Roi((0, 0, 0), (1, 1, 1))).roi == Roi((0, 0, 0), (1, 1, 1))


CALLS = {
    "simulate_noise seed": lambda out: simulate_noise(VOLUME, Gaussian(), out=out, seed=2**64),
    "simulate_noise threads": lambda out: simulate_noise(VOLUME, Gaussian(), out=out, threads=NAN),
    "add_noise seed": lambda out: add_noise(VOLUME.values, Gaussian(), seed=1.5),
    "estimate_noise voxels": lambda out: estimate_noise(VOLUME, voxels=NAN),
    "estimate_noise offset": lambda out: estimate_noise(VOLUME, offset=-INF),
    "evaluate data_range": lambda out: evaluate(denoised=VOLUME, clean=VOLUME, data_range=NAN),
    "pyramid levels": lambda out: pyramid(out, levels=0),
    "create_volume voxel_size": lambda out: create_volume(
        out, shape=(1, 8, 8), dtype="u1", voxel_size=(NAN, 1, 1)
    ),
    "create_volume offset": lambda out: create_volume(
        out, shape=(1, 8, 8), dtype="u1", offset=(INF, 1, 1)
    ),
    "create_volume shape": lambda out: create_volume(out, shape=(0, 8, 8), dtype="u1"),
}


@pytest.mark.parametrize("call", CALLS)
def test_a_function_refuses_what_cannot_be_and_writes_nothing(tmp_path, call):
    with pytest.raises(UsageError, match=f"^{call.split()[1]} must "):
        CALLS[call](tmp_path / "out.zarr")
    assert list(tmp_path.iterdir()) == []


ODD = st.one_of(
    st.sampled_from([NAN, INF, -INF, 0, -1, 1, 2.5, 1e300, 10**30, 10**5000, -(10**400), 1e-320]),
    st.floats(),
    st.integers(),
    st.text(max_size=5),
    st.none() | st.booleans(),
)
VALUES = ODD | st.lists(ODD, max_size=4) | st.tuples(ODD, ODD) | st.tuples(ODD, ODD, ODD)


def numbers_in(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list | tuple):
        return [number for one in value for number in numbers_in(one)]
    return [value] if isinstance(value, int | float) else []


@given(
    kind=st.sampled_from([InferenceOptions, AdaptOptions, LabelSettings, Execution, Settings]),
    data=st.data(),
)
def test_any_value_of_an_option_is_finite_or_refused(kind, data):
    name = data.draw(st.sampled_from([field.name for field in fields(kind)]))
    value = data.draw(VALUES)
    try:
        found = getattr(kind(**{name: value}), name)
    except UsageError:
        return
    assert all(math.isfinite(n) and abs(n) < 1e31 for n in numbers_in(found))


def paths_of(model, prefix=()):
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and hasattr(inner, "model_fields"):
            yield from paths_of(inner, (*prefix, name))
        else:
            yield (*prefix, name)


@given(path=st.sampled_from(list(paths_of(TrainConfig))), value=VALUES)
def test_any_value_of_the_configuration_is_finite_or_refused(path, value):
    values = value
    for part in reversed(path):
        values = {part: values}
    try:
        config = parse_train_config(values)
    except ConfigError:
        return
    assert all(math.isfinite(n) and abs(n) < 1e31 for n in numbers_in(config.model_dump()))


def test_positions_are_compared_with_numbers_that_can_be(tmp_path):
    """The least and the greatest voxel that may be written can be read and laid on each other."""
    for size in (1e-3, 1e9):
        place = tmp_path / f"{size:g}.zarr"
        with create_volume(place, shape=(1, 8, 8), dtype="u1", voxel_size=(size,) * 3) as volume:
            volume.write(volume.roi, np.zeros((1, 8, 8), np.uint8))
        from emds import open_volume

        with open_volume(place) as one, open_volume(place) as other:
            assert one.voxel_size == pytest.approx((size,) * 3)
            assert align(one, other)[2] == ()
