"""Commands that are killed again and again end as if nobody had disturbed them."""

from pathlib import Path

import numpy as np
import pytest
import tifffile
from killing import described, outcome_of_training
from lives import killed_often, lasting
from toy_cells import write_cells

pytestmark = pytest.mark.slow

KILLS = 20
CPU = ("--device", "cpu")


def test_train(place):
    train = (
        *("train", "raw.tif", "labels.tif", "--preset", "cpu", *CPU, "--steps", "150"),
        *("--set", "width=tiny", "--set", "crop=32", "--set", "batch_size=1"),
        *("--set", "log_every=1", "--set", "save_every=4", "--set", "validation.every=6"),
        *("--set", "validation.sections=1"),
    )
    longest = lasting((*train, "--out", "whole"))

    def next_start():
        folder = Path("run")
        begun = folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir())
        return (*train, "--out", "run", *(("--resume",) if begun else ()))

    assert killed_often(next_start, 16, longest / 20, KILLS) == KILLS
    assert outcome_of_training(Path("run")) == outcome_of_training(Path("whole"))


def test_tune(place):
    tune = ("tune", "model.pt", "raw.tif", "labels.tif", "--roi", "0:5", *CPU)
    longest = lasting((*tune, "--out", "whole.pt"))

    def next_start():
        return None if Path("tuned.pt").exists() else (*tune, "--out", "tuned.pt")

    # Its calls are few, and with the last of them it has finished.
    assert killed_often(next_start, 3, 0.4 * longest, KILLS) >= 15
    assert described(Path("tuned.pt")) == described(Path("whole.pt"))
    assert {path.name for path in Path().glob(".*")} == set()


def test_adapt(place):
    raw = tifffile.imread("raw.tif").astype(float)
    noisy = raw + np.random.default_rng(0).normal(0, 30, raw.shape)
    tifffile.imwrite("noisy.tif", np.clip(noisy.round(), 0, 255).astype(np.uint8))
    adapt = ("adapt", "model.pt", "noisy.tif", *CPU, "--steps", "60", "--lr", "0.02")
    longest = lasting((*adapt, "--out", "whole.pt"))

    def next_start():
        begun = list(Path("new.pt.partial").rglob("state.pt"))
        left = Path("new.pt.partial").exists()
        if Path("new.pt").exists() and not left:
            return None
        return (*adapt, "--out", "new.pt", "--resume" if begun else "--overwrite" if left else "-q")

    assert killed_often(next_start, 12, 0.3 * longest, KILLS) >= 15
    assert described(Path("new.pt")) == described(Path("whole.pt"))
    names = {path.name for path in Path().iterdir()}
    assert not {name for name in names if name.startswith((".", "new.pt."))}


def test_reproduce(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    write_cells(tmp_path, 12, 3)
    (tmp_path / "toy.yaml").write_text(
        "raw: raw.h5\nlabels: gt.h5\ntrain: [0, 5]\nvalidation: [6, 7]\ntest: [8, 12]\n"
        "rows: [0, 32]\nnoise: [gaussian-poisson]\n"
    )
    settings = ("width=tiny", "crop=16", "batch_size=1", "log_every=1", "save_every=5")
    sets = [word for one in settings for word in ("--set", one)]
    plan = (
        *("reproduce", "--table", "1", "--dataset", "toy.yaml", "--recipe", "dn_only", *CPU),
        *("--seeds", "2", "--steps", "40", "--set", "validation={every: 5, sections: 1}", *sets),
        *("--preset", "cpu", "--data", "."),
    )
    longest = lasting((*plan, "--out", "whole"))
    killed = killed_often(lambda: (*plan, "--out", "plan"), 16, longest / 20, KILLS)
    assert killed == KILLS
    for best in Path("whole/runs").rglob("*.pt"):
        if best.name != "state.pt":
            assert described(Path("plan") / best.relative_to("whole")) == described(best)
    names = [
        {path.relative_to(out) for path in Path(out, "runs").rglob("*")}
        for out in ("whole", "plan")
    ]
    assert names[0] == names[1]
