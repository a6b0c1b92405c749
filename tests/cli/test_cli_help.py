"""Help texts: there, short enough to read, and true to what the options accept."""

import typer

from emds.cli import adapt, commands, inference, noise, options, reproduce, tuning, upkeep
from emds.cli.app import app
from emds.config import PRESETS, TrainConfig
from emds.datasets import PUBLISHED
from emds.metrics.report import PROTOCOLS
from emds.noise import NOISE_MODELS
from emds.stages.estimate_noise import DEFAULT_VOXELS
from emds.stages.plan import InferenceOptions
from emds.training.recipes import RECIPES

NAMES = ["simulate-noise", "estimate-noise", "train", "adapt", "denoise", "segment", "run", "merge"]
NAMES += ["evaluate", "check", "pyramid", "reproduce", "info", "demo", "tune"]


def test_every_command_has_help_with_an_example(emds_ok):
    for name in NAMES:
        text = emds_ok(name, "--help")
        assert f"Example: emds {name}" in " ".join(text.split())
        assert "..." not in text
        assert text == emds_ok(name, "-h")


def test_every_option_says_what_it_is_for():
    group = typer.main.get_command(app)
    for name in NAMES:
        for parameter in group.commands[name].params:
            assert parameter.help, f"{name} {parameter.name}"
            if parameter.name not in ("help",) and parameter.param_type_name == "option":
                assert not any("_" in flag for flag in parameter.opts)


def test_the_first_lines_fit(emds_ok):
    listed = emds_ok("--help").split("Commands:")[1].split("Exit codes")[0]
    assert "..." not in listed


def test_names_in_the_help_are_those_that_exist(emds_ok):
    flat = {name: " ".join(emds_ok(name, "--help").split()) for name in NAMES}
    assert ", ".join(PRESETS).replace(", cpu", " or cpu") in flat["train"]
    assert all(recipe in flat["train"] for recipe in RECIPES)
    assert f"[default: {TrainConfig().recipe}]" in flat["train"]
    assert f"[default: {TrainConfig().seed}]" in flat["train"]
    assert ", ".join(PRESETS).replace(", cpu", " or cpu") in flat["reproduce"]
    assert all(name in flat["reproduce"] for name in PUBLISHED)
    assert all(kind in flat["simulate-noise"] for kind in NOISE_MODELS)
    assert f"[default: {DEFAULT_VOXELS:,}]" in flat["estimate-noise"]
    assert {choice.value for choice in options.Protocol} == {*PROTOCOLS, "all"}
    assert all(f"{protocol}:" in flat["evaluate"] for protocol in PROTOCOLS)


def test_run_offers_every_choice_of_inference():
    import inspect

    offered = inspect.signature(inference.run).parameters.keys()
    told = {"chunk_shape"}  # what the first process of a run settles, and tells the others
    assert set(InferenceOptions.__dataclass_fields__) - told <= offered
    halves = {
        name: set(inspect.signature(command).parameters)
        for name, command in (("denoise", inference.denoise), ("segment", inference.segment))
    }
    assert halves["denoise"] | halves["segment"] >= offered


def test_units_are_named(emds_ok):
    text = " ".join(emds_ok("run", "--help").split())
    for phrase in ("Voxel size in nanometres", "in voxels, end excluded", "tiles share, voxels"):
        assert phrase in text


def test_commands_hold_no_loops():
    import ast
    from pathlib import Path

    for module in (adapt, commands, inference, noise, reproduce, tuning, upkeep):
        tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
        loops = [node for node in ast.walk(tree) if isinstance(node, ast.For | ast.While)]
        assert loops == []
