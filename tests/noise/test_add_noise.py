from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from reference_noise import film_field, shot_noise

from emds.errors import DataError, UsageError
from emds.geometry import Roi, iter_blocks
from emds.noise import Film, Gaussian, GaussianPoisson, Poisson, add_noise

MODELS = [
    GaussianPoisson(),
    GaussianPoisson(sigma=0, lam=2),
    GaussianPoisson(mode="additive"),
    GaussianPoisson(mode="gain", lam=(0, 1)),
    Gaussian(sigma=(0, 40)),
    Poisson(),
    Film(),
    Film(kernel=7, mode="unitmean"),
]


def grey_ramp(shape: tuple[int, int, int]) -> np.ndarray:
    return np.random.default_rng(5).integers(0, 256, shape, dtype=np.uint8)


def flat(grey: int, side: int = 700) -> np.ndarray:
    return np.full((1, side, side), grey, dtype=np.uint8)


# --- where a voxel lies is all that counts


@given(
    model=st.sampled_from(MODELS),
    shape=st.tuples(st.integers(1, 4), st.integers(1, 20), st.integers(1, 20)),
    block_shape=st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
    origin=st.tuples(st.integers(0, 2**20), st.integers(0, 30), st.integers(0, 30)),
    order=st.randoms(use_true_random=False),
)
@settings(deadline=None, max_examples=60)
def test_any_blocks_in_any_order_give_the_bytes_of_the_whole(
    model, shape, block_shape, origin, order
):
    image = grey_ramp(shape)
    section_shape = (60, 60)
    whole = add_noise(image, model, seed=3, origin=origin, section_shape=section_shape)
    pieced = np.zeros_like(image)
    blocks = list(iter_blocks(Roi.whole(shape), block_shape))
    order.shuffle(blocks)
    for block in blocks:
        roi = block.write_roi
        pieced[roi.slices()] = add_noise(
            image[roi.slices()],
            model,
            seed=3,
            origin=roi.shift(origin).offset,
            section_shape=section_shape,
        )
    np.testing.assert_array_equal(pieced, whole)


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_a_voxel_does_not_see_its_neighbours_grey_levels(model):
    image = grey_ramp((2, 12, 12))
    changed = image.copy()
    changed[1, 5, 6] = 255 - changed[1, 5, 6]
    differs = add_noise(image, model, seed=0) != add_noise(changed, model, seed=0)
    differs[1, 5, 6] = False
    assert not differs.any()


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_layout_does_not_matter_and_the_input_is_left_alone(model):
    image = grey_ramp((3, 16, 10))
    expected = add_noise(image, model, seed=1)
    locked = image.copy()
    locked.flags.writeable = False
    for same in (locked, np.asfortranarray(image), np.repeat(image, 2, axis=2)[:, :, ::2]):
        np.testing.assert_array_equal(add_noise(same, model, seed=1), expected)
    np.testing.assert_array_equal(image, grey_ramp((3, 16, 10)))


@pytest.mark.parametrize("model", MODELS, ids=repr)
def test_applying_the_drawn_parameters_is_adding_noise(model):
    image = grey_ramp((3, 8, 8))
    drawn = [model.draw(2, z) for z in (5, 6, 7)]
    np.testing.assert_array_equal(
        model.apply(image, drawn, seed=2, origin=(5, 0, 0)),
        add_noise(image, model, seed=2, origin=(5, 0, 0)),
    )


def test_noise_stays_as_it_was():
    # A golden value: a change here changes every noisy volume that anybody has stored.
    image = grey_ramp((2, 32, 32))
    digest = hashlib.sha256()
    for model in (GaussianPoisson(), Film()):
        digest.update(add_noise(image, model, seed=11, origin=(4, 0, 0)).tobytes())
    assert digest.hexdigest()[:16] == "36f9574403557cb8"


# --- the numbers are the ones meant


