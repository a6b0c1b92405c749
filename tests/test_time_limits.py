"""A test that hangs fails, is named, and takes no other one along."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

HANGS = """
import itertools, threading, time
import pytest

def test_hangs_in_python():
    time.sleep(300)

def test_hangs_on_a_thread():
    threading.Thread(target=time.sleep, args=(300,), daemon=True).start()
    threading.Event().wait()

def test_hangs_in_c():
    # Nothing of Python runs here, so no signal is looked at and no other thread gets its turn.
    any(itertools.repeat(False))

@pytest.mark.slow
def test_slow(request):
    assert request.node.get_closest_marker("timeout").args == (3600,)

def test_beside():
    pass
"""


def run_tests(folder, *options):
    (folder / "test_it.py").write_text(HANGS)
    words = ["-c", ROOT / "pyproject.toml", "--rootdir", folder, "-p", "conftest", *options]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *words, folder / "test_it.py"],
        cwd=ROOT / "tests",
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.returncode, done.stdout + done.stderr


def test_a_test_that_hangs_fails_and_the_next_is_run(tmp_path):
    code, printed = run_tests(tmp_path, "-o", "timeout=4", "-k", "not hangs_in_c")
    assert code == 1, printed
    assert "2 failed, 1 passed" in printed
    for name in ("test_hangs_in_python", "test_hangs_on_a_thread"):
        assert f"test_it.py::{name}\n" in printed or f"test_it.py::{name} " in printed
    assert printed.count("Timeout (>4.0s)") >= 2


def test_a_test_that_never_lets_go_ends_the_process_by_its_name(tmp_path):
    code, printed = run_tests(tmp_path, "-o", "timeout=4", "-k", "hangs_in_c")
    assert code == 1
    assert "in test_hangs_in_c" in printed


def test_slow_tests_have_an_hour(tmp_path):
    code, printed = run_tests(tmp_path, "-m", "slow", "-o", "timeout=4")
    assert code == 0, printed


@pytest.mark.slow
def test_the_same_beside_others(tmp_path):
    code, printed = run_tests(tmp_path, "-o", "timeout=4", "-n", "2")
    assert code == 1, printed
    assert "3 failed, 1 passed" in printed
    assert "crashed while running 'test_it.py::test_hangs_in_c'" in printed
