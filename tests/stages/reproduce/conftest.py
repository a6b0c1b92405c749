"""The toy volume of the plans."""

import pytest
from toy_cells import write_cells


@pytest.fixture
def data(tmp_path):
    """Twelve sections of square cells, described in YAML."""
    write_cells(tmp_path, 12, 3)
    (tmp_path / "toy.yaml").write_text(
        "raw: raw.h5\nlabels: gt.h5\ntrain: [0, 5]\nvalidation: [6, 7]\ntest: [8, 12]\n"
        "rows: [0, 32]\nnoise: [gaussian-poisson]\n"
    )
    return tmp_path
