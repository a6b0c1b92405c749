"""How far weights move: rate, clipping and moving average, against the formulas written out."""

import numpy as np
import pytest
import torch
from test_loop import make_config, make_state, run

from emds.config import load_train_config
from emds.training.loop import RunFolder
from emds.training.optimizers import learning_rate

PLAIN_SGD = {"name": "sgd", "betas": (0, 0), "weight_decay": 0, "warmup_steps": 0, "lr": 0.5}


def flat(network):
    return np.concatenate([p.detach().double().numpy().ravel() for p in network.parameters()])


@pytest.mark.parametrize(
    ("step", "rate"),
    [(0, 1e-4), (100_000, 7.7191e-5), (200_000, 5.3589e-5), (360_000, 1.2589e-5), (400_000, 0)],
)
def test_the_rate_of_the_paper_falls_as_a_power_of_what_is_left(step, rate):
    """Of 400,000 steps: 1e-4 (1 - t)^0.9, by a calculator."""
    config = load_train_config("paper")
    assert config.steps == 400_000
    assert learning_rate(config.optimizer, step, config.steps) == pytest.approx(rate, rel=1e-4)


def test_the_paper_preset_trains_as_the_released_script():
    """The table of its settings."""
    config = load_train_config("paper")
    one = config.optimizer
    assert (one.name, one.betas, one.eps, one.weight_decay) == ("adam", (0.9, 0.999), 0.01, 1e-6)
    assert (one.amsgrad, one.schedule, one.warmup_steps, one.clip_norm) == (True, "poly", 0, None)
    assert (config.crop, config.batch_size, config.seed, config.width) == (256, 32, 555, "paper")
    assert (config.noise.online, config.augment.dihedral) == (False, False)
    assert (config.precision, config.ema_decay, config.validation.every) == ("fp32", 0, 1000)


@pytest.mark.parametrize(
    ("limit", "norm"), [(1.0, 40.0), (1.0, 1.5), (3.0, 40.0), (1.0, 0.25), (None, 40.0)]
)
def test_a_step_is_as_long_as_the_clipped_gradient(limit, norm):
    """Plain gradient descent: w - lr g min(1, limit / |g|)."""
    config = make_config(steps=4, optimizer=PLAIN_SGD)
    optimizer = config.optimizer.model_copy(update={"clip_norm": limit})
    config = config.model_copy(update={"optimizer": optimizer})
    state = make_state(config)
    before = flat(state.network)
    slope = np.random.default_rng(0).normal(size=before.size)
    slope *= norm / np.linalg.norm(slope)
    parameters = list(state.network.parameters())
    pieces = np.split(slope, np.cumsum([p.numel() for p in parameters])[:-1])
    loss = sum(
        (p * torch.from_numpy(piece).float().reshape(p.shape)).sum()
        for p, piece in zip(parameters, pieces, strict=True)
    )
    state.descend(loss, config)
    kept = 1 if limit is None else min(1, limit / norm)
    expected = before - 0.5 * kept * slope
    np.testing.assert_allclose(flat(state.network), expected, rtol=0, atol=1e-6 * norm)


def test_what_is_frozen_does_not_count_in_the_norm():
    config = make_config(recipe="sequential", optimizer=PLAIN_SGD | {"clip_norm": 1.0})
    state = make_state(config)
    before = flat(state.network.segmenter)
    loss = sum(p.sum() for p in state.network.segmenter.parameters())
    state.descend(loss, config)
    moved = before - flat(state.network.segmenter)
    assert np.linalg.norm(moved) == pytest.approx(0.5, rel=1e-4)


@pytest.mark.parametrize("decay", [0.999, 0.25, 0.0])
def test_the_average_of_weights_remembers_more_as_the_run_grows(tmp_path, decay):
    """After n steps before it, a step's weights count 1 - min(decay, (1 + n) / (10 + n))."""
    config = make_config(
        steps=5, ema_decay=decay, validation={"every": 1}, optimizer={"lr": 0.05, "warmup_steps": 0}
    )
    state = make_state(config)
    seen = []

    def validate(averaged):
        seen.append((flat(state.network), flat(averaged)))
        return {"voi": 1.0, "psnr": 20.0}

    run(config, RunFolder(tmp_path / "run"), state=state, validate=validate)
    assert len(seen) == 5
    expected = seen[0][0]
    for steps, (weights, averaged) in enumerate(seen):
        if steps:
            keep = min(decay, (1 + steps) / (10 + steps))
            expected = keep * expected + (1 - keep) * weights
        np.testing.assert_allclose(averaged, expected, rtol=1e-5, atol=1e-6)
    largest = np.abs(seen[-1][0] - seen[0][0]).max()
    assert largest > 0.01, "test invalid"
