"""Fixtures that several parts need."""

from __future__ import annotations

import faulthandler
import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[1]
_SLOW_SECONDS = 3600
_stderr: list[int] = []


def pytest_configure() -> None:
    """Keep compiled functions under a hash of all sources that hold some.

    numba looks for changes in the file of a function alone, not in those it calls into, so after
    an edit elsewhere it would run the old code.
    """
    digest = hashlib.sha256()
    for source in sorted((_ROOT / "emds").rglob("*.py")):
        content = source.read_bytes()
        if b"njit" in content:
            digest.update(content)
    folder = _ROOT / ".pytest_cache" / "numba" / digest.hexdigest()[:16]
    os.environ.setdefault("NUMBA_CACHE_DIR", str(folder))
    _stderr.append(os.dup(2))  # while a test runs, 2 is where its own output is gathered


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give slow tests a longer limit than that of all tests in pyproject.toml."""
    for item in items:
        if item.get_closest_marker("slow") and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(_SLOW_SECONDS))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    """End the process where pytest-timeout cannot end the test: in C that never lets go."""
    marker = item.get_closest_marker("timeout")
    limit = float(marker.args[0] if marker else item.config.getini("timeout"))
    faulthandler.dump_traceback_later(1.5 * limit, exit=True, file=_stderr[0])
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True)
def _logger_as_it_was() -> Iterator[None]:
    """Undo what a command that ran in this process did to the logger."""
    logger = logging.getLogger("emds")
    before = (logger.handlers, logger.level, logger.propagate)
    yield
    logger.handlers, logger.level, logger.propagate = before


@pytest.fixture(scope="session")
def em_data() -> Path:
    """Folder of real EM volumes; where none is named and none is there, tests are skipped."""
    beside = _ROOT.parent / "shared" / "data"
    named = os.environ.get("EMDS_DATA")
    folder = Path(named or beside)
    if not (folder / "flyem_medulla.h5").is_file():
        if named:
            pytest.fail(f"EMDS_DATA is {named}, which holds no flyem_medulla.h5")
        pytest.skip(f"no EM volumes in {folder}; set EMDS_DATA to the folder that holds them")
    return folder


@pytest.fixture
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk: most tests are of what is written in which order."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
