"""The examples run as they stand, and end in a number or a picture."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

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


def test_three_commands(shell):
    printed = shell(str(EXAMPLES / "three_commands.sh"))
    assert number("PSNR", printed) > 20
    assert 0 < number("strict: VOI", printed) < 4


def test_training_on_your_own(shell):
    printed = shell(str(EXAMPLES / "train_on_your_own.sh"))
    noisy, denoised = (float(x) for x in re.findall(r"^PSNR +([0-9.]+)", printed, re.MULTILINE))
    assert denoised > noisy + 3
    assert number("strict: VOI", printed) > 0


def test_python_interface(shell, tmp_path):
    printed = shell("python", str(EXAMPLES / "python_api.py"))
    assert number("PSNR", printed) > 20
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
