"""The examples run as they stand, and end in a number or a picture."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from skimage.measure import label
from skimage.metrics import variation_of_information

from emds.demo.phantom import make_phantom
from emds.io import open_volume

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def shell(tmp_path):
    """Run a command with this interpreter's `python` and `emds`, its files below `tmp_path`."""
    binaries = tmp_path / "bin"
    binaries.mkdir()
    interpreter = shlex.quote(sys.executable)
    for name, arguments in (("python", ""), ("emds", "-m emds ")):
        program = binaries / name
        program.write_text(f'#!/bin/sh\nexec {interpreter} {arguments}"$@"\n')
        program.chmod(0o755)
    environment = os.environ | {
        "PATH": f"{binaries}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "TMPDIR": str(tmp_path),
    }

    def run(*command: str, **variables: str) -> str:
        done = subprocess.run(
            command, env=environment | variables, capture_output=True, text=True, timeout=900
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def number(name: str, text: str) -> float:
    found = re.findall(rf"^{re.escape(name)} +(-?[0-9.]+)", text, flags=re.MULTILINE)
    assert found, f"no {name} in:\n{text}"
    return float(found[-1])


def sections(location, role):
    with open_volume(location, role=role) as volume:
        return volume.read()


def psnr_by_hand(image, clean):
    """Return the mean over sections, dB."""
    squares = [np.square(a.astype(float) - b).mean() for a, b in zip(image, clean, strict=True)]
    return np.mean([10 * np.log10(255**2 / square) for square in squares])


def voi_by_hand(labels, truth):
    """Return the mean over sections by scikit-image, bits."""
    voi = []
    for section, cells in zip(labels, truth, strict=True):
        both = (
            label(ids.astype(np.int64), connectivity=1, background=0) for ids in (cells, section)
        )
        voi.append(sum(variation_of_information(*both, ignore_labels=(0,))))
    return np.mean(voi)


def check_scores(printed, tmp_path, clean, truth):
    """What is printed last is what the output that lies there scores."""
    (out,) = tmp_path.glob("*/seg.zarr")
    psnr = psnr_by_hand(sections(out, "raw"), clean)
    voi = voi_by_hand(sections(out, "labels"), truth)
    assert number("PSNR", printed) == pytest.approx(psnr, abs=1e-3)
    assert number("strict: VOI", printed) == pytest.approx(voi, abs=1e-3)


def test_three_commands(shell, tmp_path):
    printed = shell(str(EXAMPLES / "three_commands.sh"))
    check_scores(printed, tmp_path, *make_phantom((4, 192, 192), seed=1))
    # Of section.pt as it is shipped; labels may change a little with the rounding of a machine.
    assert number("PSNR", printed) == pytest.approx(25.83, abs=0.1)
    assert number("strict: VOI", printed) == pytest.approx(1.75, abs=0.15)


def test_training_on_your_own(shell, tmp_path):
    printed = shell(str(EXAMPLES / "train_on_your_own.sh"))
    clean, truth = make_phantom((2, 128, 128), seed=2)
    check_scores(printed, tmp_path, clean, truth)
    noisy, denoised = (float(x) for x in re.findall(r"^PSNR +([0-9.]+)", printed, re.MULTILINE))
    (raw,) = tmp_path.glob("*/noisy.zarr")
    assert noisy == pytest.approx(psnr_by_hand(sections(raw, "raw"), clean), abs=1e-3)
    assert denoised == pytest.approx(23.7, abs=1)


def test_python_interface(shell, tmp_path):
    printed = shell("python", str(EXAMPLES / "python_api.py"))
    check_scores(printed, tmp_path, *make_phantom((2, 192, 192), seed=3))
    assert number("PSNR", printed) == pytest.approx(25.39, abs=0.1)
    assert number("strict: VOI", printed) == pytest.approx(2.42, abs=0.15)
    picture = Path(printed.rsplit("picture: ", 1)[1].strip())
    assert picture.is_relative_to(tmp_path)
    assert picture.read_bytes().startswith(PNG_SIGNATURE)


def test_the_container_holds_what_the_package_is_built_from():
    definition = (EXAMPLES / "slurm/Apptainer.def").read_text()
    copied = re.findall(r"^    (\S+) /opt/emds/\1$", definition, re.MULTILINE)
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {"emds", "pyproject.toml", project["readme"], "LICENSE"} == set(copied)
    assert all((ROOT / name).exists() for name in copied)


def test_every_example_is_tested():
    tested = {"three_commands.sh", "train_on_your_own.sh", "python_api.py"}
    assert {path.name for path in EXAMPLES.iterdir() if path.is_file()} == tested
    assert {path.name for path in EXAMPLES.iterdir() if path.is_dir()} == {"slurm"}
