from __future__ import annotations

import numpy as np
import pytest
from reference_patches import reference_patch

from emds.noise.patches import join_patches, measure_patches, patch_shape


def block(shape):
    return np.random.default_rng(1).integers(0, 256, shape).astype(np.uint8)


@pytest.mark.parametrize(
    ("shape", "stack"),
    [
        ((7, 11, 19), True),
        ((5, 18, 10), True),  # patches of three sections
        ((3, 10, 10), True),
        ((2, 18, 35), False),
    ],
)
def test_patches_are_measured_as_by_hand(shape, stack):
    values = block(shape)
    patches = measure_patches(values, stack=stack)
    size = patch_shape(shape, stack)
    margin = (1, 1, 1) if stack else (0, 1, 1)
    corners = [
        (z, y, x)
        for z in range(margin[0], shape[0] - size[0] - margin[0] + 1, size[0])
        for y in range(1, shape[1] - size[1], size[1])
        for x in range(1, shape[2] - size[2], size[2])
    ]
    assert len(patches) == len(corners) > 0
    for i, corner in enumerate(corners):
        variance, mean, square, coarse, lagged = reference_patch(values, corner, size, stack)
        np.testing.assert_allclose(patches.variance[i], variance)
        np.testing.assert_allclose(patches.mean[i], mean)
        np.testing.assert_allclose(patches.square[i], square)
        np.testing.assert_allclose(patches.coarse[i], coarse)
        np.testing.assert_allclose(patches.lagged[i], lagged)


@pytest.mark.parametrize("stack", [True, False])
def test_white_noise_keeps_its_variance_and_a_slope_has_none(stack):
    z, y, x = np.mgrid[:18, :66, :66]
    slope = 3.0 * z + 2 * y - x
    noise = np.random.default_rng(0).normal(0, 7, slope.shape)
    patches = measure_patches(slope + noise, stack=stack)
    np.testing.assert_allclose(patches.variance.mean(axis=0), 49, rtol=0.05)
    np.testing.assert_allclose(measure_patches(noise, stack=stack).coarse.mean(), 49, rtol=0.05)


def test_constant_patches_are_left_out():
    values = np.full((6, 10, 34), 90, np.uint8)
    values[:, :, 10:18] = block((6, 10, 8))
    patches = measure_patches(values, stack=True)
    assert len(patches) == 2  # columns 9 to 16 and 17 to 24
    assert len(measure_patches(np.full((6, 34, 34), 7), stack=True)) == 0


def test_blocks_without_room_for_a_patch_give_none():
    empty = measure_patches(block((6, 9, 30)), stack=True)
    some = measure_patches(block((6, 10, 30)), stack=True)
    assert (len(empty), len(some)) == (0, 3)
    assert len(join_patches([empty, some])) == 3
