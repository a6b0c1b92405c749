"""Adapting as a law: resumed equals uninterrupted, and only the image side moves."""

import signal

import numpy as np
import pytest
import torch

from emds.config import parse_train_config
from emds.errors import DataError, InterruptedRunError
from emds.geometry import Roi
from emds.io.volume import MemoryVolume
from emds.networks.intensity import Intensity
from emds.networks.joint import Architecture, Prediction
from emds.training.adaptation import _step, adapt, blind_spot_loss
from emds.training.loop import start_state
from emds.training.noisy_mean import NoisyMean
from emds.training.noisy_patches import HiddenSampler
from emds.training.patches import iter_batches
from emds.training.recipes import LossWeights, Recipe
from emds.training.run_folder import RunFolder

CPU = torch.device("cpu")
PLAIN = NoisyMean(torch.linspace(-2, 2, 1025))
VOLUME = MemoryVolume(np.random.default_rng(0).integers(0, 256, (9, 40, 32)).astype(np.uint8))
IMAGE_SIDE = Recipe(
    ("denoiser", "segmenter", "fusion"),
    ("denoiser", "fusion"),
    LossWeights(coarse=1, fused=1),
    select="psnr",
)


def make_sampler(slices=(3, 3), seed=4, starts=(0, 1, 5)):
    return HiddenSampler(
        VOLUME,
        Roi((0, 4, 0), (9, 36, 32)),
        starts,
        slices=slices,
        side=16,
        count=2,
        reach=(0, 0, 1),
        intensity=Intensity(),
        seed=seed,
    )


def make_config(**changes):
    values = {"crop": 16, "batch_size": 2, "steps": 6, "log_every": 1, "save_every": 2}
    values["optimizer"] = {"lr": 0.01, "warmup_steps": 1}
    return parse_train_config(values | changes)


def make_state(config):
    torch.manual_seed(0)
    architecture = Architecture(width="tiny", window=16, in_slices=3, out_slices=3)
    network = architecture.build()
    network(torch.randn(4, 3, 16, 16))  # running statistics that are not the initial ones
    return start_state(network.eval(), IMAGE_SIDE, config, CPU)


def run(config, folder, state, progress=lambda *_: None):
    folder.path.mkdir(exist_ok=True)
    adapt(
        state,
        make_state(config).network,
        make_sampler(),
        PLAIN,
        config,
        identity={"seed": 4},
        device=CPU,
        folder=folder,
        progress=progress,
    )
    return state


def all_weights(state):
    return {**state.network.state_dict(), **state.averaged.state_dict()}


def test_only_the_image_side_moves_and_no_statistics(tmp_path):
    config = make_config()
    before = {
        name: value.clone() for name, value in make_state(config).network.state_dict().items()
    }
    state = run(config, RunFolder(tmp_path / "run"), make_state(config))
    averaged = state.averaged.module.state_dict()
    moved = {name for name, value in averaged.items() if not torch.equal(value, before[name])}
    assert {name.split(".")[0] for name in moved} == {"denoiser", "fusion"}
    assert not [name for name in moved if "running" in name or "tracked" in name]


def test_stopped_and_resumed_it_ends_with_the_same_weights(tmp_path):
    config = make_config(save_every=100)
    whole = run(config, RunFolder(tmp_path / "whole"), make_state(config))
    folder = RunFolder(tmp_path / "run")

    def stop_at_3(done, total, text):
        if done == 3:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(InterruptedRunError, match=r"step 3 of 6.*--resume"):
        run(config, folder, make_state(config), stop_at_3)
    resumed = make_state(config)
    resumed.load(folder.state, {"seed": 4})
    assert resumed.step == 3
    run(config, folder, resumed)
    for name, value in all_weights(whole).items():
        torch.testing.assert_close(all_weights(resumed)[name], value, rtol=0, atol=0, msg=name)


def test_divergence_is_told(tmp_path):
    config = make_config(optimizer={"lr": 1e30, "warmup_steps": 0}, steps=20)
    with pytest.raises(DataError, match="lower --lr"):
        run(config, RunFolder(tmp_path / "run"), make_state(config))


