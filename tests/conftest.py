"""Fixtures that several parts need."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def em_data() -> Path:
    """Folder of real EM volumes; tests that need it are skipped where it is absent."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    folder = Path(os.environ.get("EMDS_DATA", beside))
    if not (folder / "flyem_medulla.h5").is_file():
        pytest.skip(f"no EM volumes in {folder}; set EMDS_DATA to the folder that holds them")
    return folder
