"""The commands and the code of the README work as they stand there."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from skimage.measure import label
from skimage.metrics import variation_of_information

from emds.io import open_volume

README = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")

# What makes a training run of hours one of seconds.
SHORT = "--steps 1 --set width=tiny --set crop=32 --set batch_size=1 --set validation.sections=1"


def blocks(language):
    found = re.findall(rf"^```{language}\n(.*?)^```$", README, flags=re.DOTALL | re.MULTILINE)
    assert found, "test invalid"
    return found


def commands():
    return [line for block in blocks("bash") for line in block.splitlines() if line]


def test_every_command_of_the_readme_works(place, emds_ok):
    for line in commands():
        if "$(" in line:
            continue  # see below
        words = shlex.split(line + (f" {SHORT}" if line.startswith("emds train") else ""))
        assert words[0] == "emds"
        emds_ok(*words[1:])
    for output in ("noisy", "seg", "denoised", "labels", "merged", "mine"):
        assert (place / f"{output}.zarr" / "zarr.json").is_file()
    assert (place / "runs/seq/best.pt").is_file()


def test_one_command_feeds_the_next(place):
    (line,) = [line for line in commands() if "$(" in line]
    script = f'set -eu; emds() {{ "{sys.executable}" -m emds "$@"; }}; {line}'
    subprocess.run(["bash", "-c", script], check=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert (place / "film.zarr/labels/neurons/zarr.json").is_file()


def test_the_python_of_the_readme_works(place, capsys):
    (code,) = blocks("python")
    assert len([line for line in code.splitlines() if line]) <= 20
    exec(compile(code, "README.md", "exec"), {})
    with (
        open_volume("film_seg.zarr", role="labels") as seg,
        open_volume("gt.h5", role="labels") as gt,
    ):
        sections = list(zip(gt.read().astype(np.int64), seg.read().astype(np.int64), strict=True))
    pieces = [[label(ids, connectivity=1, background=0) for ids in pair] for pair in sections]
    voi = np.mean([sum(variation_of_information(*pair, ignore_labels=(0,))) for pair in pieces])
    assert float(capsys.readouterr().out) == pytest.approx(voi)
    assert voi > 0.1, "test invalid"


def test_the_readme_lists_every_command(emds_ok):
    listed = emds_ok("--help").split("Commands:")[1]
    names = re.findall(r"^  ([a-z-]+)  +[A-Z]", listed, flags=re.MULTILINE)
    assert len(names) == 15
    for name in names:
        assert f"| `{name}" in README


@pytest.mark.parametrize("code", [0, 1, 2, 3, 4, 5, 75, 130])
def test_the_readme_lists_every_exit_code(code, emds_ok):
    assert f"| {code} | " in README
    assert re.search(rf"\b{code} \w", emds_ok("--help").split("Exit codes:")[1])
