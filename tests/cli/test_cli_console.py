"""Progress and tables, on a terminal and off it."""

import contextlib
import os
import pty
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from emds.cli.console import Console, ProgressLines, print_json

COMMAND = ("simulate-noise", "raw.tif", "--type", "gaussian", "--overwrite")


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def lines(clock):
    said = []
    return said, ProgressLines(said.append, clock)


def test_a_log_gets_a_line_at_the_start_every_30_s_and_at_the_end(lines, clock):
    said, report = lines
    for second in range(101):
        clock.now = float(second)
        report(second, 100, "tiles")
    assert [line.split(" ")[1] for line in said] == ["0", "30", "60", "90", "100"]
    assert said[2] == "tiles: 60 of 100 (60 %), 1 min 0 s so far, about 40 s left"


def test_a_new_phase_starts_anew(lines, clock):
    said, report = lines
    report(0, 2, "tiles")
    report(2, 2, "tiles")
    clock.now = 1.0
    report(1, 8, "sections")
    clock.now = 2.0
    report(2, 8, "sections")
    assert [line.split(",")[0] for line in said] == [
        "tiles: 0 of 2",
        "tiles: 2 of 2 (100 %)",
        "sections: 1 of 8",
    ]


def test_a_resumed_run_is_timed_from_where_it_started(lines, clock):
    said, report = lines
    report(900, 1000, "loss 1")
    clock.now = 50.0
    report(950, 1000, "loss 0.9")
    assert said[1] == "loss 0.9: 950 of 1000 (95 %), 50 s so far, about 50 s left"


@pytest.mark.parametrize("console", [Console(quiet=True), Console(show_progress=False)])
def test_no_progress_where_none_is_wanted(console):
    with console.progress() as report:
        assert report is None


def test_off_a_terminal_there_are_lines(place, emds):
    outcome = emds(*COMMAND)
    assert outcome.stdout == "raw_noisy.zarr\n"
    assert re.fullmatch(r"(emds: simulate-noise: \d+ of \d+.*\n)+", outcome.stderr)
    assert emds(*COMMAND, "--no-progress").stderr == ""


def on_a_terminal(*command):
    """Return (stdout, stderr) of a call whose streams are terminals of their own."""
    (out, child_out), (err, child_err) = pty.openpty(), pty.openpty()
    child = subprocess.Popen(
        [sys.executable, "-m", "emds", *command],
        stdout=child_out,
        stderr=child_err,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "100"},
    )
    os.close(child_out)
    os.close(child_err)
    # Both at once: a terminal that nobody reads from fills up, and the child would wait for ever.
    with ThreadPoolExecutor(2) as pool:
        texts = list(pool.map(read_until_closed, (out, err)))
    assert child.wait() == 0, texts
    return texts


def read_until_closed(terminal):
    parts = []
    with contextlib.suppress(OSError):  # what Linux says of a terminal whose other end is closed
        while part := os.read(terminal, 1 << 16):
            parts.append(part)
    os.close(terminal)
    return b"".join(parts).decode(errors="replace")


def test_on_a_terminal_there_is_a_bar_and_a_drawn_table(place):
    stdout, stderr = on_a_terminal("evaluate", "labels.tif", "gt.h5", "--protocol", "volume")
    assert "─" in stdout
    assert "volume: VOI" in stdout
    assert "━" in stderr
    assert "emds:" not in stderr


def test_json_holds_no_nan():
    with pytest.raises(ValueError, match="JSON"):
        print_json({"voi": float("nan")})


def test_warnings_are_one_line(place, emds):
    """The checkpoint was made at 8 nm, this says 30."""
    options = ("-m", "model.pt", "--no-progress", "--overwrite", "-o", "seg.zarr")
    outcome = emds("denoise", "raw.tif", *options, "--voxel-size", 30, 30, 30)
    warning, wrote = outcome.stderr.splitlines()
    assert warning.startswith("emds: warning: voxel size (30.0, 30.0, 30.0) nm")
    assert wrote == "emds: wrote seg.zarr"
    assert emds("-q", "denoise", "raw.tif", *options, "--voxel-size", 30, 30, 30).stderr == ""
