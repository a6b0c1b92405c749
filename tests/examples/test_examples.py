"""The examples run as they stand, and end in a number or a picture."""

import hashlib
import json
import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tifffile
import torch
from skimage.measure import label
from skimage.metrics import variation_of_information

from emds.demo.phantom import make_phantom
from emds.io import open_volume
from emds.networks.checkpoint import Checkpoint, save_checkpoint
from emds.networks.joint import Architecture

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
    for name in ("sbatch", "srun", "scontrol"):
        stand_in = Path(__file__).with_name("slurm_stand_in.py").read_text(encoding="utf-8")
        (binaries / name).write_text(f"#!{sys.executable}\n{stand_in}")
        (binaries / name).chmod(0o755)
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


def save_random_checkpoint(path: Path) -> None:
    torch.manual_seed(0)
    offsets = ((0, -1, 0), (0, 0, -1), (-1, 0, 0), (0, -5, 0), (0, 0, -5))
    architecture = Architecture(
        networks=("denoiser", "segmenter", "fusion"),
        width="tiny",
        affinity_channels=len(offsets),
        window=16,
    )
    save_checkpoint(
        Checkpoint(
            architecture=architecture.to_dict(),
            weights=architecture.build().state_dict(),
            offsets=offsets,
            attractive=(True, True, True, False, False),
            crop=16,
            recipe="joint",
            license="CC0-1.0",
        ),
        path,
    )


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


@pytest.mark.slow
def test_a_job_array_gives_the_bytes_of_a_plain_run(shell, tmp_path):
    """One task is stopped midway and put back into the queue, as the end of its time would do."""
    raw, _ = make_phantom((192, 32, 32), seed=6)
    tifffile.imwrite(tmp_path / "raw.tif", raw, photometric="minisblack")
    save_random_checkpoint(tmp_path / "model.pt")
    model = ("--checkpoint", str(tmp_path / "model.pt"))
    slurm, out, plain = tmp_path / "slurm", tmp_path / "seg.zarr", tmp_path / "plain/seg.zarr"
    slurm.mkdir()
    plain.parent.mkdir()
    shell("emds", "run", str(tmp_path / "raw.tif"), "--out", str(plain), *model)
    submitted = shell(
        str(EXAMPLES / "slurm/submit.sh"),
        *(str(tmp_path / "raw.tif"), str(out), *model, "--block-shape", "16", "256", "256"),
        TASKS="2",
        STAND_IN_FOLDER=str(slurm),
        STAND_IN_SIGNAL="2",
        OMP_NUM_THREADS="1",
    )
    logs = "\n".join(path.read_text() for path in sorted(slurm.glob("log-*")))
    assert submitted == f"array job 1, then job 2, write {out}\n", logs
    assert json.loads((slurm / "job-1.json").read_text()) == {"_1": 0, "_2": 0}, logs
    assert json.loads((slurm / "job-2.json").read_text()) == {"": 0}, logs
    assert [path.name for path in slurm.glob("requeued-*")] == ["requeued-1_2"], logs
    assert "stopped by a signal" in (slurm / "log-1_2.txt").read_text()
    assert digest(out) == digest(plain)


def digest(folder):
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_the_job_scripts_ask_for_a_signal_in_time_and_may_be_requeued():
    for name in ("part.sh", "finish.sh"):
        script = (EXAMPLES / "slurm" / name).read_text()
        assert "#SBATCH --signal=USR1@120\n#SBATCH --requeue\n" in script


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
