"""What a scheduler and a keyboard do to a running command."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

TRAIN = (
    *("train", "raw.tif", "labels.tif", "--device", "cpu", "--out", "run", "--preset", "cpu"),
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
        # A shell that runs the tests in the background has its children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
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


def wait_for_step(place, child, step):
    log = place / "run/metrics.jsonl"
    for _ in range(2400):
        if log.exists() and log.read_text().count("loss") > step:
            return
        assert child.poll() is None, child.communicate()
        time.sleep(0.05)
    raise AssertionError(f"step {step} never came")


def finish(*arguments):
    child = start(*arguments)
    _, stderr = child.communicate(timeout=300)
    assert child.returncode == 0, stderr


@pytest.mark.slow
def test_killed_stopped_and_resumed_the_curve_is_that_of_an_uninterrupted_run(place):
    train = (*TRAIN, "--steps", "60", "--set", "save_every=5")
    finish(*train, "--out", "whole")

    child = start(*train)
    wait_for_step(place, child, 7)
    child.send_signal(signal.SIGKILL)
    child.communicate(timeout=120)
    assert child.returncode == -signal.SIGKILL

    child = start(*train, "--resume")
    wait_for_step(place, child, 20)
    child.send_signal(signal.SIGTERM)
    _, stderr = child.communicate(timeout=120)
    assert child.returncode == 75, stderr
    assert "--resume" in stderr.splitlines()[-1]
    assert 20 < steps(place)[-1] < 60, "test invalid"

    finish(*train, "--resume")
    assert (place / "run/metrics.jsonl").read_bytes() == (
        place / "whole/metrics.jsonl"
    ).read_bytes()


@pytest.mark.slow
def test_ctrl_c_ends_quietly_with_130(place):
    child = start(*TRAIN, "--steps", "100000")
    wait_for(place / "run/metrics.jsonl", child)
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=120)
    assert child.returncode == 130, stderr
    assert stderr.splitlines()[-1] == "emds: error: stopped by Ctrl-C."
    assert "Traceback" not in stderr
