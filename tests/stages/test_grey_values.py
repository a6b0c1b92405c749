"""Grey values that do not fit what is said of them."""

import logging

import numpy as np
import pytest

from emds.errors import DataError
from emds.geometry import Roi
from emds.io.volume import MemoryVolume
from emds.stages.grey_values import auto_range, sample_boxes, warn_of_misfit

RNG = np.random.default_rng(0)
EIGHT_BIT = RNG.integers(0, 256, (8, 80, 80))  # all of the range, evenly


def said(caplog, values, asked, dtype=np.uint16, **how):
    volume = MemoryVolume(values.astype(dtype), location="scan.tif")
    caplog.clear()
    with caplog.at_level(logging.WARNING, "emds"):
        warn_of_misfit(volume, volume.roi, asked, **how)
    return [record.getMessage() for record in caplog.records]


@pytest.mark.parametrize(
    ("factor", "shift", "asked", "dtype"),
    [
        (16, 0, (0, 4095), np.uint16),
        (257, 0, (0, 65535), np.uint16),
        (16, -2048, (-2048, 2032), np.int16),
        (1, 0, None, np.uint8),
        (0.5, 60, None, np.uint8),
        (1 / 255, 0, (0, 1), np.float32),
        (100, 20_000, (0, 65535), np.uint16),  # 39 % of it
    ],
)
def test_values_that_fill_the_range_get_no_word(caplog, factor, shift, asked, dtype):
    assert said(caplog, EIGHT_BIT * factor + shift, asked, dtype) == []


@pytest.mark.parametrize(
    ("factor", "shift", "asked", "dtype", "words"),
    [
        (16, 0, (0, 65535), np.uint16, "fill 6 % of --intensity 0 65535"),
        (16, 30_720, (-2048, 2032), np.uint16, "lie 100 % outside --intensity -2048 2032"),
        (16, 0, (0, 255), np.uint16, "% outside --intensity 0 255"),
        (16, 0, (10_000, 20_000), np.uint16, "lie 100 % outside"),
        (1 / 17, 0, None, np.uint8, "fill 5 % of 0 to 255, the range of an 8-bit image"),
        (1 / 255, 0, (0, 255), np.float32, "fill 0 % of --intensity 0 255"),
    ],
)
def test_values_that_do_not_fit_are_told_of(caplog, factor, shift, asked, dtype, words):
    [message] = said(caplog, EIGHT_BIT * factor + shift, asked, dtype)
    assert words in message
    assert "scan.tif" in message


def test_of_training_images_the_remedy_is_another(caplog):
    [message] = said(caplog, EIGHT_BIT // 17, None, np.uint8, option=False)
    assert "stretch the image first" in message
    assert "--intensity" not in message


def test_auto_leaves_half_a_percent_out_on_either_side():
    values = np.sort(RNG.permutation(6 * 66 * 66)).reshape(6, 66, 66)  # the box of a sample
    low, high = auto_range(MemoryVolume(values.astype(np.uint16)), Roi.whole(values.shape))
    assert (low, high) == pytest.approx((0.005 * values.max(), 0.995 * values.max()))


def test_auto_does_not_care_about_outliers():
    values = EIGHT_BIT * 16
    values[0, 0, :4] = 65535
    volume = MemoryVolume(values.astype(np.uint16))
    low, high = auto_range(volume, volume.roi)
    assert low < 40
    assert 4040 < high <= 4080


def test_auto_looks_at_the_region_alone():
    values = np.concatenate([EIGHT_BIT, EIGHT_BIT + 5000])
    volume = MemoryVolume(values.astype(np.uint16))
    assert auto_range(volume, Roi((8, 0, 0), (8, 80, 80)))[0] >= 5000


def test_auto_of_nothing_is_refused():
    volume = MemoryVolume(np.full((2, 9, 9), 7, np.uint16))
    with pytest.raises(DataError, match="7 nearly everywhere"):
        auto_range(volume, volume.roi)


def test_a_sample_is_the_same_each_time_and_lies_in_the_region():
    volume = MemoryVolume(EIGHT_BIT)
    region = Roi((2, 3, 4), (6, 70, 71))
    boxes = sample_boxes(volume, region)
    assert boxes == sample_boxes(volume, region)
    assert all(region.contains(box) for box in boxes)
