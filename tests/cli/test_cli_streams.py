"""Output that cannot be written: an exit code as other tools have it, and no traceback."""

import subprocess
import sys
from pathlib import Path

import pytest

EMDS = f"{sys.executable} -m emds"


def shell(place, line):
    return subprocess.run(["bash", "-c", line], cwd=place, capture_output=True, text=True)


CASES = {
    # command line: exit code, what stderr ends with
    f"{EMDS} info gt.h5 >&-": (1, "emds: error: Bad file descriptor: while writing.\n"),
    f"{EMDS} --version >&-": (1, "emds: error: Bad file descriptor: cannot write to stdout.\n"),
    f"{EMDS} info gt.h5 2>&-": (0, ""),
    f"{EMDS} info nothing.h5 2>&-": (3, ""),
    f"{EMDS} info gt.h5 <&- >&- 2>&-": (1, ""),
    f"{EMDS} info gt.h5 | true; exit ${{PIPESTATUS[0]}}": (141, ""),
    f"{EMDS} --help | true; exit ${{PIPESTATUS[0]}}": (141, ""),
}
if Path("/dev/full").exists():
    full = "emds: error: No space left on device: "
    CASES[f"{EMDS} info gt.h5 > /dev/full"] = (1, f"{full}while writing.\n")
    CASES[f"{EMDS} --version > /dev/full"] = (1, f"{full}cannot write to stdout.\n")


@pytest.mark.parametrize("line", CASES)
def test_output_that_cannot_be_written(place, line):
    # Without what the shell itself has to say of the closed stream.
    code, stderr = CASES[line]
    done = shell(place, line)
    assert done.returncode == code, done
    assert done.stderr == stderr


def test_a_result_does_not_go_where_a_closed_stream_was(place):
    """The first file that is opened would get the number of a stream that is closed."""
    done = shell(place, f"{EMDS} simulate-noise raw.tif --type gaussian --out a.tif >&- 2>&-")
    assert done.returncode == 1  # it prints where the result is
    whole = shell(place, f"{EMDS} simulate-noise raw.tif --type gaussian --out b.tif")
    assert whole.returncode == 0
    assert (place / "a.tif").read_bytes() == (place / "b.tif").read_bytes()
