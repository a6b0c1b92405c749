"""Training as a law: resumed equals uninterrupted, and only what shall move moves."""

import copy
import json
import signal

import numpy as np
import pytest
import torch

from emds.config import load_train_config
from emds.errors import ConfigError, InterruptedRunError
from emds.io.volume import MemoryVolume
from emds.segmentation.affinities import PAPER_OFFSETS
from emds.signals import stop_signal
from emds.training.loop import start_state, train
from emds.training.patches import PatchSampler
from emds.training.recipes import RECIPES, get_recipe
from emds.training.run_folder import RunFolder

CPU = torch.device("cpu")
UNET3D = {"denoiser": "unet3d", "segmenter": "unet3d", "in_slices": 3, "out_slices": 3}


def make_config(**changes):
    values = {"recipe": "joint", "width": "tiny", "crop": 16, "batch_size": 2, "steps": 6}
    values |= {"log_every": 1, "save_every": 2, "validation": {"every": 3}, **changes}
    return load_train_config("cpu", options=values)


def make_sampler(config):
    rng = np.random.default_rng(0)
    labels = np.repeat(rng.integers(1, 9, (3, 8, 8)).astype(np.uint64), 4, axis=1).repeat(4, axis=2)
    raw = (labels * 25).astype(np.uint8)
    return PatchSampler(MemoryVolume(raw), MemoryVolume(labels), (0, 3), config)


def make_state(config):
    torch.manual_seed(config.seed)
    recipe = get_recipe(config.recipe)
    network = recipe.architecture(config, len(PAPER_OFFSETS)).build()
    return start_state(network, recipe, config, CPU)


def run(config, folder, *, state=None, validate=None, saved=None):
    folder.path.mkdir(exist_ok=True)
    state = state or make_state(config)
    train(
        state,
        make_sampler(config),
        get_recipe(config.recipe),
        config,
        offsets=PAPER_OFFSETS,
        device=CPU,
        folder=folder,
        validate=validate or (lambda network: {"voi": 1.0, "psnr": 20.0}),
        save=lambda which, state: None if saved is None else saved.append((which, state.step)),
        progress=lambda *_: None,
    )
    return state


class Killed(BaseException):
    """Stands for kill -9: nothing of ours runs after it."""


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory):
    """Return a function from a configuration to its run that nothing disturbs and the curve."""
    made = {}

    def once(config):
        key = config.model_dump_json()
        if key not in made:
            folder = RunFolder(tmp_path_factory.mktemp("runs") / "whole")
            made[key] = run(config, folder), folder.log.read_bytes()
        return made[key]

    return once


@pytest.mark.parametrize(
    ("killed_at", "changes"),
    [(step, {}) for step in (1, 2, 3, 4, 5)]
    + [(3, {"segmenter": "transunet-xs", "crop": 32}), (3, {"recipe": "wo_seg2dn"})]
    + [(3, UNET3D), (3, {"loss": {"balance": "uncertainty", "ramp": 0.7, "detach_until": 0.7}})],
)
def test_a_killed_and_resumed_run_is_the_uninterrupted_one(
    tmp_path, uninterrupted, killed_at, changes
):
    """With dropout, with two optimisers, and with weights of the loss that change, too."""
    config = make_config(**changes)
    whole, curve = uninterrupted(config)

    folder = RunFolder(tmp_path / "killed")
    sampler = PatchSampler.batch

    def dies(self, step):
        if step == killed_at:
            raise Killed
        return sampler(self, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PatchSampler, "batch", dies)
        with pytest.raises(Killed):
            run(config, folder)
    state = make_state(config)
    if folder.state.exists():
        state.load(folder.state, config.model_dump(mode="json"))
        assert 0 < state.step <= killed_at
    run(config, folder, state=state)

    assert folder.log.read_bytes() == curve
    for name, weights in whole.network.state_dict().items():
        assert torch.equal(weights, state.network.state_dict()[name]), name
    for name, weights in whole.averaged.state_dict().items():
        assert torch.equal(weights, state.averaged.state_dict()[name]), name
    for name, value in whole.balance.state_dict().items():
        assert torch.equal(value, state.balance.state_dict()[name]), name