@pytest.mark.parametrize("origin", [(0, 0, 0), (7, 2**31, 2**32 - 12)])
def test_shot_noise_equals_the_voxel_by_voxel_reference(origin):
    image = grey_ramp((2, 12, 12))
    model = GaussianPoisson(sigma=20, lam=0.7)
    expected = shot_noise(image, 20, 0.7, seed=9, origin=origin)
    np.testing.assert_array_equal(add_noise(image, model, seed=9, origin=origin), expected)


@pytest.mark.parametrize("kernel", [1, 3, 5, 9])
@pytest.mark.parametrize("mode", ["minmax", "unitmean"])
def test_film_noise_is_a_blurred_field_mirrored_at_the_edges(kernel, mode):
    shape = (2, 7, 11)  # kernel 9 is wider than a section is high
    image = grey_ramp(shape)
    z = film_field(shape, kernel, seed=6)
    if mode == "minmax":
        multiplier = np.clip(0.802 + 0.1485 * z, 0, 1.5)
    else:
        multiplier = np.clip(1 + 0.25 * z, 0.5, 1.5)
    noisy = add_noise(image, Film(kernel=kernel, mode=mode), seed=6)
    expected = np.clip(image * multiplier, 0, 255)
    # 0.5 for rounding; the method gives minmax's two constants with three and four digits
    assert np.abs(noisy - expected).max() < 0.5 + (0.1 if mode == "minmax" else 1e-9)


def test_the_film_field_varies_more_at_the_edges():
    image = np.full((400, 24, 24), 100, dtype=np.uint8)
    m = add_noise(image, Film(maximum=1.0), seed=0) / 100
    z = (m - m.mean()) * 10.1
    assert z[:, 2:-2, 2:-2].var() == pytest.approx(1, abs=0.05)
    assert z[:, 0, 2:-2].var() == pytest.approx(1.8, abs=0.12)
    assert z[:, 0, 0].var() == pytest.approx(3.24, abs=4 * 3.24 * math.sqrt(2 / 400))


@pytest.mark.parametrize(
    ("model", "mean", "variance"),
    [
        (GaussianPoisson(sigma=8, lam=0.7), lambda x: x, lambda x: x / 0.7 + 64),
        (GaussianPoisson(sigma=8, lam=3.0), lambda x: x, lambda x: x / 3 + 64),
        (GaussianPoisson(sigma=0, lam=2.0), lambda x: x, lambda x: x / 2),
        (GaussianPoisson(sigma=8, lam=4, mode="additive"), lambda x: x + 4, lambda x: 4 + 64),
        (GaussianPoisson(sigma=8, lam=0.7, mode="gain"), lambda x: 0.7 * x, lambda x: 0.7 * x + 64),
        (Gaussian(sigma=12), lambda x: x, lambda x: 144),
        (Poisson(lam=0.6), lambda x: x, lambda x: x / 0.6),
    ],
    ids=lambda value: "" if callable(value) and not hasattr(value, "kind") else repr(value),
)
@pytest.mark.parametrize("grey", [100, 128])
def test_mean_and_variance_are_those_of_the_formula(model, mean, variance, grey):
    values = add_noise(flat(grey), model, seed=3)[0].astype(float).ravel()
    n, expected = values.size, variance(grey)
    assert abs(values.mean() - mean(grey)) < 4 * math.sqrt(expected / n)
    # Rounding adds 1/12 where values are continuous, and at most 1/4 where they are halves.
    assert abs(values.var() - expected) < 4 * expected * math.sqrt(2.5 / n) + 0.25


@pytest.mark.parametrize("mode", ["minmax", "unitmean"])
def test_mean_and_spread_of_film_noise(mode):
    m = add_noise(flat(160), Film(mode=mode), seed=3)[0] / 160
    mean, spread = (0.802, 0.1485) if mode == "minmax" else (1.0, 0.24)
    assert m.mean() == pytest.approx(mean, abs=0.005)
    assert m.std() == pytest.approx(spread, rel=0.03)


