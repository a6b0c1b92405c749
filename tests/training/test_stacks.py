"""Samples of several sections: adjacent, in order, each with its own noise, labels in step."""

import numpy as np
import pytest
import torch

from emds.config import load_train_config
from emds.geometry import Roi
from emds.io.volume import CachedVolume, MemoryVolume
from emds.networks.losses import affinity_targets
from emds.noise import add_noise, make_noise_model
from emds.segmentation.affinities import affinities_from_labels
from emds.training.patches import PatchSampler

SHAPE = (24, 26, 28)
SECTIONS = (3, 22)
REACH = 2


def make_sampler(raw, labels, **options):
    options = {"crop": 16, "batch_size": 6, "in_slices": 7, "out_slices": 3, **options}
    config = load_train_config("cpu", options=options)
    return PatchSampler(MemoryVolume(raw), MemoryVolume(labels), SECTIONS, config, reach=REACH)


def placed(**options):
    """A sampler whose labels are the numbers of the voxels, and its image a linear function."""
    z, y, x = np.indices(SHAPE)
    numbers = np.arange(np.prod(SHAPE), dtype=np.uint64).reshape(SHAPE)
    return make_sampler((3 * z + 2 * y + 4 * x).astype(np.uint8), numbers, **options)


def voxels(labels):
    """Position (z, y, x) of every voxel of a sample, (3, depth, y, x)."""
    return np.stack(np.unravel_index(labels, SHAPE))


@pytest.mark.parametrize("planes", ["xy", "all"])
def test_a_sample_is_a_stack_of_adjacent_parallel_sections(planes):
    source = placed(augment={"planes": planes})
    seen, directions = set(), set()
    for step in range(30):
        batch = source.batch(step)
        assert batch.noisy.shape == (6, 7, 16, 16)
        assert batch.clean.shape == (6, 3, 16, 16)
        assert batch.labels.shape == (6, 2 * REACH + 1, 16, 16)
        for clean, labels in zip(batch.clean, batch.labels, strict=True):
            where = voxels(labels)
            np.testing.assert_array_equal(
                clean, np.tensordot([3, 2, 4], where[:, 1:-1], axes=1).astype(np.uint8)
            )
            step_across = np.unique(np.diff(where, axis=1).reshape(3, -1), axis=1)
            assert step_across.shape == (3, 1)
            directions.add(tuple(step_across[:, 0].tolist()))
            seen |= set(where[0, REACH].ravel().tolist())
    flat = {(1, 0, 0), (-1, 0, 0)}
    other = {(0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)}
    assert directions == (flat | other if planes == "all" else flat)
    # Three more noisy sections on either side must lie in the range too, and every place is used.
    if planes == "xy":
        assert seen == set(range(SECTIONS[0] + 3, SECTIONS[1] - 3))


@pytest.mark.parametrize("planes", ["xy", "all", "oblique", "mixed"])
def test_nothing_outside_the_training_sections_is_read(planes):
    raw = np.zeros(SHAPE, np.uint8)
    labels = np.ones(SHAPE, np.uint64)
    source = make_sampler(raw, labels, augment={"planes": planes})
    box = Roi((SECTIONS[0], 0, 0), (SECTIONS[1] - SECTIONS[0], *SHAPE[1:]))
    source.raw = CachedVolume(source.raw, box)  # which refuses to read anything else
    source.labels = CachedVolume(source.labels, box)
    for step in range(10):
        source.batch(step)


