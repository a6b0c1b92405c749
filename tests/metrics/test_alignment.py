from __future__ import annotations

import numpy as np
import pytest

from emds.errors import DataError
from emds.geometry import Roi
from emds.io.volume import CroppedVolume, MemoryVolume
from emds.metrics import align

NM = (40.0, 4.0, 8.0)


def numbered(shape, **options):
    return MemoryVolume(np.arange(np.prod(shape)).reshape(shape), **options)


@pytest.mark.parametrize("voxel_size", [NM, None])
@pytest.mark.parametrize("swap", [False, True])
def test_the_larger_is_cut_to_where_the_smaller_lies(voxel_size, swap):
    whole = numbered((6, 7, 8), voxel_size=voxel_size, offset=(120.0, 0.0, 16.0))
    roi = Roi((2, 1, 3), (3, 4, 5))
    part = CroppedVolume(whole, roi)
    small = MemoryVolume(part.read(), voxel_size=part.voxel_size, offset=part.offset)
    one, other, notes = align(whole, small) if swap else align(small, whole)
    np.testing.assert_array_equal(one.read(), other.read())
    cut, kept = ("segmentation", "ground truth") if swap else ("ground truth", "segmentation")
    assert notes == (f"{cut} cut to z 2:5, y 1:5, x 3:8, the place of the {kept}",)


def test_a_part_at_the_origin_is_placed_by_its_voxel_size():
    whole, part = numbered((6, 7, 8), voxel_size=NM), numbered((2, 7, 8), voxel_size=NM)
    assert align(part, whole)[1].shape == (2, 7, 8)


def test_the_voxel_size_of_one_is_enough():
    whole = numbered((6, 7, 8))
    part = numbered((2, 7, 8), voxel_size=NM, offset=(80.0, 0.0, 0.0))
    assert align(part, whole)[1].read()[0, 0, 0] == 2 * 7 * 8


def test_equal_shapes_are_taken_as_they_are():
    one, other = numbered((2, 2, 2)), numbered((2, 2, 2))
    assert align(one, other) == (one, other, ())


def test_equal_shapes_in_different_places_are_told():
    one = numbered((2, 2, 2), voxel_size=NM, offset=(40.0, 0.0, 0.0))
    other = numbered((2, 2, 2), voxel_size=(40.0, 8.0, 8.0))
    sizes, offsets = align(one, other)[2]
    assert "voxel sizes differ" in sizes
    assert "taken voxel by voxel" in offsets


@pytest.mark.parametrize(
    "part",
    [
        {},  # nothing says where it lies
        {"voxel_size": NM, "offset": (200.0, 0.0, 0.0)},  # sticks out
        {"voxel_size": NM, "offset": (20.0, 0.0, 0.0)},  # half a section off
        {"voxel_size": (40.0, 8.0, 8.0)},  # another grid
    ],
)
def test_no_place_inside_is_an_error_that_names_both(part):
    size = NM if part else None
    whole = numbered((6, 7, 8), voxel_size=size, location="gt.h5")
    with pytest.raises(DataError) as error:
        align(numbered((2, 7, 8), location="seg.zarr", **part), whole)
    for words in ("seg.zarr has shape (2, 7, 8)", "gt.h5 has (6, 7, 8)", "--roi z0:z1"):
        assert words in str(error.value)
