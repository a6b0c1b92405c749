"""Laws of the phantom: exact truth, and grey levels like the FlyEM medulla's."""

import numpy as np
import pytest
from scipy import ndimage

from emds.demo.cells import as_connected_labels, connected_pieces, depth_below_surface
from emds.demo.phantom import make_phantom
from emds.demo.texture import smooth_noise, stamp
from emds.errors import UsageError


@pytest.fixture(scope="module")
def phantom():
    return make_phantom((12, 192, 192), seed=1)


def test_the_same_seed_gives_the_same_bytes():
    first, second, other = (make_phantom((3, 64, 48), seed=seed) for seed in (4, 4, 5))
    for a, b in zip(first, second):
        assert a.tobytes() == b.tobytes()
    assert (first[0] != other[0]).any()
    assert (first[1] != other[1]).any()


def test_labels_are_dense(phantom):
    _, labels = phantom
    assert labels.dtype == np.uint32
    ids = np.unique(labels)
    assert ids.tolist() == list(range(1, len(ids) + 1))
    assert len(ids) > 20
    first = np.unique(labels, return_index=True)[1]
    assert (np.diff(first) > 0).all(), "ids are in the order of their first voxel"


def test_every_label_is_one_piece(phantom):
    _, labels = phantom
    for number in range(1, labels.max() + 1):
        assert ndimage.label(labels == number)[1] == 1, number


def test_neurites_are_of_very_different_size(phantom):
    _, labels = phantom
    volumes = np.bincount(labels.ravel())[1:]
    assert volumes.min() >= 40
    assert volumes.max() > 15 * np.median(volumes)


def test_membranes_are_dark(phantom):
    raw, labels = phantom
    depth = depth_below_surface(labels.astype(np.int32), (1, 1, 1))
    membrane, cytoplasm = raw[depth < 1], raw[(depth > 4) & (depth < 8)]
    assert membrane.mean() < cytoplasm.mean() - 25
    # Wherever two neurites meet there is a membrane: no boundary is as bright as cytoplasm.
    smooth = ndimage.gaussian_filter(raw.astype(float), 0.7)
    assert np.percentile(smooth[depth < 1], 99) < np.percentile(cytoplasm, 75)


def test_membranes_are_two_to_four_voxels_thick(phantom):
    raw, labels = phantom
    depth = depth_below_surface(labels.astype(np.int32), (1, 1, 1))
    profile = [raw[(depth >= d) & (depth < d + 1)].mean() for d in np.arange(0, 7, 1)]
    middle = (profile[0] + profile[6]) / 2
    half = np.interp(middle, profile, np.arange(0.5, 7))  # from the boundary to half height
    assert 1 <= half <= 2.5


def test_grey_levels_are_those_of_the_flyem_medulla(phantom):
    """FlyEM, sections 0-31 and 100-131: mean 129 and 139, sd 34 and 33, percentiles as here."""
    raw, _ = phantom
    assert 115 < raw.mean() < 145
    assert 28 < raw.std() < 39
    low, middle, high = np.percentile(raw, [1, 50, 99])
    assert 58 < low < 78
    assert 112 < middle < 150
    assert 182 < high < 206


def test_the_grain_is_that_of_the_microscope(phantom):
    """FlyEM: what a narrow filter removes has a deviation of 5.3 to 5.5, and z matters least."""
    raw, _ = phantom
    grain = raw - ndimage.gaussian_filter(raw.astype(float), (0, 1, 1))
    assert 4.5 < grain.std() < 6.5


def test_adjacent_sections_correlate_as_in_fib_sem(phantom):
    """FlyEM: 0.93 to 0.95 for neighbours, 0.86 to 0.90 one further."""
    raw, _ = phantom

    def correlation(step):
        pairs = zip(raw[:-step], raw[step:])
        return np.mean([np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in pairs])

    assert 0.91 < correlation(1) < 0.975
    assert correlation(1) > correlation(2) > correlation(8)


def test_a_section_has_its_own_brightness(phantom):
    raw, _ = phantom
    means = raw.mean(axis=(1, 2))
    assert 0.2 < np.diff(means).std() < 3


@pytest.mark.parametrize("shape", [(1, 1, 1), (1, 40, 7), (5, 3, 64)])
def test_any_shape_will_do(shape):
    raw, labels = make_phantom(shape, seed=2)
    assert raw.shape == labels.shape == shape
    assert labels.min() == 1


def test_smaller_voxels_show_less_of_the_same_tissue():
    coarse = make_phantom((4, 96, 96), seed=1)[1]
    fine = make_phantom((4, 96, 96), seed=1, voxel_size=(10.0, 4.0, 4.0))[1]
    assert len(np.unique(fine)) < len(np.unique(coarse)) / 2


@pytest.mark.parametrize("shape", [(0, 8, 8), (8, 8), (4, -1, 4)])
def test_an_impossible_shape_is_refused(shape):
    with pytest.raises(UsageError, match="three extents"):
        make_phantom(shape)


@pytest.mark.parametrize("voxel_size", [(0, 1, 1), (10, 10), (1, float("inf"), 1)])
def test_an_impossible_voxel_size_is_refused(voxel_size):
    with pytest.raises(UsageError, match="three positive lengths"):
        make_phantom((4, 8, 8), voxel_size=voxel_size)


def test_scraps_go_to_a_neighbour_and_pieces_get_ids():
    #   7 7 7 3 9 9      1 1 1 2 3 3     the 3s are one, the 9s are one,
    #   7 7 3 3 9 9  ->  1 1 2 2 3 3     the 7s are two,
    #   3 3 3 7 7 7      2 2 2 4 4 4     and the 5 is too small to stand
    #   3 3 3 7 5 7      2 2 2 4 4 4     alone among 7s
    owner = [[7, 7, 7, 3, 9, 9], [7, 7, 3, 3, 9, 9], [3, 3, 3, 7, 7, 7], [3, 3, 3, 7, 5, 7]]
    labels = [[1, 1, 1, 2, 3, 3], [1, 1, 2, 2, 3, 3], [2, 2, 2, 4, 4, 4], [2, 2, 2, 4, 4, 4]]
    assert as_connected_labels(np.array([owner], np.int32), smallest=2).tolist() == [labels]


def test_a_box_of_nothing_but_scraps_keeps_the_largest():
    assert as_connected_labels(np.array([[[5, 9, 9]]], np.int32)).tolist() == [[[1, 1, 1]]]


def test_pieces_touch_through_faces_only():
    labels = np.array([[[4, 0], [0, 4]]])
    assert len(np.unique(connected_pieces(labels))) == 3


def test_depth_is_measured_in_length_not_in_voxels():
    labels = np.ones((3, 1, 5), np.int32)
    labels[:, :, 3:] = 2
    assert depth_below_surface(labels, (4.0, 1.0, 1.0))[1, 0].tolist() == [2.5, 1.5, 0.5, 0.5, 1.5]


def test_smooth_noise_is_standardised_and_smooth():
    noise = smooth_noise(np.random.default_rng(0), (6, 60, 60), (3.0, 12.0, 12.0))
    assert abs(noise.mean()) < 1e-5
    assert abs(noise.std() - 1) < 1e-5
    assert np.abs(np.diff(noise, axis=1)).max() < 0.5 < np.abs(np.diff(noise, axis=0)).max()


def test_stamps_outside_are_left_out():
    points = np.array([[0.0, -3.0, 0.0], [9.0, 0.0, 0.0]])
    assert not stamp(points, (4, 4, 4), (1.0, 1.0, 1.0)).any()
