"""What a scheduler and a keyboard do to a running command."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time

import pytest
from small_runs import contents, write_checkpoint, write_grey

TRAIN = (
    *("train", "raw.tif", "labels.tif", "--device", "cpu", "--out", "run", "--preset", "cpu"),
    *("--set", "width=tiny", "--set", "crop=32", "--set", "batch_size=1", "--set", "log_every=1"),
    *("--set", "validation.sections=1", "--set", "validation.every=100000"),
)


def start(*arguments, **how):
    return subprocess.Popen(
        [sys.executable, "-m", "emds", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        # A shell that runs the tests in the background has its children ignore Ctrl-C.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        **how,
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
def test_ctrl_c_in_training_saves_and_ends_with_130(place):
    child = start(*TRAIN, "--steps", "100000")
    wait_for_step(place, child, 3)
    child.send_signal(signal.SIGINT)
    _, stderr = child.communicate(timeout=120)
    assert child.returncode == 130, stderr
    assert re.search(r"error: stopped by Ctrl-C at step \d+ of 100000; the state is saved", stderr)
    assert stderr.splitlines()[-1].endswith("Continue with --resume.")
    assert "Traceback" not in stderr
    assert (place / "run/state.pt").is_file()


@pytest.mark.slow
@pytest.mark.parametrize("workers", [(), ("--workers", "2")], ids=["alone", "workers"])
def test_a_run_stopped_at_any_moment_says_how_to_go_on_and_does(place, workers):
    """By any of the signals, sent to it alone or to all its processes."""
    rng = random.Random(len(workers))
    grey, model = write_grey(place / "grey.zarr"), write_checkpoint(place / "model.pt")
    words = ["run", str(grey), "-m", str(model), "--device", "cpu", "--quiet", "--tile"]
    words += [*["1", "16", "16"], "--overlap", *["0", "8", "0"], *workers]
    words += ["--block-shape", *["16", "24", "16"], "--label-block-shape", *["16", "24", "16"]]
    began = time.monotonic()
    (place / "whole").mkdir()
    finish(*words, "--out", "whole/out.zarr")
    usual = time.monotonic() - began
    stopped = 0
    for number in range(15):
        folder = place / str(number)
        folder.mkdir()
        out, partial = folder / "out.zarr", folder / "out.zarr.partial"
        child = start(*words, "--out", str(out), start_new_session=True)
        if number % 2:  # else most come while libraries are loaded
            while child.poll() is None and not partial.exists():
                time.sleep(0.01)
            time.sleep(rng.uniform(0, 0.3) * usual)
        else:
            time.sleep(rng.uniform(0.3, 1) * usual)
        sent = rng.choice([signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1])
        if child.poll() is None:
            rng.choice([os.kill, os.killpg])(child.pid, sent)
        _, stderr = child.communicate(timeout=300)
        assert child.returncode in (0, 130 if sent == signal.SIGINT else 75), (sent, stderr)
        assert "Traceback" not in stderr
        assert out.exists() == (child.returncode == 0)
        if partial.exists():
            stopped += 1
            assert "--resume" in stderr.splitlines()[-1]
        if not out.exists():
            finish(*words, "--out", str(out), *(["--resume"] * partial.exists()))
        assert contents(out) == contents(place / "whole/out.zarr"), (number, sent)
    assert stopped > 4, "test invalid"


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_comes_when_all_is_done_changes_nothing(sent):
    """While the interpreter ends, which takes a while with PyTorch."""
    script = (
        "import atexit, os, sys; sys.argv = ['emds', '--version']\n"
        f"atexit.register(lambda: os.kill(os.getpid(), {int(sent)}))\n"
        "from emds.cli.app import main; main()"
    )
    words = [sys.executable, "-c", script]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("emds ")
