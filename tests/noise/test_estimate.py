"""Noise of known strength on images of known structure."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter

from emds.errors import DataError
from emds.noise import Film, GaussianPoisson, add_noise
from emds.noise.estimate import estimate_from_patches
from emds.noise.grey_range import grey_range
from emds.noise.patches import join_patches, measure_patches

BLOCK = (16, 64, 64)


@cache
def smooth_image(shape=(48, 130, 130), seed=0):
    """Return blurred blobs with grey levels from about 30 to 220."""
    field = gaussian_filter(np.random.default_rng(seed).normal(size=shape), (9, 18, 18))
    return np.clip(np.rint(125 + 36 * field / field.std()), 20, 235).astype(np.uint8)


@cache
def sharp_cells(shape=(48, 130, 130), seed=0):
    """Return cells of one grey level each, with dark walls one voxel thick."""
    rng = np.random.default_rng(seed)
    seeds = rng.uniform(0, shape[1:], (24, 2))
    pixels = np.stack(np.mgrid[: shape[1], : shape[2]], axis=-1)
    cell = np.linalg.norm(pixels[:, :, None] - seeds, axis=-1).argmin(axis=-1)
    image = rng.integers(60, 210, len(seeds))[cell]
    image[:, 1:][cell[:, 1:] != cell[:, :-1]] = 40
    image[1:][cell[1:] != cell[:-1]] = 40
    return np.repeat(image[None], shape[0], axis=0).astype(np.uint8)


def estimate(image, stack=True, **options):
    blocks = [
        image[max(z - 1, 0) : z + 17, max(y - 1, 0) : y + 33, max(x - 1, 0) : x + 33]
        for z in range(0, image.shape[0], 16)
        for y in range(0, image.shape[1] - 2, 32)
        for x in range(0, image.shape[2] - 2, 32)
    ]
    tables = [measure_patches(block, stack=stack) for block in blocks]
    options.setdefault("rng", np.random.default_rng(0))
    return estimate_from_patches(join_patches(tables), grey_range(image), stack=stack, **options)


def within(measured, true, times=3.5):
    return abs(measured.value - true) <= times * measured.error


# Readout noise, electrons per grey level; largest error of sigma and of the gain, relative.
SETTINGS = [
    (5, 4.0, 0.1, 0.1),
    (10, 1.0, 0.1, 0.1),
    (20, 0.5, 0.1, 0.1),
    (40, 0.3, 0.05, 0.2),
    (70, 0.7, 0.02, 2.0),  # a fortieth of the variance is shot noise: from so few voxels, unknown
]


@pytest.mark.parametrize("picture", [smooth_image, sharp_cells])
@pytest.mark.parametrize(("sigma", "lam", "sigma_error", "gain_error"), SETTINGS)
def test_parameters_are_found(picture, sigma, lam, sigma_error, gain_error):
    noisy = add_noise(picture(), GaussianPoisson(sigma=sigma, lam=lam), seed=3)
    found = estimate(noisy)
    assert found.sigma.value == pytest.approx(sigma, rel=sigma_error)
    assert found.gain.value == pytest.approx(1 / lam, rel=gain_error)
    assert within(found.gain, 1 / lam)
    assert found.lengths == (1.0, 1.0, 1.0)
    assert not found.is_film


@pytest.mark.parametrize("stack", [True, False])
def test_stated_errors_are_what_repeating_shows(stack):
    clean = smooth_image((16, 130, 130))
    model = GaussianPoisson(sigma=30, lam=0.4)
    runs = [estimate(add_noise(clean, model, seed=seed), stack) for seed in range(12)]
    gains = np.array([(run.gain.value, run.gain.error) for run in runs])
    sigmas = np.array([(run.sigma.value, run.sigma.error) for run in runs])
    for values, true in ((gains, 2.5), (sigmas, 30.0)):
        scatter, stated = values[:, 0].std(), values[:, 1].mean()
        assert 0.5 < scatter / stated < 1.6
        assert abs(values[:, 0].mean() - true) < 3 * scatter / np.sqrt(len(runs)) + 0.02 * true


def test_clipping_is_allowed_for():
    noisy = add_noise(smooth_image(), GaussianPoisson(sigma=80, lam=2), seed=0)
    found = estimate(noisy)
    assert found.levels.clipped > 0.1, "test invalid"
    assert np.sqrt(found.curve.variance.mean()) < 73, "test invalid: clipping takes variance off"
    assert found.sigma.value == pytest.approx(80, rel=0.02)


def test_grey_levels_that_vary_within_a_patch_bend_the_clipped_curve():
    """Of clipped noise, the variance at the mean is not the mean of the variances."""
    field = gaussian_filter(np.random.default_rng(0).normal(size=(48, 130, 130)), (2, 4, 4))
    clean = np.clip(np.rint(125 + 45 * field / field.std()), 0, 255).astype(np.uint8)
    found = estimate(add_noise(clean, GaussianPoisson(sigma=70, lam=4), seed=0))
    assert found.curve.spread.mean() > 20**2, "test invalid"
    assert found.sigma.value == pytest.approx(70, rel=0.015)


def test_scaling_the_image_scales_gain_and_sigma():
    noisy = add_noise(smooth_image(), GaussianPoisson(sigma=10, lam=0.5), seed=1).astype(float)
    one, other = estimate(noisy), estimate(noisy * 50 + 1000, offset=1000)
    assert other.gain.value == pytest.approx(50 * one.gain.value, rel=1e-3)
    assert other.sigma.value == pytest.approx(50 * one.sigma.value, rel=1e-3)


def test_the_offset_is_given_or_assumed_or_where_the_line_ends():
    clean = smooth_image().astype(float)
    rng = np.random.default_rng(2)
    noisy = 40 + rng.poisson(clean * 0.5) / 0.5 + rng.normal(0, 6, clean.shape)
    given, unknown = estimate(noisy, offset=40), estimate(noisy)
    assert (given.offset, given.offset_from) == (40, "given")
    assert given.sigma.value == pytest.approx(6, rel=0.1)
    assert unknown.offset_from == "line"
    assert unknown.sigma.value == 0
    assert unknown.offset == pytest.approx(40 - 36 / 2, abs=3)
    assert unknown.gain == given.gain


def test_noise_without_a_signal_part_has_no_lambda():
    noisy = smooth_image() + np.random.default_rng(0).normal(0, 12, smooth_image().shape)
    found = estimate(noisy)
    assert found.lam is None
    assert found.sigma == found.total
    assert found.sigma.value == pytest.approx(12, rel=0.01)


@pytest.mark.parametrize(
    ("kernel", "mode", "grain"), [(5, "unitmean", 0.25), (3, "minmax", 1 / 5.4)]
)
def test_film_noise_is_told_from_sensor_noise(kernel, mode, grain):
    noisy = add_noise(smooth_image(), Film(kernel=kernel, mode=mode), seed=0)
    found = estimate(noisy)
    assert found.is_film
    assert found.grain.value == pytest.approx(grain, rel=0.1)
    assert found.lengths[0] == pytest.approx(1.0, abs=0.2)
    assert found.lengths[1:] == pytest.approx((kernel, kernel), abs=0.5)


def test_correlated_noise_keeps_its_strength():
    white = np.random.default_rng(0).normal(size=(48, 130, 130))
    grain = gaussian_filter(white, (0, 0, 0.55), mode="wrap")
    noisy = smooth_image() + 15 * grain / grain.std()
    found = estimate(noisy)
    assert found.lengths[2] > 1.5, "test invalid"
    assert found.total.value == pytest.approx(15, rel=0.04)


@pytest.mark.parametrize("stack", [True, False])
def test_an_image_without_noise_has_next_to_none(stack):
    image = smooth_image()
    assert estimate(image, stack).total.value < 0.5
    assert estimate(image / 255.0, stack).total.value < 2e-3


def test_too_few_patches_are_refused():
    with pytest.raises(DataError, match=r"at least 30 patches .* there are 27"):
        estimate(np.random.default_rng(0).normal(size=(16, 34, 34)))
