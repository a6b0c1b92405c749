from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest

from emds.errors import ConfigError, UsageError
from emds.noise import (
    Film,
    Gaussian,
    GaussianPoisson,
    Poisson,
    add_noise,
    make_noise_model,
    noise_from_dict,
)

MODELS = [
    GaussianPoisson(),
    GaussianPoisson(sigma=(0, 85), lam=3, mode="additive"),
    GaussianPoisson(mode="gain"),
    Film(),
    Film(kernel=9, maximum=1.2, mode="unitmean"),
    Gaussian(sigma=25),
    Poisson(lam=(0.1, 0.2)),
]


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_models_survive_json(model):
    assert noise_from_dict(json.loads(json.dumps(model.to_dict()))) == model


def test_defaults_are_the_published_parameters():
    assert make_noise_model("gaussian-poisson").to_dict() == {
        "kind": "gaussian-poisson",
        "sigma": [55.0, 85.0],
        "lam": [0.6, 0.8],
        "mode": "shot",
    }
    assert make_noise_model("film").to_dict() == {
        "kind": "film",
        "kernel": 5,
        "maximum": 1.5,
        "mode": "minmax",
    }


@pytest.mark.parametrize(
    ("kind", "options", "said"),
    [
        ("snow", {}, "must be one of gaussian-poisson, film, gaussian, poisson, not 'snow'"),
        ("gaussian", {"lam": 1}, "has no option 'lam'; it has sigma"),
        ("gaussian", {"sigma": -1}, "sigma of gaussian noise .* 0 <= low .* not -1"),
        ("gaussian", {"sigma": (9, 5)}, r"not \(9, 5\)"),
        ("gaussian", {"sigma": (1, 2, 3)}, r"not \(1, 2, 3\)"),
        ("gaussian", {"sigma": float("nan")}, "not nan"),
        ("gaussian", {"sigma": (0, float("inf"))}, "inf"),
        ("gaussian", {"sigma": "55"}, "not '55'"),
        ("gaussian", {"sigma": True}, "not True"),
        ("gaussian-poisson", {"lam": 0}, "lam of gaussian-poisson noise .* not 0"),
        ("gaussian-poisson", {"mode": "shoot"}, "one of shot, additive, gain, not 'shoot'"),
        ("poisson", {"lam": (0, 1)}, r"not \(0, 1\)"),
        ("film", {"kernel": 4}, "odd whole number from 1 to 255, not 4"),
        ("film", {"kernel": 5.0}, "not 5.0"),
        ("film", {"kernel": -1}, "not -1"),
        ("film", {"maximum": 0}, "maximum of film noise must be a number above 0"),
        ("film", {"maximum": 1.0, "mode": "unitmean"}, "above 1 and at most 2"),
        ("film", {"mode": "mean"}, "one of minmax, unitmean"),
    ],
)
def test_a_wrong_option_is_named_with_its_value_and_range(kind, options, said):
    with pytest.raises(ConfigError, match=said):
        make_noise_model(kind, **options)


def test_a_description_without_a_kind_is_refused():
    with pytest.raises(ConfigError, match="kind of noise must be one of"):
        noise_from_dict({"sigma": 3})


def test_models_cannot_be_changed():
    with pytest.raises(dataclasses.FrozenInstanceError):
        GaussianPoisson().sigma = 3  # type: ignore[misc]


def test_parameters_fill_their_ranges_and_differ_between_sections_seeds_and_kinds():
    model = GaussianPoisson()
    drawn = [model.draw(0, section) for section in range(400)]
    sigmas, lams = ([values[name] for values in drawn] for name in ("sigma", "lam"))
    assert 55 <= min(sigmas) < 56
    assert 84 < max(sigmas) <= 85
    assert 0.6 <= min(lams) < 0.61
    assert 0.79 < max(lams) <= 0.8
    assert len(set(sigmas)) == 400
    assert model.draw(1, 0) != model.draw(0, 0)
    assert Gaussian().draw(0, 0)["sigma"] != model.draw(0, 0)["sigma"]


def test_parameters_are_drawn_the_same_again():
    # A golden value: a change here changes every published noisy volume.
    drawn = GaussianPoisson().draw(7, 3)
    assert drawn == GaussianPoisson().draw(7, 3)
    assert drawn == {"sigma": 70.97263590235843, "lam": 0.6104397136836407}


def test_scalars_are_drawn_as_they_are_and_film_draws_nothing():
    assert GaussianPoisson(sigma=0, lam=3).draw(5, 9) == {"sigma": 0.0, "lam": 3.0}
    assert Film().draw(5, 9) == {}


def test_a_negative_seed_is_refused():
    with pytest.raises(UsageError, match="from 0 on, not -1"):
        Film().draw(-1, 0)


def test_importing_the_models_loads_no_compiler():
    code = "import emds.noise, sys; sys.exit('numba' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_the_deviation_of_a_model_is_that_of_the_noise_it_adds(model):
    """Where little is clipped; what is drawn for a section lies between the two ends."""
    weak = {"sigma": (3.0, 9.0)} if hasattr(model, "sigma") else {}
    weak |= {"lam": (20.0, 40.0)} if hasattr(model, "lam") and model.kind == "poisson" else {}
    model = dataclasses.replace(model, **weak)
    noisy = add_noise(np.full((6, 120, 120), 120, np.uint8), model, seed=0).astype(float)
    low, high = model.deviations(float(noisy.mean()))
    inside = noisy[:, 8:-8, 8:-8].std(axis=(1, 2))  # film is stronger along the edges
    assert low * 0.9 <= inside.min()
    assert inside.max() <= high * 1.1
    assert low == high or low < inside.mean() < high


def test_noise_of_the_detector_is_white_and_film_is_as_long_as_its_kernel():
    assert [model.length for model in MODELS] == [1, 1, 1, 5, 9, 1, 1]
