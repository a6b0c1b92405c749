"""How close a denoised image is to the clean one: PSNR and SSIM, section by section."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from emds.errors import DataError, UsageError
from emds.io.volume import Volume
from emds.metrics.report import DenoisingReport, SectionQuality
from emds.metrics.slabs import iter_slabs
from emds.progress import Progress

SsimConvention = Literal["wang", "paper"]
SSIM_CONVENTIONS: tuple[SsimConvention, ...] = get_args(SsimConvention)
SSIM_WINDOW = {"wang": 11, "paper": 7}


def psnr(reference: NDArray[Any], image: NDArray[Any], data_range: float) -> float:
    """Peak signal-to-noise ratio of each section, averaged over the sections.

    Values are compared as they are: neither image is stretched, clipped or shifted.

    Parameters
    ----------
    reference, image : (Y, X) or (Z, Y, X)
        Clean and denoised image, any real dtype.
    data_range : float
        Greatest minus least possible value, e.g. 255 for uint8.

    Returns
    -------
    float
        Decibels; infinite where a section is identical.

    Examples
    --------
    >>> clean = np.full((8, 8), 100, np.uint8)
    >>> round(psnr(clean, clean + np.uint8(10), 255), 4)
    28.1308
    """
    sections = zip(_sections(reference), _sections(image), strict=True)
    errors = [_mean_squared_error(a, b) for a, b in sections]
    return math.fsum(_decibels(error, data_range) for error in errors) / len(errors)


def ssim(
    reference: NDArray[Any],
    image: NDArray[Any],
    data_range: float,
    convention: SsimConvention = "wang",
) -> float:
    """Structural similarity of each section, averaged over the sections.

    Parameters
    ----------
    reference, image : (Y, X) or (Z, Y, X)
        Clean and denoised image, any real dtype; a section must cover the window.
    data_range : float
        Greatest minus least possible value, e.g. 255 for uint8.
    convention : {"wang", "paper"}
        ``wang``: Gaussian window of σ 1.5 (11×11) and population covariance, as in the article
        that introduced the index. ``paper``: uniform 7×7 window and sample covariance,
        scikit-image's default and what Wang et al. 2024 report.

    References
    ----------
    Wang, Bovik, Sheikh, Simoncelli, Image quality assessment: from error visibility to
    structural similarity, doi 10.1109/TIP.2003.819861.

    Examples
    --------
    >>> clean = np.random.default_rng(0).integers(0, 256, (32, 32)).astype(np.uint8)
    >>> ssim(clean, clean, 255), round(ssim(clean, 255 - clean, 255), 2)
    (1.0, -0.97)
    """
    from skimage.metrics import structural_similarity

    similarity: Callable[..., Any] = structural_similarity  # scikit-image ships no types
    options: dict[str, Any] = {"win_size": SSIM_WINDOW["paper"]}
    if convention == "wang":
        options = {"gaussian_weights": True, "sigma": 1.5, "use_sample_covariance": False}
    each = [
        float(
            similarity(a.astype(np.float64), b.astype(np.float64), data_range=data_range, **options)
        )
        for a, b in zip(_sections(reference), _sections(image), strict=True)
    ]
    return math.fsum(each) / len(each)


def evaluate_denoising(
    denoised: Volume,
    clean: Volume,
    *,
    data_range: float | None = None,
    ssim_conventions: Sequence[SsimConvention] = SSIM_CONVENTIONS,
    progress: Progress | None = None,
) -> DenoisingReport:
    """Compare a denoised volume with the clean one, a few sections at a time.

    Parameters
    ----------
    denoised, clean : Volume
        Images of one shape, without channels.
    data_range : float, optional
        Greatest minus least possible value. Known for clean images of uint8 (255) and uint16
        (65535); must be given for others.
    ssim_conventions : sequence of {"wang", "paper"}
        See `ssim`.
    progress : callable, optional
        Called with (slabs done, slabs in all, what).

    Raises
    ------
    UsageError
        If a convention is unknown, or `data_range` is missing or not positive.
    DataError
        If the shapes differ, an array has channels or is not real, holds NaN or infinity, the
        clean volume is constant, or a section is smaller than the window of the SSIM.
    """
    _check_images(denoised, clean, ssim_conventions)
    span = _data_range(clean, data_range)
    sections: list[SectionQuality] = []
    errors: list[float] = []
    least, greatest = math.inf, -math.inf
    slabs = list(iter_slabs(denoised, clean, whole_sections=True))
    for done, slab in enumerate(slabs, start=1):
        first = slab.write_roi.offset[0]
        images = denoised.read(slab.write_roi), clean.read(slab.write_roi)
        for volume, values in zip((denoised, clean), images, strict=True):
            _check_finite(volume, values, first)
        least = min(least, float(images[1].min()))
        greatest = max(greatest, float(images[1].max()))
        for z, (image, reference) in enumerate(zip(*images, strict=True), first):
            errors.append(_mean_squared_error(reference, image))
            similarity: dict[str, float] = {
                name: ssim(reference, image, span, name) for name in ssim_conventions
            }
            sections.append(SectionQuality(z, _decibels(errors[-1], span), similarity))
        if progress:
            progress(done, len(slabs), "evaluate denoising")
    if least == greatest:
        raise DataError(
            f"clean image {clean.location} has the value {least:g} everywhere; nothing can be "
            "told from it. Name the clean raw volume."
        )
    pooled = math.fsum(errors) / len(errors)
    return DenoisingReport(span, _decibels(pooled, span), tuple(sections))


def _sections(image: NDArray[Any]) -> NDArray[Any]:
    return image if image.ndim == 3 else image[np.newaxis]


def _mean_squared_error(reference: NDArray[Any], image: NDArray[Any]) -> float:
    difference = np.subtract(reference, image, dtype=np.float64)
    return float(np.mean(difference * difference))


def _decibels(error: float, data_range: float) -> float:
    return 10.0 * math.log10(data_range**2 / error) if error else math.inf


def _data_range(clean: Volume, stated: float | None) -> float:
    if stated is not None:
        if not (stated > 0 and math.isfinite(stated)):
            raise UsageError(f"--data-range must be a positive number, not {stated}.")
        return float(stated)
    if clean.dtype in (np.uint8, np.uint16):
        return float(np.iinfo(clean.dtype).max)
    raise UsageError(
        f"the range of clean image {clean.location} cannot be told from its type {clean.dtype}. "
        "Give --data-range, the greatest minus the least possible value, e.g. 1 for [0, 1]."
    )


def _check_images(
    denoised: Volume, clean: Volume, ssim_conventions: Sequence[SsimConvention]
) -> None:
    for name in ssim_conventions:
        if name not in SSIM_CONVENTIONS:
            raise UsageError(
                f"unknown SSIM convention {name!r}; choose from {', '.join(SSIM_CONVENTIONS)}."
            )
    for volume in (denoised, clean):
        if volume.channels is not None or volume.dtype.kind not in "iuf":
            held = f"channels of {volume.dtype}" if volume.channels is not None else volume.dtype
            raise DataError(
                f"image {volume.location} must hold grey values (z, y, x), not {held}. "
                "Name a single array of numbers."
            )
    if denoised.shape != clean.shape:
        raise DataError(
            f"denoised {denoised.location} of shape {denoised.shape} and clean {clean.location} "
            f"of shape {clean.shape} must cover the same voxels. Cut the larger one to the other."
        )
    window = max((SSIM_WINDOW[name] for name in ssim_conventions), default=1)
    if min(clean.shape[1:]) < window:
        raise DataError(
            f"sections of {clean.location} are {clean.shape[1:]} voxels (y, x), smaller than the "
            f"SSIM's window of {window}×{window}. Compare larger sections."
        )


def _check_finite(volume: Volume, values: NDArray[Any], first: int) -> None:
    if values.dtype.kind == "f" and not np.isfinite(values).all():
        z, y, x = (int(place) for place in np.argwhere(~np.isfinite(values))[0])
        raise DataError(
            f"image {volume.location} holds {values[z, y, x]} at (z, y, x) = "
            f"{(z + first, y, x)}; every value must be finite. Repair or crop it."
        )
