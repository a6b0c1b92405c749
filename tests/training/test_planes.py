"""Oblique samples: they lie inside, at the asked scale, and image and labels stay together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emds.config import load_train_config
from emds.errors import ConfigError
from emds.geometry import Roi
from emds.io.volume import MemoryVolume
from emds.training.patches import PatchSampler
from emds.training.planes import draw_stack, sample_image, sample_labels


@given(
    seed=st.integers(0, 2**32 - 1),
    shape=st.tuples(st.integers(5, 60), st.integers(16, 60), st.integers(16, 60)),
    depth=st.sampled_from([1, 5]),
    zoom=st.sampled_from([(1.0, 1.0), (0.5, 2.0)]),
)
def test_a_stack_lies_in_the_region_with_cubes_of_the_size_drawn(
    seed: int, shape: tuple[int, int, int], depth: int, zoom: tuple[float, float]
) -> None:
    region = Roi((5, 6, 7), shape)
    box, points = draw_stack(np.random.default_rng(seed), depth, 16, zoom, region)
    assert points.shape == (3, depth, 16, 16)
    assert region.contains(box)
    assert (points >= -1e-9).all()
    assert (points <= np.array(box.shape)[:, None, None, None] - 1 + 1e-9).all()
    first = points[:, 0, 0, 0]
    down, right = points[:, 0, 1, 0] - first, points[:, 0, 0, 1] - first
    across = np.cross(down, right) / np.linalg.norm(down)
    size = np.linalg.norm(down)
    assert np.isclose(size, np.linalg.norm(right))
    assert np.isclose(down @ right, 0, atol=1e-9)
    assert 1 / zoom[1] - 1e-9 <= size <= 1 / zoom[0] + 1e-9
    last = first + 15 * (down + right) + (depth - 1) * across
    assert np.allclose(points[:, -1, 15, 15], last)


def test_directions_are_uniform() -> None:
    rng = np.random.default_rng(3)
    normals = []
    for _ in range(2000):
        _, points = draw_stack(rng, 2, 8, (1.0, 1.0), Roi((0, 0, 0), (40, 40, 40)))
        normals.append(points[:, 1, 0, 0] - points[:, 0, 0, 0])
    moments = np.einsum("na,nb->ab", normals, normals) / 2000
    assert np.allclose(moments, np.eye(3) / 3, atol=0.03)
    assert np.allclose(np.mean(normals, axis=0), 0, atol=0.05)


def test_a_linear_image_is_read_exactly_and_labels_from_the_nearest_voxel() -> None:
    z, y, x = np.indices((30, 30, 30))
    image = (2 * z + 3 * y + 3 * x).astype(np.uint8)
    box, points = draw_stack(np.random.default_rng(0), 3, 12, (1.0, 1.0), Roi.whole(image.shape))
    read = sample_image(image[box.slices()], points)
    places = points + np.array(box.offset)[:, None, None, None]
    expected = np.tensordot([2, 3, 3], places, axes=1)
    assert np.abs(read - expected).max() <= 0.5 + 1e-4
    ids = (z * 900 + y * 30 + x).astype(np.uint64)
    got = sample_labels(ids[box.slices()], points)
    nz, ny, nx = np.rint(places)
    assert np.array_equal(got, nz * 900 + ny * 30 + nx)


def test_image_and_labels_of_an_oblique_sample_agree() -> None:
    ids = np.kron(np.arange(1, 65).reshape(4, 4, 4), np.ones((12, 12, 12))).astype(np.uint64)
    config = load_train_config(
        "cpu", overrides=["crop=16", "augment.planes=oblique", "augment.zoom=[0.8,1.25]"]
    )
    sampler = PatchSampler(
        MemoryVolume((3 * ids).astype(np.uint8)), MemoryVolume(ids), (0, 48), config
    )
    batch = sampler.batch(7)
    assert batch.labels is not None
    inside = np.abs(batch.clean.astype(int) - 3 * batch.labels) == 0
    assert inside.mean() > 0.6  # all but the interpolated faces
    again = sampler.batch(7)
    assert np.array_equal(batch.noisy, again.noisy)
    assert np.array_equal(batch.clean, again.clean)


@pytest.mark.parametrize(
    "overrides",
    [
        ["augment.planes=oblique", "noise.online=false"],
        ["augment.contrast=[0.5,2]", "noise.online=false"],
        ["augment.brightness=[-5,5]", "noise.online=false"],
        ["augment.zoom=[0.5,2]", "augment.planes=all"],
    ],
)
def test_augmentation_that_has_no_meaning_is_refused(overrides: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"set (noise\.online=true|augment\.planes=oblique)"):
        load_train_config("cpu", overrides=overrides)


def test_contrast_and_brightness_change_the_target_too() -> None:
    raw = MemoryVolume(np.full((4, 32, 32), 100, np.uint8))
    config = load_train_config(
        "cpu", overrides=["crop=16", "augment.brightness=[20,20]", "augment.contrast=[2,2]"]
    )
    batch = PatchSampler(raw, None, (0, 4), config).batch(0)
    assert (batch.clean == round((100 - 127.5) * 2 + 127.5 + 20)).all()


def test_tissue_is_enlarged_as_often_as_it_is_shrunk():
    """Between half and twice the size, the logarithm of the magnification is uniform."""
    rng = np.random.default_rng(0)
    logs = []
    for _ in range(400):
        _, points = draw_stack(rng, 1, 8, (0.5, 2.0), Roi((0, 0, 0), (99, 99, 99)))
        along_x, along_y = points[:, 0, 0, 1] - points[:, 0, 0, 0], points[:, 0, 1, 0]
        assert np.linalg.norm(along_x) == pytest.approx(
            np.linalg.norm(along_y - points[:, 0, 0, 0])
        )
        logs.append(-np.log2(np.linalg.norm(along_x)))
    assert -1 <= min(logs) < -0.95 < 0.95 < max(logs) <= 1
    assert np.mean(logs) == pytest.approx(0, abs=4 / np.sqrt(3 * 400))
    assert np.mean(np.abs(logs) < 0.5) == pytest.approx(0.5, abs=0.1)