def test_the_loss_is_the_mean_square_at_the_spots_of_each_image():
    rng = np.random.default_rng(0)
    noisy, coarse = (torch.tensor(rng.normal(size=(2, 3, 8, 8))).float() for _ in range(2))
    fused = torch.tensor(rng.normal(size=(2, 1, 8, 8))).float()
    spots = torch.tensor(rng.random((2, 3, 8, 8)) < 0.2)

    def loss(coarse, fused):
        return blind_spot_loss(Prediction(coarse, None, fused), noisy, spots, PLAIN).item()

    of_coarse = np.square(np.asarray(coarse - noisy))[np.asarray(spots)].mean()
    of_fused = np.square(np.asarray(fused - noisy[:, 1:2]))[np.asarray(spots[:, 1:2])].mean()
    assert loss(coarse, None) == pytest.approx(of_coarse, rel=1e-5)
    assert loss(None, fused) == pytest.approx(of_fused, rel=1e-5)
    assert loss(coarse, fused) == pytest.approx(of_coarse + of_fused, rel=1e-5)
    assert loss(coarse + 9 * ~spots, None) == pytest.approx(of_coarse, rel=1e-5)


def test_a_step_adds_a_tenth_of_how_far_the_affinities_have_moved():
    """The Kullback–Leibler divergence of two coins, written out, beside the loss at the spots."""
    config = make_config()
    state, parent = make_state(config), make_state(config).network
    with torch.no_grad():
        state.network.segmenter.decode_full[1].bias += 0.7
    batch = make_sampler().batch(0)
    hidden, noisy, spots = (
        torch.from_numpy(values) for values in (batch.hidden, batch.noisy, batch.spots)
    )
    with torch.no_grad():
        now = state.network.eval()(hidden)
        before = parent.eval()(hidden).logits.double().sigmoid()
    p, q = before, now.logits.double().sigmoid()
    moved = (p * (p / q).log() + (1 - p) * ((1 - p) / (1 - q)).log()).mean().item()
    assert moved > 0.01, "test invalid"
    at_spots = blind_spot_loss(now, noisy, spots, PLAIN).item()
    loss = _step(state, parent, batch, PLAIN, config, CPU).item()
    assert loss == pytest.approx(at_spots + 0.1 * moved, rel=1e-5)


def test_samples_are_boxes_of_the_stacks_that_may_be_learnt_from():
    """Sections hold their own number, so a sample says where it is from."""
    sections = np.broadcast_to(np.arange(9, dtype=np.uint8)[:, None, None], (9, 40, 32))
    sampler = make_sampler()
    sampler.volume = MemoryVolume(sections)
    seen = set()
    for step in range(20):
        batch = sampler.batch(step)
        grey = np.rint((batch.noisy + 1) * 127.5).astype(int)
        np.testing.assert_array_equal(batch.hidden, batch.noisy)  # all alike within a section
        assert (grey == grey[:, :, :1, :1]).all()
        seen |= {tuple(sorted(stack)) for stack in grey[:, :, 0, 0].tolist()}
    assert seen == {(0, 1, 2), (1, 2, 3), (5, 6, 7)}


def test_samples_have_their_spots_hidden_and_keep_rows_as_rows():
    """Along rows noise reaches a pixel, across them none: so must spots after any flip."""
    batch = make_sampler().batch(0)
    changed = batch.hidden != batch.noisy
    assert changed[batch.spots].mean() > 0.9
    beside, above = (np.roll(batch.spots, 1, axis) & ~batch.spots for axis in (3, 2))
    assert changed[beside].mean() > 0.8
    assert changed[above].mean() < 0.2


def test_a_step_draws_the_same_whoever_asks_first():
    sampler = make_sampler()
    alone = [sampler.batch(step) for step in (3, 4)]
    ahead = list(iter_batches(make_sampler(), 3, 5, torch.device("cpu")))
    for one, other in zip(alone, ahead, strict=True):
        np.testing.assert_array_equal(one.hidden, other.hidden)
        np.testing.assert_array_equal(one.spots, other.spots)
    assert (sampler.batch(3).hidden != make_sampler(seed=5).batch(3).hidden).any()
