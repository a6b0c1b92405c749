"""What the shipped checkpoints make of a stored crop: any change of a network shows here.

The numbers were found with the checkpoints as they were shipped. A change that is meant to leave
them useful leaves these as they are; a new checkpoint brings its own.
"""

from importlib.resources import files
from pathlib import Path

import numpy as np
import pytest
import torch

from emds.demo.phantom import make_phantom
from emds.io import MemoryVolume
from emds.metrics import evaluate_denoising
from emds.networks.checkpoint import load_checkpoint
from emds.noise import add_noise, make_noise_model

SECTION = 3

# Grey levels in squares of 16 pixels; affinities in the quarters of the section, by channel.
# In double precision they move by less than 0.00001; with a grey level more or less in every
# hundredth noisy pixel by 0.01 grey levels, and 0.0004 in affinities.
EXPECTED = {
    "section": {
        "coarse": [
            [96.05, 126.65, 158.95, 128.43],
            [114.25, 146.56, 146.79, 91.57],
            [124.74, 133.81, 164.51, 105.63],
            [102.82, 102.79, 124.53, 150.5],
        ],
        "coarse psnr": 24.164,
        "fused": [
            [95.88, 128.52, 160.65, 126.84],
            [113.94, 148.29, 147.8, 87.41],
            [124.5, 133.47, 164.36, 106.1],
            [103.2, 103.34, 125.13, 148.97],
        ],
        "fused psnr": 24.347,
        "affinities": [
            [0.8312, 0.9721, 0.3801, 0.7688],
            [0.8222, 0.9674, 0.3944, 0.7696],
            [0.8502, 0.9792, 0.3498, 0.7626],
            [0.8243, 0.9662, 0.393, 0.75],
            [0.8665, 0.9855, 0.312, 0.7595],
            [0.8235, 0.9636, 0.3855, 0.7228],
            [0.8867, 0.9877, 0.2205, 0.7642],
            [0.8327, 0.9423, 0.3811, 0.6408],
            [0.915, 0.9911, 0.1591, 0.776],
            [0.8556, 0.8995, 0.4952, 0.4928],
        ],
    },
    "stack": {
        "coarse": [
            [96.78, 130.72, 162.05, 130.12],
            [107.41, 151.84, 148.71, 86.15],
            [130.11, 141.63, 168.96, 105.95],
            [101.7, 93.6, 124.1, 154.95],
        ],
        "coarse psnr": 27.025,
        "fused": [
            [96.18, 131.07, 162.59, 131.58],
            [106.28, 151.98, 149.59, 86.83],
            [129.84, 142.38, 169.21, 106.06],
            [101.56, 94.44, 122.31, 154.24],
        ],
        "fused psnr": 27.361,
        "affinities": [
            [0.8799, 0.875, 0.6418, 0.876],
            [0.8816, 0.8555, 0.6348, 0.8789],
            [0.8727, 0.8568, 0.6347, 0.8675],
            [0.8633, 0.81, 0.598, 0.8844],
            [0.8436, 0.8286, 0.5977, 0.8583],
            [0.8409, 0.7553, 0.5431, 0.8758],
            [0.8281, 0.7855, 0.548, 0.8542],
            [0.8154, 0.6719, 0.4791, 0.8573],
            [0.818, 0.6852, 0.4347, 0.8355],
            [0.7176, 0.5374, 0.4057, 0.8131],
            [0.7543, 0.5392, 0.2931, 0.7679],
            [0.8804, 0.8791, 0.6435, 0.8831],
            [0.8659, 0.8732, 0.6275, 0.8864],
            [0.8421, 0.7697, 0.561, 0.8833],
            [0.842, 0.7991, 0.5473, 0.8726],
            [0.8575, 0.8089, 0.506, 0.8441],
            [0.8295, 0.7561, 0.6159, 0.8494],
        ],
    },
}


@pytest.fixture(scope="module")
def crop():
    """Seven sections of a phantom, clean and noisy."""
    clean, _ = make_phantom((7, 64, 64), seed=4)
    noisy = add_noise(clean, make_noise_model("gaussian-poisson"), seed=4)
    assert clean.mean() == pytest.approx(127.213, abs=0.02), "another crop"
    assert noisy.mean() == pytest.approx(126.854, abs=0.02), "other noise"
    return clean, noisy


def in_squares(values, side):
    *channels, height, width = values.shape
    return values.reshape(*channels, height // side, side, width // side, side).mean((-3, -1))


@pytest.mark.parametrize("name", EXPECTED)
def test_outputs_of_a_shipped_checkpoint(name, crop):
    clean, noisy = crop
    path = Path(str(files("emds.pretrained"))) / f"{name}.pt"
    network = load_checkpoint(path).build()
    half = network.architecture.in_slices // 2
    seen = noisy[SECTION - half : SECTION + half + 1].astype(np.float32) / 127.5 - 1
    with torch.inference_mode():
        prediction = network(torch.from_numpy(seen[None]))
    expected = EXPECTED[name]
    target = MemoryVolume(clean[SECTION : SECTION + 1])
    for which, image in (("coarse", prediction.coarse_section), ("fused", prediction.fused)):
        grey = 127.5 * (image[0].numpy() + 1)
        np.testing.assert_allclose(in_squares(grey[0], 16), expected[which], atol=0.15)
        shown = MemoryVolume(np.clip(np.rint(grey), 0, 255).astype(np.uint8))
        psnr = evaluate_denoising(shown, target).psnr
        assert psnr == pytest.approx(expected[f"{which} psnr"], abs=0.05)
    affinities = torch.sigmoid(prediction.logits)[0].numpy()
    found = in_squares(affinities, 32).reshape(-1, 4)
    np.testing.assert_allclose(found, expected["affinities"], atol=0.002)
