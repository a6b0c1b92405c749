from __future__ import annotations

import json
import math
from functools import partial

import numpy as np
import pytest
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from emds.errors import DataError, UsageError
from emds.io.volume import MemoryVolume
from emds.metrics import evaluate_denoising, psnr, ssim
from emds.metrics.slabs import iter_slabs

WANG = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}


def stack(dtype=np.uint8, top=255, seed=0, shape=(3, 24, 30)):
    rng = np.random.default_rng(seed)
    clean = rng.random(shape)
    noisy = np.clip(clean + 0.1 * rng.standard_normal(shape), 0, 1)
    return (clean * top).astype(dtype), (noisy * top).astype(dtype)


@pytest.mark.parametrize(("dtype", "top"), [(np.uint8, 255), (np.uint16, 65535), (float, 1.0)])
def test_equals_scikit_image_section_by_section(dtype, top):
    clean, noisy = stack(dtype, top)
    report = evaluate_denoising(MemoryVolume(noisy), MemoryVolume(clean), data_range=top)
    for section, c, n in zip(report.sections, clean, noisy, strict=True):
        expected = peak_signal_noise_ratio(c, n, data_range=top)
        assert section.psnr == pytest.approx(expected, abs=1e-9)
        assert section.ssim["wang"] == pytest.approx(
            structural_similarity(c, n, data_range=top, **WANG), abs=1e-9
        )
        assert section.ssim["paper"] == pytest.approx(
            structural_similarity(c, n, data_range=top), abs=1e-9
        )
    pooled = peak_signal_noise_ratio(clean, noisy, data_range=top)
    assert report.pooled_psnr == pytest.approx(pooled, abs=1e-9)
    assert report.psnr == pytest.approx(psnr(clean, noisy, top), abs=1e-12)
    assert report.ssim["wang"] == pytest.approx(ssim(clean, noisy, top, "wang"), abs=1e-12)
    assert report.ssim["paper"] == pytest.approx(ssim(clean, noisy, top, "paper"), abs=1e-12)
    assert report.psnr_sd == pytest.approx(np.std([s.psnr for s in report.sections], ddof=1))


def test_psnr_of_a_known_error():
    clean = np.full((2, 4, 4), 100, np.uint8)
    # Off by 5 in one section, by 20 in the other; below the clean value, where uint8 would wrap.
    image = clean - np.array([5, 20], np.uint8)[:, None, None]
    first, second = 20 * math.log10(255 / 5), 20 * math.log10(255 / 20)
    assert psnr(clean, image, 255) == pytest.approx((first + second) / 2)
    assert psnr(clean[0], image[0], 255) == pytest.approx(first)


def test_the_range_is_stated_and_never_stretched():
    clean, noisy = stack(top=60)
    narrow = evaluate_denoising(MemoryVolume(noisy), MemoryVolume(clean))
    assert narrow.data_range == 255
    as_16_bit = evaluate_denoising(
        MemoryVolume(noisy.astype(np.uint16)), MemoryVolume(clean.astype(np.uint16))
    )
    assert as_16_bit.data_range == 65535
    gain = 20 * math.log10(65535 / 255)
    assert as_16_bit.psnr == pytest.approx(narrow.psnr + gain)


def test_ssim_is_taken_in_sections_not_in_3d_windows():
    clean = np.broadcast_to(stack(shape=(1, 24, 24))[0], (9, 24, 24))
    noisy = stack(shape=(9, 24, 24))[1]
    in_3d = structural_similarity(clean, noisy, data_range=255)
    assert abs(ssim(clean, noisy, 255, "paper") - in_3d) > 0.01


def test_identical_sections_are_infinite_and_null_in_json():
    clean, noisy = stack()
    noisy[1] = clean[1]
    report = evaluate_denoising(MemoryVolume(noisy), MemoryVolume(clean))
    assert report.psnr == math.inf
    assert math.isfinite(report.pooled_psnr)
    values = report.to_dict()
    assert json.loads(json.dumps(values, allow_nan=False)) == values
    assert values["psnr"] is None
    assert values["psnr_sd"] is None
    assert values["sections"][1]["psnr"] is None
    assert values["identical_sections"] == 1


@pytest.mark.parametrize("slab_bytes", [1, 3000, 10**9])
def test_slabs_do_not_change_a_bit(slab_bytes, monkeypatch):
    clean, noisy = stack(shape=(5, 24, 30))
    whole = evaluate_denoising(MemoryVolume(noisy), MemoryVolume(clean))
    volumes = MemoryVolume(noisy), MemoryVolume(clean)
    for volume in volumes:
        volume.chunk_shape = (2, 7, 9)
    monkeypatch.setattr(
        "emds.metrics.denoising.iter_slabs", partial(iter_slabs, slab_bytes=slab_bytes)
    )
    assert evaluate_denoising(*volumes) == whole


def test_a_float_reference_needs_its_range():
    clean, noisy = stack(np.float32, 1.0)
    with pytest.raises(UsageError, match="--data-range"):
        evaluate_denoising(MemoryVolume(noisy), MemoryVolume(clean))
    with pytest.raises(UsageError, match="positive"):
        evaluate_denoising(MemoryVolume(noisy), MemoryVolume(clean), data_range=0)


def test_nan_is_refused_with_its_place():
    clean, noisy = stack(np.float32, 1.0)
    noisy[2, 3, 4] = np.nan
    with pytest.raises(DataError, match=r"d\.tif holds nan at \(z, y, x\) = \(2, 3, 4\)"):
        evaluate_denoising(MemoryVolume(noisy, location="d.tif"), MemoryVolume(clean), data_range=1)


def test_a_constant_clean_image_is_refused():
    clean = np.full((2, 16, 16), 7, np.uint8)
    with pytest.raises(DataError, match="the value 7 everywhere"):
        evaluate_denoising(MemoryVolume(clean + np.uint8(1)), MemoryVolume(clean))


def test_sections_smaller_than_the_window_are_refused():
    clean, noisy = stack(shape=(2, 8, 30))
    with pytest.raises(DataError, match="window of 11×11"):
        evaluate_denoising(MemoryVolume(noisy), MemoryVolume(clean))
    report = evaluate_denoising(
        MemoryVolume(noisy), MemoryVolume(clean), ssim_conventions=["paper"]
    )
    assert list(report.ssim) == ["paper"]


def test_shapes_and_channels_are_checked():
    clean, noisy = stack()
    with pytest.raises(DataError, match=r"\(2, 24, 30\) and clean memory of shape \(3, 24, 30\)"):
        evaluate_denoising(MemoryVolume(noisy[:2]), MemoryVolume(clean))
    with pytest.raises(DataError, match="channels of uint8"):
        evaluate_denoising(MemoryVolume(noisy[None]), MemoryVolume(clean))
    with pytest.raises(UsageError, match="unknown SSIM convention"):
        evaluate_denoising(MemoryVolume(noisy), MemoryVolume(clean), ssim_conventions=["3d"])
