"""Boxes that leave the volume are what `numpy.pad` would give, with no voxel read in vain."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layouts import example

from emds.geometry import Roi
from emds.io import MemoryVolume, read_padded

small = st.tuples(*[st.integers(1, 6)] * 3)
reach = st.tuples(*[st.integers(0, 15)] * 3)


class WatchedVolume(MemoryVolume):
    """Remembers what was read."""

    def read(self, roi: Roi | None = None) -> np.ndarray:
        self.seen = roi or self.roi
        assert self.roi.contains(self.seen), f"{roi} leaves the volume"
        return super().read(roi)


@given(shape=small, before=reach, after=reach, mode=st.sampled_from(["reflect", "edge"]))
def test_equals_numpy_pad(shape, before, after, mode) -> None:
    values = example("uint8", shape)
    roi = Roi.between(
        tuple(-b for b in before), tuple(n + a for n, a in zip(shape, after, strict=True))
    )
    padded = read_padded(WatchedVolume(values), roi, mode)
    width = list(zip(before, after, strict=True))
    np.testing.assert_array_equal(padded, np.pad(values, width, mode=mode))


@given(
    shape=small,
    offset=st.tuples(*[st.integers(-20, 20)] * 3),
    size=st.tuples(*[st.integers(1, 9)] * 3),
)
def test_any_box_is_cut_from_the_padded_volume(shape, offset, size) -> None:
    values = example("uint8", (2, *shape))
    width = 30
    whole = np.pad(values, [(0, 0)] + [(width, width)] * 3, mode="reflect")
    roi = Roi(offset, size)
    expected = whole[(..., *roi.shift((width,) * 3).slices())]
    padded = read_padded(WatchedVolume(values), roi)
    np.testing.assert_array_equal(padded, expected)
    assert padded.flags.c_contiguous


def test_only_the_needed_voxels_are_read() -> None:
    volume = WatchedVolume(example("uint8", (10, 50, 50)))
    read_padded(volume, Roi((-2, 45, 20), (4, 8, 5)))
    # z -2..1 mirrors to 0..2, y 45..52 to 45..49
    assert volume.seen == Roi((0, 45, 20), (3, 5, 5))


@pytest.mark.parametrize("mode", ["reflect", "edge"])
def test_the_volume_is_not_changed(mode: str) -> None:
    values = example()
    volume = MemoryVolume(values)
    read_padded(volume, Roi((-1, -1, -1), (3, 3, 3)), mode)[:] = 0
    np.testing.assert_array_equal(values, example())
