"""Volumes are read in one thread while others are written in another; imports stay cheap."""

from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from layouts import ALL, example

from emds.geometry import iter_blocks
from emds.io import create_volume, open_volume


@pytest.mark.parametrize("kind", ["emds zarr", "hdf5 cremi", "tiff zstd", "tiff slices"])
@pytest.mark.parametrize("target", ["copy.zarr", "copy.h5"])
def test_reading_while_writing(kind: str, target: str, tmp_path: Path) -> None:
    values = example("uint16", (24, 33, 26))
    location = ALL[kind](tmp_path, values)
    with (
        open_volume(location, role="raw") as source,
        create_volume(
            tmp_path / target, shape=source.shape, dtype="u2", chunk_shape=(2, 16, 16)
        ) as copy,
        ThreadPoolExecutor(3) as readers,
        ThreadPoolExecutor(1) as writer,
    ):
        rois = [block.write_roi for block in iter_blocks(source.roi, (2, 16, 16))]
        written = [
            writer.submit(copy.write, roi, box)
            for roi, box in zip(rois, readers.map(source.read, rois), strict=True)
        ]
        for future in written:
            future.result()
    with open_volume(tmp_path / target) as copy:
        np.testing.assert_array_equal(copy.read(), values)


def test_importing_io_loads_no_backend() -> None:
    code = (
        "import sys, emds.io; "
        "print({'zarr', 'h5py', 'tifffile', 'imagecodecs', 'yaozarrs'} & set(sys.modules))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "set()"
