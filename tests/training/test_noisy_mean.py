"""Clipped noise does not pull the image toward its own mean."""

import numpy as np
import pytest
import torch

from emds.io.volume import MemoryVolume
from emds.networks.intensity import Intensity
from emds.networks.joint import Prediction
from emds.stages.estimate_noise import estimate_noise
from emds.training.adaptation import blind_spot_loss
from emds.training.noisy_mean import NoisyMean

CPU = torch.device("cpu")
BYTES = Intensity()
CLEAN = np.linspace(20, 235, 144)  # a ramp along x


def noisy_ramp(sigma, seed=0):
    noise = np.random.default_rng(seed).normal(0, sigma, (24, 96, 144))
    return np.clip(np.rint(CLEAN + noise), 0, 255).astype(np.uint8)


def mean_of(values, intensity=BYTES):
    return NoisyMean.of(estimate_noise(MemoryVolume(values)).estimate, intensity, CPU)


def scaled(grey):
    return torch.as_tensor(grey, dtype=torch.float32) / 127.5 - 1


def test_it_is_the_mean_of_noise_that_is_cut_off():
    values = noisy_ramp(80)
    seen = (mean_of(values)(scaled(CLEAN)).numpy() + 1) * 127.5
    truly = values.mean(axis=(0, 1))
    assert np.abs(truly - CLEAN).max() > 15, "test invalid"
    assert np.abs(seen - truly).max() < 6  # a mean of 2304 values is known to 1.4
    assert np.abs(seen - truly).mean() < 1.5


def test_noise_that_is_not_cut_off_keeps_the_mean():
    values = noisy_ramp(4)
    clean = scaled(CLEAN[20:-20])
    assert mean_of(values)(clean).numpy() == pytest.approx(clean.numpy(), abs=0.01)


@pytest.mark.parametrize("grey", [40.0, 215.0])
def test_the_least_loss_is_at_the_clean_value_and_not_at_the_mean_of_the_noisy_ones(grey):
    noise = np.random.default_rng(1).normal(0, 70, (1, 1, 256, 256))
    noisy = scaled(np.clip(np.rint(grey + noise), 0, 255))
    spots = torch.ones_like(noisy, dtype=torch.bool)
    mean = mean_of(noisy_ramp(70))

    def best(mean):
        tried = np.arange(0, 256.0)
        images = [Prediction(None, None, scaled(value).expand(noisy.shape)) for value in tried]
        return tried[np.argmin([blind_spot_loss(one, noisy, spots, mean) for one in images])]

    plain = NoisyMean(torch.linspace(-2, 2, 1025))
    assert abs(best(plain) - grey) > 8, "test invalid"
    assert abs(best(mean) - grey) <= 3


def test_grey_values_of_another_range_give_the_same():
    values = noisy_ramp(60)
    wide = mean_of(values.astype(np.uint16) * 100 + 5000, Intensity(low=5000, high=30500))
    assert wide(scaled(CLEAN)).numpy() == pytest.approx(
        mean_of(values)(scaled(CLEAN)).numpy(), abs=0.01
    )
