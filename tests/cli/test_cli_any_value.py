"""Whatever stands behind an option: a plan, a result or one error, and never a bug."""

from __future__ import annotations

import re

import h5py
import numpy as np
import pytest
import typer.main
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from emds.cli.app import app

WORDS = [
    *("nan", "-nan", "inf", "-inf", "0", "-0", "-1", "1", "2", "3", "0.5", "1e308", "1e309"),
    *("-1e-320", "1e-30", "9" * 30, "9" * 5000, "-" + "9" * 400, "1_0", "0x10", "٣", "²", "1,5"),
    *("", " ", "auto", "none", "None", "true", "\x1b[31m", "💥", "\udcff", "x" * 5000, "'", '"'),
    *("1:2", "0:0", "9:1", ":", "0:" + "9" * 5000, "-1:2", "0:1,0:1,0:1", "::", "nan:1", "0:1,,"),
    *("a=b", "=", "denoiser=", "=x", "steps=nan", "optimizer.lr=inf", "a.b.c=1", "crop=1e30"),
    *("offsets=[[0,0,.nan]]", "noise.models=[{sigma: [.inf, 1]}]", "augment.zoom=[0, 1]"),
    *("/dev/null", "/", ".", "..", "/nonexistent/x.zarr", "x.zarr", "x.tif", "a:b", "*", "~"),
    *("cpu", "cuda:99", "cuda:-1", "meta", "cpu:0", "1/2", "0/0", "2/1", "1/" + "9" * 5000),
    *("slurm", "64MiB", "1KiB", "999999999999TiB", "9" * 400 + "GB", "-1GiB", "1e3MB"),
]

# What each command is given beside the option that is tried; cheap, with or without it.
BASES = {
    "denoise": "noisy.h5 --out out.zarr --checkpoint model.pt --dry-run",
    "segment": "noisy.h5 --out out.zarr --checkpoint model.pt --dry-run",
    "run": "noisy.h5 --out out.zarr --checkpoint model.pt --dry-run --tta",
    "train": "noisy.h5 ids.h5 --out trained --preset cpu",
    "tune": "model.pt noisy.h5 ids.h5 --out tuned.pt",
    "adapt": "model.pt noisy.h5 --out adapted.pt",
    "evaluate": "ids.h5 ids.h5 --denoised noisy.h5 --clean noisy.h5",
    "simulate-noise": "noisy.h5 --type gaussian --out made.h5 --overwrite",
    "estimate-noise": "noisy.h5",
    "reproduce": "--data . --out tables --dataset mine.yaml --recipe dn_only --dry-run",
    "merge": "nothing.zarr",
    "pyramid": "noisy.h5",
    "check": "noisy.h5",
    "info": "noisy.h5",
    "demo": "--out full",
}
LEFT_OUT = {("demo", "--out")}  # would begin the whole demonstration
COMMANDS = typer.main.get_command(app).commands


def options_of(command):
    """Return (name, words it takes) for each option that takes some."""
    return [
        (max(param.opts, key=len), param.nargs)
        for param in COMMANDS[command].params
        if param.param_type_name == "option" and not param.is_flag and param.nargs > 0
        if (command, max(param.opts, key=len)) not in LEFT_OUT
    ]


def test_every_command_has_a_base_and_options_are_found():
    assert BASES.keys() == COMMANDS.keys() - {"worker"}
    assert ("--voxel-size", 3) in options_of("run")
    assert ("--intensity", 2) in options_of("adapt")


@pytest.fixture(scope="module")
def folder(tmp_path_factory, module_checkpoint):
    place = tmp_path_factory.mktemp("any")
    rng = np.random.default_rng(0)
    ids = np.kron(np.arange(1, 10).reshape(1, 3, 3), np.ones((3, 8, 8))).astype(np.uint16)
    for name, values, key in (
        ("noisy", rng.integers(0, 256, ids.shape).astype(np.uint8), "volumes/raw"),
        ("ids", ids, "volumes/labels/neuron_ids"),
    ):
        with h5py.File(place / f"{name}.h5", "w") as file:
            file[key] = values
            file[key].attrs["resolution"] = (40.0, 8.0, 8.0)
    (place / "mine.yaml").write_text(
        "raw: noisy.h5\nlabels: ids.h5\ntrain: [0, 1]\nvalidation: [1, 2]\ntest: [2, 3]\n"
    )
    (place / "full").mkdir()
    (place / "full" / "thesis.txt").write_text("mine")
    module_checkpoint(place / "model.pt")
    return place


@pytest.fixture(scope="module")
def module_checkpoint():
    from tests.cli.conftest import save_random_checkpoint

    return save_random_checkpoint


def complaint_about(command, words):
    """Run a command line; return what is wrong with how it ended, if anything is."""
    result = CliRunner().invoke(app, [command, *BASES[command].split(), *words], prog_name="emds")
    errors = re.findall(r"^emds: error: ", result.stderr, flags=re.MULTILINE)
    if "File name too long" in result.stderr:
        return None  # what the system says of a path
    if result.exit_code not in (0, 2, 3, 4):
        return f"exit code {result.exit_code}: {result.stderr[-500:]}"
    if len(errors) != (result.exit_code != 0):
        return f"{len(errors)} error lines with exit code {result.exit_code}"
    if "bug in emds" in result.stderr or "Traceback" in result.stderr:
        return result.stderr[-500:]
    if not isinstance(result.exception, SystemExit | None):
        return repr(result.exception)
    return None


@pytest.mark.parametrize("command", BASES)
@settings(
    max_examples=12,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(data=st.data())
def test_any_value_gives_a_result_or_one_error(folder, monkeypatch, command, data):
    monkeypatch.chdir(folder)
    if not options_of(command):
        return
    name, count = data.draw(st.sampled_from(options_of(command)))
    values = data.draw(st.lists(st.sampled_from(WORDS), min_size=count, max_size=count))
    assert complaint_about(command, [name, *values]) is None


@pytest.mark.slow
@pytest.mark.parametrize("command", BASES)
def test_each_value_behind_each_option(folder, monkeypatch, command):
    """Every word alone, and as one of the words of an option that takes several."""
    monkeypatch.chdir(folder)
    wrong = {}
    for name, count in options_of(command):
        for word in WORDS:
            for place in range(count):
                values = ["8"] * count
                values[place] = word
                complaint = complaint_about(command, [name, *values])
                if complaint:
                    wrong[name, *values] = complaint
    assert not wrong
