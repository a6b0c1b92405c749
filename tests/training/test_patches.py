"""Samples: where they come from, and that nothing but (seed, step, index) decides."""

import numpy as np
import pytest
import torch

from emds.config import load_train_config
from emds.errors import DataError
from emds.geometry import Roi
from emds.io.volume import CachedVolume, MemoryVolume
from emds.noise import add_noise, make_noise_model
from emds.training.augment import dihedral
from emds.training.patches import NoiseDrawer, PatchSampler, iter_batches

SHAPE = (20, 24, 28)


def volumes(shape=SHAPE):
    """Labels hold a voxel's number, raw one that follows from it: both tell where it was cut."""
    labels = np.arange(np.prod(shape), dtype=np.uint64).reshape(shape)
    return MemoryVolume(grey_of(labels)), MemoryVolume(labels)


def grey_of(labels):
    """Scatter the numbers of voxels, so that no two neighbours look alike."""
    return (labels * 97 % 251).astype(np.uint8)


def sampler(sections=(4, 20), shape=SHAPE, **options):
    options = {"crop": 16, "batch_size": 6, **options}
    raw, labels = volumes(shape)
    return PatchSampler(raw, labels, sections, load_train_config("cpu", options=options))


def places(labels):
    """Position of every voxel of a sample, (3, y, x)."""
    return np.stack(np.unravel_index(labels, SHAPE))


def test_samples_come_from_the_training_sections():
    seen = set()
    source = sampler(sections=(4, 9))
    for step in range(30):
        for labels in source.batch(step).labels:
            z = places(labels)[0]
            assert z.min() == z.max()
            seen.add(int(z.min()))
    assert seen == set(range(4, 9))


@pytest.mark.parametrize("options", [{}, {"in_slices": 5, "out_slices": 1}])
def test_image_and_labels_are_turned_alike(options):
    batch = sampler(**options).batch(0)
    corners = [labels[0, :2, :2] for labels in batch.labels]
    turned = {(int(c[1, 0] - c[0, 0]), int(c[0, 1] - c[0, 0])) for c in corners}
    assert len(turned) > 2, "test invalid"
    for clean, labels in zip(batch.clean, batch.labels, strict=True):
        np.testing.assert_array_equal(clean, grey_of(labels))


def test_all_planes_cut_along_every_axis():
    source = sampler(augment={"planes": "all"})
    flat = set()
    for step in range(20):
        for clean, labels in zip(*(getattr(source.batch(step), n) for n in ("clean", "labels"))):
            where = places(labels)
            flat |= {axis for axis in range(3) if where[axis].min() == where[axis].max()}
            np.testing.assert_array_equal(clean, grey_of(labels))
    assert flat == {0, 1, 2}


@pytest.mark.parametrize("device", ["cpu", "cuda"])  # one thread, and several; nothing runs on it
def test_a_step_is_a_function_of_its_number(device):
    source = sampler()
    ahead = list(iter_batches(source, 3, 9, torch.device(device)))
    assert len(ahead) == 6
    for step, batch in zip(range(3, 9), ahead, strict=True):
        again = source.batch(step)
        np.testing.assert_array_equal(batch.noisy, again.noisy)
        np.testing.assert_array_equal(batch.labels, again.labels)
    assert not np.array_equal(ahead[0].noisy, ahead[1].noisy)


def test_fixed_noise_is_what_simulate_noise_gives_that_place():
    options = {"augment": {"dihedral": False}, "noise": {"online": False}, "seed": 7}
    source = sampler(**options)
    model = make_noise_model("gaussian-poisson")
    whole = add_noise(volumes()[0].read(), model, seed=7)
    batch = source.batch(0)
    for noisy, labels in zip(batch.noisy, batch.labels, strict=True):
        np.testing.assert_array_equal(noisy, whole[tuple(places(labels))])


def test_online_noise_differs_at_the_same_place():
    source = sampler(sections=(4, 5), crop=24, shape=(20, 24, 24), augment={"dihedral": False})
    first, second = source.batch(0), source.batch(1)
    np.testing.assert_array_equal(first.clean, second.clean)
    assert not np.array_equal(first.noisy, second.noisy)


@pytest.mark.parametrize("mode", ["minmax", "unitmean"])
def test_film_grain_is_as_strong_at_the_edge_of_a_sample_as_inside(mode):
    """At the edge of a section it has 1.8 times the variance, in a corner 3.24 times."""
    model = {"kind": "film", "kernel": 5, "mode": mode}
    config = load_train_config("cpu", options={"noise": {"models": [model]}})
    clean = np.full((400, 24, 24), 100, np.uint8)
    noisy = NoiseDrawer(config.noise).online(clean, np.random.default_rng(0))
    variance = noisy.astype(float).var(axis=0)
    inside = variance[8:16, 8:16].mean()
    edges = (variance[0], variance[-1], variance[:, 0], variance[:, -1])
    for edge in edges:
        assert edge.mean() == pytest.approx(inside, rel=0.2)
    for y, x in np.ndindex(2, 2):
        assert variance[-y, -x] == pytest.approx(inside, rel=0.35)


def test_a_crop_larger_than_the_sections_is_refused():
    with pytest.raises(DataError, match="stack of 1 crops of 32 × 32"):
        sampler(crop=32)
    with pytest.raises(DataError, match="stack of 17 crops of 16 × 16"):
        sampler(sections=(4, 20), in_slices=17)


def test_the_cache_holds_the_training_sections_only():
    raw, _ = volumes()
    cached = CachedVolume(raw, Roi((4, 0, 0), (5, 24, 28)))
    roi = Roi((6, 1, 2), (2, 3, 4))
    np.testing.assert_array_equal(cached.read(roi), raw.read(roi))
    assert cached.values.shape == (5, 24, 28)


def test_the_sixteen_symmetries_are_sixteen_and_keep_the_values():
    prism = np.arange(18).reshape(2, 3, 3)
    images = {dihedral(prism, element).tobytes() for element in range(16)}
    assert len(images) == 16
    assert all(sorted(np.frombuffer(i, prism.dtype)) == list(range(18)) for i in images)
    assert len({dihedral(prism[:1], element).tobytes() for element in range(16)}) == 8