def test_the_curve_drops_what_a_kill_left_behind(tmp_path, uninterrupted):
    config = make_config()
    folder = RunFolder(tmp_path / "torn")
    run(make_config(steps=6), folder)
    state = make_state(config)
    state.load(folder.state, config.model_dump(mode="json"))
    state.step = 6
    folder.log.write_text(folder.log.read_text() + '{"step": 7, "loss": 1.0}\n{"step": 8, "lo')
    run(config, folder, state=state)
    assert folder.log.read_bytes() == uninterrupted(config)[1]


def test_the_losses_are_of_all_coarse_sections_and_of_the_fused_one_in_the_middle(tmp_path):
    config = make_config(in_slices=3, out_slices=3, steps=1)
    folder = RunFolder(tmp_path / "run")
    state = make_state(config)
    batch = make_sampler(config).batch(0)
    noisy, clean = (torch.from_numpy(i).float() / 127.5 - 1 for i in (batch.noisy, batch.clean))
    with torch.no_grad():
        prediction = copy.deepcopy(state.network).train()(noisy)
    run(config, folder, state=state)
    logged = json.loads(folder.log.read_text().splitlines()[0])
    coarse = (prediction.coarse - clean).square().mean().item()
    fused = (prediction.fused[:, 0] - clean[:, 1]).square().mean().item()
    assert logged["coarse"] == pytest.approx(coarse, rel=1e-4)
    assert logged["fused"] == pytest.approx(fused, rel=1e-4)
    whole = logged["coarse"] + 3 * logged["affinities"] + 50 * logged["fused"]
    assert logged["loss"] == pytest.approx(whole, rel=1e-5)


def test_sigterm_saves_and_says_so(tmp_path):
    config = make_config(save_every=100)
    folder = RunFolder(tmp_path / "run")

    def validate(network):
        signal.raise_signal(signal.SIGTERM)
        return {"voi": 1.0, "psnr": 20.0}

    with pytest.raises(InterruptedRunError, match="step 3 of 6") as caught:
        run(config, folder, validate=validate)
    assert caught.value.exit_code == 75
    state = make_state(config)
    state.load(folder.state, config.model_dump(mode="json"))
    assert state.step == 3
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


@pytest.mark.parametrize(
    ("recipe", "metrics", "score"),
    [
        ("joint", {"voi": 2.0, "psnr": 20.0}, -2.0),
        ("joint", {"voi": 2.0, "voi_3d": 3.0, "psnr": 20.0}, -3.0),
        ("dn_only", {"psnr": 20.0}, 20.0),
    ],
)
def test_the_best_has_the_lowest_voi_of_the_volume_or_the_highest_psnr(
    tmp_path, recipe, metrics, score
):
    config = make_config(recipe=recipe, steps=3)
    state = run(config, RunFolder(tmp_path / "run"), validate=lambda network: metrics)
    assert state.best == score


def test_a_stop_in_an_inner_block_reaches_the_outer_one():
    with stop_signal() as outer:
        with stop_signal() as inner:
            signal.raise_signal(signal.SIGTERM)
            assert inner.is_set()
            assert not outer.is_set()
        assert outer.is_set()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_resuming_another_configuration_is_refused_by_name(tmp_path):
    folder = RunFolder(tmp_path / "run")
    run(make_config(), folder)
    other = make_config(optimizer={"lr": 0.5})
    with pytest.raises(ConfigError, match=r"optimizer\.lr was 0\.002, now 0\.5"):
        make_state(other).load(folder.state, other.model_dump(mode="json"))


