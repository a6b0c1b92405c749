"""The toy volume of the plans."""

import numpy as np
import pytest

from emds.io import create_volume


@pytest.fixture
def data(tmp_path):
    """Twelve sections of square cells with dark borders, described in YAML."""
    labels = np.kron(np.arange(1, 10).reshape(3, 3), np.ones((12, 12))).astype(np.uint64)
    edge = (np.roll(labels, 1, 0) != labels) | (np.roll(labels, 1, 1) != labels)
    raw = np.where(edge, 40, 180).astype(np.uint8)
    for name, values, role in (("raw", raw, "raw"), ("gt", labels, "labels")):
        with create_volume(
            tmp_path / f"{name}.h5", shape=(12, 36, 36), dtype=values.dtype, role=role
        ) as volume:
            volume.write(volume.roi, np.broadcast_to(values, (12, 36, 36)))
    (tmp_path / "toy.yaml").write_text(
        "raw: raw.h5\nlabels: gt.h5\ntrain: [0, 5]\nvalidation: [6, 7]\ntest: [8, 12]\n"
        "rows: [0, 32]\nnoise: [gaussian-poisson]\n"
    )
    return tmp_path
