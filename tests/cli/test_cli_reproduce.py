"""`emds reproduce` on synthetic volumes in the layout of AC3 and AC4."""

import json
import signal

import h5py
import pytest

from cli.conftest import cells, picture
from cli.test_cli_signals import start, wait_for


@pytest.fixture
def ac(tmp_path, monkeypatch):
    """Work in a folder whose subfolder `data` holds the four files, 64 pixels a side."""
    (tmp_path / "data").mkdir()
    for seed, (name, sections) in enumerate((("AC3", 256), ("AC4", 100))):
        labels = cells((sections, 64, 64), seed=seed)
        for kind, values in (("inputs", picture(labels)), ("labels", labels)):
            with h5py.File(tmp_path / "data" / f"{name}_{kind}.h5", "w") as file:
                file.create_dataset("main", data=values)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def table_2(*more):
    words = ("reproduce", "--table", "2", "--data", "data", "--preset", "cpu", "--seeds", "1")
    return (*words, "--set", "crop=64", "--device", "cpu", "--out", "plan", *more)


def test_a_dry_run_shows_what_there_is_to_do_and_writes_nothing(ac, emds):
    outcome = emds(*table_2("--steps", "20", "--dry-run"))
    assert outcome.code == 0, outcome
    lines = outcome.stdout.splitlines()
    assert lines[0].split() == ["task", "state", "time"]
    assert lines[1].split()[:3] == ["train", "ac4/gaussian-poisson/unet/dn_only/seed0", "left"]
    assert len(lines) == 1 + 11 + 10  # the clean segmenter serves both kinds of noise
    assert "21 of 21 tasks left, about" in outcome.stderr
    assert not (ac / "plan").exists()


def test_data_that_is_not_there_is_told_at_once(ac, emds_fails):
    message = emds_fails(3, "reproduce", "--table", "1", "--data", "data", "--out", "plan")
    assert "cremi-a: found no file under data" in message
    (ac / "data" / "AC4_labels.h5").unlink()
    assert "AC4_labels.h5 (array main)" in emds_fails(3, *table_2())


@pytest.mark.slow
def test_table_2_killed_once_and_continued(ac):
    small = ("--steps", "20", "--set", "width=tiny", "--set", "save_every=5")
    small += ("--set", "validation.sections=2")
    child = start(*table_2(*small))
    wait_for(ac / "plan/runs/ac4/gaussian-poisson/unet+unet/joint/seed0/metrics.jsonl", child)
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=120)
    assert child.returncode == -signal.SIGKILL

    child = start(*table_2(*small))
    stdout, stderr = child.communicate(timeout=1800)
    assert child.returncode == 0, stderr
    assert "Table 2: ac4, gaussian-poisson, unet+unet" in stdout
    assert "Table 2: ac4, film, unet+unet" in stdout
    assert "25.498" in stdout  # the paper's, beside
    results = json.loads((ac / "plan/results.json").read_text())
    assert [line["seeds"] for line in results["lines"]] == [[0]] * 10
    assert (ac / "plan/results.csv").is_file()
    assert (ac / "plan/report.html").is_file()
