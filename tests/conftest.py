"""Fixtures that several parts need."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path(__file__).resolve().parents[1]


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


@pytest.fixture(autouse=True)
def _logger_as_it_was() -> Iterator[None]:
    """Undo what a command that ran in this process did to the logger."""
    logger = logging.getLogger("emds")
    before = (logger.handlers, logger.level, logger.propagate)
    yield
    logger.handlers, logger.level, logger.propagate = before


@pytest.fixture(scope="session")
def em_data() -> Path:
    """Folder of real EM volumes; tests that need it are skipped where it is absent."""
    beside = _ROOT.parent / "shared" / "data"
    folder = Path(os.environ.get("EMDS_DATA", beside))
    if not (folder / "flyem_medulla.h5").is_file():
        pytest.skip(f"no EM volumes in {folder}; set EMDS_DATA to the folder that holds them")
    return folder


@pytest.fixture
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Do not wait for the disk: most tests are of what is written in which order."""
    monkeypatch.setattr(os, "fsync", lambda handle: None)