def test_an_oblique_stack_has_image_and_labels_in_step():
    z, y, x = np.indices((40, 40, 40))
    labels = (1 + z // 8 + 10 * (y // 8) + 100 * (x // 8)).astype(np.uint64)
    image = (20 * (z // 8) + 11 * (y // 8) + 7 * (x // 8)).astype(np.uint8)
    values = dict(zip(labels.ravel().tolist(), image.ravel().tolist()))
    config = load_train_config(
        "cpu",
        options={
            "crop": 16,
            "batch_size": 4,
            "in_slices": 5,
            "out_slices": 3,
            "augment": {"planes": "oblique", "zoom": (0.8, 1.25)},
        },
    )
    source = PatchSampler(MemoryVolume(image), MemoryVolume(labels), (0, 40), config, reach=1)
    for step in range(3):
        batch = source.batch(step)
        expected = np.vectorize(values.get)(batch.labels)
        assert (expected == batch.clean).mean() > 0.6  # all but the interpolated faces
        # The labels of a wrong section would agree less often.
        above = (expected[:, :-1] == batch.clean[:, 1:]).mean()
        below = (expected[:, 1:] == batch.clean[:, :-1]).mean()
        assert (expected == batch.clean).mean() > max(above, below)


def directions_of(planes):
    """Return, for twenty samples, the direction (z, y, x) of each of their three axes."""
    z, y, x = np.indices((40, 40, 40))
    ramps = [MemoryVolume((6 * v).astype(np.uint8)) for v in (z, y, x)]
    options = {"crop": 16, "batch_size": 20, "in_slices": 3, "out_slices": 3}
    options |= {"augment": {"planes": planes}}
    config = load_train_config("cpu", options=options)
    axes = np.stack(
        [
            np.stack(
                [np.gradient(clean.astype(float), axis=a).mean(axis=(1, 2, 3)) for a in (1, 2, 3)]
            )
            for clean in (PatchSampler(v, None, (0, 40), config).batch(0).clean for v in ramps)
        ],
        axis=-1,
    )
    return axes.transpose(1, 0, 2) / 6


def test_oblique_stacks_are_mirrored_half_of_the_time():
    hands = np.sign(np.linalg.det(directions_of("oblique")))
    assert 4 <= (hands > 0).sum() <= 16


@pytest.mark.parametrize(
    ("planes", "fewest", "most"), [("all", 20, 20), ("oblique", 0, 0), ("mixed", 4, 16)]
)
def test_half_of_mixed_stacks_lie_along_the_axes(planes, fewest, most):
    straight = (np.abs(directions_of(planes)).max(axis=2) > 0.999).all(axis=1)
    assert fewest <= straight.sum() <= most


@pytest.mark.parametrize("online", [True, False])
def test_every_section_has_noise_of_its_own(online):
    flat = np.full(SHAPE, 128, np.uint8)
    options = {"crop": 24, "batch_size": 1, "noise": {"online": online}}
    source = make_sampler(flat, np.ones(SHAPE, np.uint64), **options)
    noise = source.batch(0).noisy[0].reshape(7, -1).astype(float) - 128
    correlation = np.corrcoef(noise) - np.eye(7)
    assert np.abs(correlation).max() < 0.2
    assert len({round(float(sd)) for sd in noise.std(axis=1)}) > 1  # sigma is drawn per section


def test_fixed_noise_is_what_simulate_noise_gives_that_place():
    options = {"augment": {"dihedral": False}, "noise": {"online": False}, "seed": 7}
    source = placed(**options)
    whole = add_noise(source.raw.read(), make_noise_model("gaussian-poisson"), seed=7)
    batch = source.batch(0)
    for noisy, labels in zip(batch.noisy, batch.labels, strict=True):
        np.testing.assert_array_equal(noisy[1:-1], whole[tuple(voxels(labels))])


def test_a_step_is_a_function_of_its_number():
    for planes in ("all", "oblique", "mixed"):
        source, other = (placed(augment={"planes": planes}) for _ in range(2))
        source.batch(0)
        for name in ("noisy", "clean", "labels"):
            np.testing.assert_array_equal(
                getattr(source.batch(5), name), getattr(other.batch(5), name)
            )


def test_targets_are_the_affinities_of_the_whole_volume():
    offsets = [(0, -1, 0), (-1, 0, 0), (1, 0, 0), (-2, 3, 0), (-2, 0, -3), (2, -1, 1)]
    labels = np.random.default_rng(0).integers(1, 4, SHAPE).astype(np.uint64)
    options = {"augment": {"dihedral": False}, "batch_size": 12}
    numbers = placed(**options).batch(3).labels
    batch = make_sampler(np.zeros(SHAPE, np.uint8), labels, **options).batch(3)
    same, inside = affinity_targets(torch.from_numpy(batch.labels), offsets)
    whole, valid = affinities_from_labels(labels, offsets)
    for n in range(12):
        where = (slice(None), *voxels(numbers[n, REACH]))
        assert (valid[where] | ~inside.numpy()).all()
        np.testing.assert_array_equal(
            same[n].numpy().astype(bool) & inside.numpy(), whole[where] & inside.numpy()
        )
