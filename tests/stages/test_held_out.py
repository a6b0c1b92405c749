"""The judge of adapting: its unit, and what it takes for chance."""

import numpy as np
import pytest
import torch

from emds.geometry import Roi
from emds.io.volume import MemoryVolume
from emds.networks.intensity import Intensity
from emds.networks.joint import Prediction
from emds.stages.held_out import HeldOut, Judgement
from emds.training.noisy_mean import NoisyMean

TRUE = NoisyMean(torch.linspace(-2, 2, 1025))  # noise that leaves the mean as it is


def says(value):
    """A network to which every place looks alike; `value` is in the range of networks."""

    def network(hidden):
        n, _, height, width = hidden.shape
        return Prediction(None, None, torch.full((n, 1, height, width), float(value)))

    return network


def judge(values, intensity, sections=(0, 4)):
    volume = MemoryVolume(values)
    return HeldOut(
        volume,
        Roi.whole(volume.shape),
        sections,
        slices=1,
        reach=(0, 0, 0),
        noisy_mean=TRUE,
        intensity=intensity,
        seed=0,
        device=torch.device("cpu"),
    )


@pytest.mark.parametrize(
    ("intensity", "dtype", "grey"),
    [
        (Intensity(), np.uint8, (100, 110, 127, 200)),
        (Intensity(low=0, high=4000), np.uint16, (100, 1500, 2000, 3900)),
        (Intensity(low=-1, high=1), np.float32, (-0.5, 0.0, 0.25, 0.75)),
    ],
)
@pytest.mark.parametrize("answer", [0.0, -0.5])
def test_errors_are_squares_of_grey_levels(intensity, dtype, grey, answer):
    """Sections of one value each: wherever the spots are, the error is the same."""
    values = np.broadcast_to(np.array(grey, dtype)[:, None, None], (4, 32, 40)).copy()
    middle, half = (intensity.high + intensity.low) / 2, (intensity.high - intensity.low) / 2
    expected = [(value - (middle + half * answer)) ** 2 for value in grey]
    found = judge(values, intensity)(says(answer))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6 * half**2)


def test_the_error_of_white_noise_is_its_variance():
    """The best that a network can say of noise around one value."""
    rng = np.random.default_rng(0)
    values = np.clip(np.rint(rng.normal(127.5, 20, (16, 256, 256))), 0, 255).astype(np.uint8)
    found = judge(values, Intensity(), (0, 16))(says(0.0))
    assert found.mean() == pytest.approx(values.astype(float).var(), rel=0.02)


def judgement(differences):
    before = np.full(len(differences), 900.0)
    return Judgement(before, before + np.asarray(differences, float))


@pytest.mark.parametrize(
    ("differences", "is_better"),
    [
        # Standard errors over the sections are 0.2, 3.6 and 0.2.
        ([-1.6, -0.5, -0.4, -1.5, -1.4, -0.6, -1.2, -0.8], True),
        ([-12.0, -8.0, 9.0, 11.0, -10.0, -13.0, 8.0, 7.0], False),
        ([1.6, 0.5, 0.4, 1.5, 1.4, 0.6, 1.2, 0.8], False),
        # One section that gains a lot, among those that lose a little.
        ([-20.0, *[0.5] * 15], False),
        ([-1.0] * 4, True),
        ([0.0] * 4, False),
    ],
)
def test_better_is_better_beyond_chance(differences, is_better):
    found = judgement(differences)
    assert found.difference == pytest.approx(np.mean(differences))
    low, high = found.interval
    assert low <= found.difference <= high
    assert found.is_better is is_better


def test_a_judgement_says_its_numbers():
    found = judgement([-3.0, -1.0, -3.0, -1.0])
    described = found.to_dict()
    assert (described["before"], described["after"]) == (900.0, 898.0)
    assert (described["difference"], described["sections"]) == (-2.0, 4)
    assert "from 900.0 to 898.0 grey levels² (by -2.00" in str(found)