@pytest.mark.parametrize("name", RECIPES)
def test_a_step_changes_exactly_what_the_recipe_trains(tmp_path, name):
    config = make_config(recipe=name, steps=1, optimizer={"lr": 0.1, "warmup_steps": 0})
    state = make_state(config)
    before = {k: v.clone() for k, v in state.network.state_dict().items()}
    run(config, RunFolder(tmp_path / "run"), state=state)
    recipe = get_recipe(name)
    gradients = {k: p.grad for k, p in state.network.named_parameters()}
    statistics = ("running_mean", "running_var", "num_batches_tracked")
    for key, value in state.network.state_dict().items():
        moved = not torch.equal(value, before[key])
        trained = key.split(".")[0] in recipe.trained
        if key.endswith(statistics):
            assert moved == trained, key
        elif trained and gradients[key] is not None:
            # A bias before a batch norm has a gradient of rounding errors, too small for SGD.
            assert moved or gradients[key].abs().max() < 1e-6, key
        else:
            assert not moved, key
    idle = {k for k, g in gradients.items() if g is None and k.split(".")[0] in recipe.trained}
    # Attention that is linear has no use for what it would compare.
    unused = ("fusion.affinities_", "to_query", "to_key") if name == "joint_linear" else ()
    assert all(any(word in key for word in unused) for key in idle), idle
    assert bool(idle) == bool(unused)


@pytest.mark.parametrize("name", RECIPES)
def test_frozen_parts_are_in_evaluation_mode_and_without_gradient(tmp_path, name):
    state = make_state(config := make_config(recipe=name, steps=1))
    run(config, RunFolder(tmp_path / "run"), state=state)
    for part, module in state.network.parts().items():
        trained = part in get_recipe(name).trained
        assert {m.training for m in module.modules()} == {trained}
        assert {p.requires_grad for p in module.parameters()} == {trained}


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_takes_networks_in_three_dimensions(tmp_path, name):
    config = make_config(recipe=name, steps=1, **UNET3D)
    state = run(config, RunFolder(tmp_path / "run"))
    assert all(value.isfinite().all() for value in state.network.state_dict().values())


def test_gradients_flow_through_a_frozen_segmenter(tmp_path):
    """The affinities' loss alone moves the denoiser of dms."""
    config = make_config(recipe="dms", steps=1, loss={"coarse": 0})
    state = make_state(config)
    run(config, RunFolder(tmp_path / "run"), state=state)
    assert all(p.grad.abs().sum() > 0 for p in state.network.denoiser.parameters() if p.dim() > 1)


def test_only_the_released_ablation_moves_its_segmenter_by_sgd():
    kinds = {
        name: [
            type(one.optimizer).__name__ for one in make_state(make_config(recipe=name)).optimizers
        ]
        for name in RECIPES
    }
    assert kinds.pop("wo_seg2dn") == ["AdamW", "SGD"]
    assert set(map(tuple, kinds.values())) == {("AdamW",)}
    sgd = make_state(make_config(recipe="wo_seg2dn")).optimizers[1]
    (group,) = sgd.optimizer.param_groups
    assert (group["momentum"], group["weight_decay"]) == (0.9, 1e-4)


def test_detached_affinities_leave_the_segmenter_to_its_own_loss(tmp_path):
    weights = {"coarse": 0, "affinities": 0, "fused": 1}
    moved = {}
    for name in ("joint", "joint_detach"):
        config = make_config(recipe=name, steps=1, loss=weights, optimizer={"weight_decay": 0})
        state = make_state(config)
        run(config, RunFolder(tmp_path / name), state=state)
        moved[name] = any(p.grad is not None for p in state.network.segmenter.parameters())
    assert moved == {"joint": True, "joint_detach": False}


def test_affinities_are_detached_for_the_share_that_is_asked(tmp_path):
    """The fused term alone: its gradients reach the segmenter from the third step of four on."""
    loss = {"coarse": 0, "affinities": 0, "fused": 1, "detach_until": 0.5}
    config = make_config(steps=4, loss=loss, validation={"every": 1})
    state = make_state(config)
    reached = []

    def validate(network):
        reached.append(any(p.grad is not None for p in state.network.segmenter.parameters()))
        return {"voi": 1.0}

    run(config, RunFolder(tmp_path / "run"), state=state, validate=validate)
    assert reached == [False, False, True, True]