def test_values_are_clipped_before_they_become_bytes():
    noisy = add_noise(flat(128, 200), Gaussian(sigma=300), seed=0)
    black, white = np.mean(noisy == 0), np.mean(noisy == 255)
    assert black == pytest.approx(0.335, abs=0.01)  # P(128 + 300 N < 0.5)
    assert white == pytest.approx(0.337, abs=0.01)  # a wrapping cast would spread both evenly
    assert add_noise(flat(250, 50), Film(mode="unitmean"), seed=0).max() == 255


def test_without_noise_the_image_comes_back():
    image = grey_ramp((1, 9, 9))
    still = GaussianPoisson(sigma=0, lam=0, mode="additive")
    for model in (Gaussian(sigma=0), still):
        np.testing.assert_array_equal(add_noise(image, model, seed=0), image)


def test_neighbours_sections_seeds_and_kinds_are_independent():
    n = 300
    image = np.full((2, n, n), 128, dtype=np.uint8)
    a, b = add_noise(image, GaussianPoisson(sigma=10, lam=1), seed=0).astype(float) - 128
    other = add_noise(image, GaussianPoisson(sigma=10, lam=1), seed=1)[0].astype(float)
    kind = add_noise(image, Gaussian(sigma=10), seed=0)[0].astype(float)
    pairs = {
        "x": (a[:, 1:], a[:, :-1]),
        "y": (a[1:], a[:-1]),
        "mirrored": (a, a.T),
        "section": (a, b),
        "seed": (a, other),
        "kind": (a, kind),
        "squares": (a[:, 1:] ** 2, a[:, :-1] ** 2),
    }
    for name, (first, second) in pairs.items():
        correlation = np.corrcoef(first.ravel(), second.ravel())[0, 1]
        assert abs(correlation) < 4 / n, name


def test_shot_and_readout_noise_of_a_voxel_are_independent():
    image = flat(128, 500)
    shot = add_noise(image, GaussianPoisson(sigma=0, lam=1), seed=0).astype(float)
    both = add_noise(image, GaussianPoisson(sigma=10, lam=1), seed=0).astype(float)
    assert abs(np.corrcoef(shot.ravel(), (both - shot).ravel())[0, 1]) < 4 / 500


# --- what is refused


@pytest.mark.parametrize("dtype", [np.uint16, np.float32, np.int8, bool])
def test_other_types_than_uint8_are_refused(dtype):
    with pytest.raises(DataError, match=f"the image is {np.dtype(dtype)}. Rescale it to 0-255"):
        add_noise(np.zeros((1, 2, 2), dtype), Film(), seed=0)


def test_wrong_shapes_and_places_are_refused():
    image = np.zeros((1, 4, 4), np.uint8)
    with pytest.raises(DataError, match=r"\(z, y, x\), not of shape \(4, 4\)"):
        add_noise(image[0], Film(), seed=0)
    with pytest.raises(UsageError, match=r"starts at \(0, -1, 0\)"):
        add_noise(image, Film(), seed=0, origin=(0, -1, 0))
    with pytest.raises(UsageError, match=r"between 0 and 2\*\*32"):
        add_noise(image, Film(), seed=0, origin=(0, 0, 2**32 - 3))
    with pytest.raises(UsageError, match=r"outside a section of shape \(4, 4\)"):
        add_noise(image, Film(), seed=0, origin=(0, 1, 0), section_shape=(4, 4))
    with pytest.raises(UsageError, match="seed"):
        add_noise(image, Film(), seed=-3)


# --- real data


def test_noise_on_real_sections_is_as_strong_as_published(em_data):
    import h5py

    with h5py.File(em_data / "flyem_medulla.h5") as file:
        clean = file["volumes/raw"][:32]
    noisy = add_noise(clean, GaussianPoisson(), seed=0)
    error = np.mean((noisy.astype(float) - clean) ** 2, axis=(1, 2))
    assert np.mean(10 * np.log10(255**2 / error)) == pytest.approx(11.8, abs=0.3)
