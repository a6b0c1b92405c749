"""What a scheduler and a keyboard do to a running command."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

TRAIN = (
    *("train", "raw.tif", "labels.tif", "--device", "cpu", "--out", "run"),
    *("--set", "width=tiny", "--set", "crop=32", "--set", "batch_size=1", "--set", "log_every=1"),
    *("--set", "validation.sections=1", "--set", "validation.every=100000"),
)


def start(*arguments):
    return subprocess.Popen(
        [sys.executable, "-m", "emds", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )


def wait_for(path, child):
    for _ in range(1200):
        if path.exists() and path.stat().st_size:
            return
        assert child.poll() is None, child.communicate()
        time.sleep(0.1)
    raise AssertionError(f"{path} never came")


def steps(place):
    lines = (place / "run/metrics.jsonl").read_text().splitlines()
    return [line["step"] for line in map(json.loads, lines) if "loss" in line]


@pytest.mark.slow
def test_sigterm_saves_and_the_run_goes_on_with_resume(place, emds):
    child = start(*TRAIN, "--steps", "100000")
    wait_for(place / "run/metrics.jsonl", child)
    child.send_signal(signal.SIGTERM)
    _, stderr = child.communicate(timeout=120)
    assert child.returncode == 75, stderr
    assert "--resume" in stderr.splitlines()[-1]
    reached = steps(place)[-1]
    message = emds(*TRAIN, "--steps", reached + 2, "--resume")
    assert message.code == 2, "another number of steps is another run"
    assert "steps was 100000" in message.stderr


@pytest.mark.slow
def test_ctrl_c_ends_quietly_with_130(place):
    child = start(*TRAIN, "--steps", "100000")
    wait_for(place / "run/metrics.jsonl", child)
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=120)
    assert child.returncode == 130, stderr
    assert stderr.splitlines()[-1] == "emds: error: stopped by Ctrl-C."
    assert "Traceback" not in stderr