def test_the_fused_term_rises_over_the_share_that_is_asked(tmp_path):
    folder = RunFolder(tmp_path / "run")
    run(make_config(steps=6, loss={"ramp": 0.5}), folder)
    lines = [json.loads(line) for line in folder.log.read_text().splitlines()]
    lines = [line for line in lines if "loss" in line]
    for line, risen in zip(lines, (1 / 3, 2 / 3, 1, 1, 1, 1), strict=True):
        whole = line["coarse"] + 3 * line["affinities"] + risen * 50 * line["fused"]
        assert line["loss"] == pytest.approx(whole, rel=1e-5)


def test_log_variances_move_by_their_own_rate_and_do_not_decay(tmp_path):
    loss = {"balance": "uncertainty", "coarse": 5, "affinities": 3, "fused": 10}
    config = make_config(steps=1, loss=loss, optimizer={"warmup_steps": 0})
    state = make_state(config)
    before = {name: value.item() for name, value in state.balance.log_variances.items()}
    run(config, RunFolder(tmp_path / "run"), state=state)
    shared, own = (one.optimizer.param_groups[0] for one in state.optimizers)
    assert (shared["weight_decay"], own["weight_decay"]) == (1e-4, 0)
    assert own["lr"] == pytest.approx(10 * shared["lr"])
    # Adam's first step is as long as its rate, whatever the gradient.
    for name, value in state.balance.log_variances.items():
        assert abs(value.item() - before[name]) == pytest.approx(own["lr"], rel=1e-3), name


def test_a_state_from_before_weights_were_trained_is_continued(tmp_path):
    config = make_config()
    folder = RunFolder(tmp_path / "run")
    run(config, folder)
    content = torch.load(folder.state)
    assert content.pop("balance") == {}
    curve = content.pop("curve"), content.pop("sha256")
    torch.save(content, folder.state)
    state = make_state(config)
    state.load(folder.state, config.model_dump(mode="json"))
    assert state.step == 6
    assert "".join(state.curve).encode() == folder.log.read_bytes() == bytes(curve[0].numpy())


def test_a_segmenter_of_clean_images_never_sees_noise(tmp_path):
    """Two kinds of noise, one result."""
    states = []
    for sigma in ((1, 2), (80, 90)):
        noise = {"models": [{"kind": "gaussian", "sigma": sigma}]}
        config = make_config(recipe="seg_clean", steps=2, noise=noise, validation={"every": 1})
        states.append(run(config, RunFolder(tmp_path / f"{sigma[0]}")).network.state_dict())
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


def test_best_is_the_best_validation_and_last_the_end(tmp_path):
    scores = iter([{"voi": 2.0}, {"voi": 3.0}, {"voi": 1.0}])
    saved = []
    config = make_config(validation={"every": 2})
    run(config, RunFolder(tmp_path / "run"), validate=lambda _: next(scores), saved=saved)
    assert saved == [("best", 2), ("last", 2), ("last", 4), ("best", 6), ("last", 6)]


def test_of_equal_validations_the_first_stays_the_best(tmp_path):
    saved = []
    config = make_config(validation={"every": 2})
    run(config, RunFolder(tmp_path / "run"), validate=lambda _: {"voi": 2.0}, saved=saved)
    assert [step for which, step in saved if which == "best"] == [2]


def test_the_loss_falls(tmp_path):
    config = make_config(steps=60, optimizer={"warmup_steps": 5}, validation={"every": 60})
    run(config, RunFolder(tmp_path / "run"))
    curve = (tmp_path / "run" / "metrics.jsonl").read_text()
    lines = [json.loads(line) for line in curve.splitlines()]
    losses = [line["loss"] for line in lines if "loss" in line]
    assert np.mean(losses[-10:]) < 0.5 * np.mean(losses[:5])
