"""Layers of configuration: who wins, and what is refused with which words."""

from typing import get_args

import pytest

from emds.config import PRESETS, TrainConfig, load_train_config
from emds.errors import ConfigError
from emds.networks.iem import IEM_MODES


def test_command_line_beats_set_beats_file_beats_preset(tmp_path):
    file = tmp_path / "config.yaml"
    file.write_text("preset: cpu\nsteps: 7\nseed: 8\noptimizer: {lr: 0.5}\nbatch_size: 3\n")
    config = load_train_config(
        file=file,
        overrides=["optimizer.lr=0.25", "seed=9"],
        options={"seed": 10, "steps": None},
    )
    assert (config.seed, config.optimizer.lr, config.steps, config.batch_size) == (10, 0.25, 7, 3)
    assert config.crop == PRESETS["cpu"]["crop"]
    assert config.optimizer.warmup_steps == 100  # of the preset, beside the file's lr


@pytest.mark.parametrize("name", PRESETS)
def test_presets_are_valid(name):
    assert load_train_config(name).width in ("paper", "small")


def test_the_paper_preset_is_the_papers():
    config = load_train_config("paper")
    optimizer = config.optimizer
    assert (optimizer.name, optimizer.lr, optimizer.eps) == ("adam", 1e-4, 0.01)
    assert (optimizer.weight_decay, optimizer.amsgrad, optimizer.schedule) == (1e-6, True, "poly")
    assert (config.steps, config.batch_size, config.crop) == (400_000, 32, 256)
    assert not config.augment.dihedral
    assert not config.noise.online


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("optimiser.lr=1", "unknown key 'optimiser'.*Did you mean 'optimizer'"),
        ("optimizer.learning=1", "unknown key 'optimizer.learning'"),
        ("noise.models=[{kind: film, kernal: 3}]", "kernal.*Did you mean 'kernel'"),
        ("crop=100", "crop = 100.*multiple of 8"),
        ("steps=many", "steps = 'many'"),
        ("steps", "--set takes KEY=VALUE"),
        ("width=huge", "width = 'huge'"),
        ("noise={online: false}", "noise.online=false"),
        ("in_slices=4", "in_slices=4 and out_slices=1 must be odd"),
        ("out_slices=3", "in_slices=1 and out_slices=3 must be odd.*must not exceed"),
        ("offsets=isotropc", "offsets.set = 'isotropc'.*'isotropic'"),
        ("offsets=[[0, -1]]", r"offsets.list.0.2 = \[0, -1\]"),
    ],
)
def test_a_mistake_is_named(override, message):
    overrides = [override] + (["augment.planes=all"] if "online" in override else [])
    with pytest.raises(ConfigError, match=message):
        load_train_config(overrides=overrides)


def test_an_unknown_preset_lists_the_known():
    with pytest.raises(ConfigError, match=r"paper, modern, cpu.*Did you mean 'modern'"):
        load_train_config("moderne")


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    with pytest.raises(ConfigError, match="cannot read config file"):
        load_train_config(file=tmp_path / "absent.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n")
    with pytest.raises(ConfigError, match="mapping of keys"):
        load_train_config(file=tmp_path / "list.yaml")


def test_every_attention_can_be_configured():
    offered, _ = get_args(TrainConfig.model_fields["iem_mode"].annotation)
    assert get_args(offered) == IEM_MODES
