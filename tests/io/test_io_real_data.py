"""Real EM files, as their makers wrote them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from emds.errors import VolumeError
from emds.geometry import Roi
from emds.io import describe, open_volume


def test_flyem_medulla_opens_by_role(em_data: Path) -> None:
    path = em_data / "flyem_medulla.h5"
    with open_volume(path, role="raw") as raw, open_volume(path, role="labels") as labels:
        assert raw.shape == labels.shape == (200, 250, 250)
        assert raw.voxel_size == labels.voxel_size == (10, 10, 10)
        assert raw.offset == labels.offset == (500, 0, 0)
        roi = Roi((100, 50, 60), (2, 100, 100))
        assert raw.read(roi).dtype == np.uint8
        assert 80 < raw.read(roi).mean() < 180
        assert labels.read(roi).dtype == np.uint64
        assert len(np.unique(labels.read(roi))) > 10
    assert len(describe(path)["arrays"]) == 4


def test_sections_of_different_thickness(em_data: Path) -> None:
    path = em_data / "vnc_larva_stack1.h5"
    assert open_volume(path, role="raw").voxel_size == (50, 4.6, 4.6)
    with pytest.raises(VolumeError, match=r"(?s)3 arrays.*neuron_ids_2d_cc"):
        open_volume(path, role="labels")


def test_labels_alone(em_data: Path) -> None:
    path = em_data / "pinky40_labels_512.h5"
    assert open_volume(path, role="labels").voxel_size == (40, 16, 16)
    with pytest.raises(VolumeError, match="labels"):
        open_volume(path, role="raw")
