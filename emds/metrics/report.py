"""Results of an evaluation, with what must be known to compare them."""

from __future__ import annotations

import math
import statistics
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

from emds.metrics.segmentation import Convention, SegmentationScores

Protocol = Literal["volume", "strict", "paper", "released"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)


@dataclass(frozen=True, slots=True)
class SegmentationReport:
    """Scores of a segmentation, and how they were obtained.

    Attributes
    ----------
    protocol, convention : str
        As given to `evaluate_segmentation`.
    scores : SegmentationScores
        Of the volume, or the mean over the sections.
    sd : SegmentationScores or None
        Standard deviation over the sections (n - 1 in the denominator); None for the protocol
        ``volume`` and for a single section.
    sections : tuple of (z, SegmentationScores)
        Each section that has ground truth, for bootstrap intervals; empty for ``volume``.
    voxels : int
        Voxels that were scored.
    ignored_fraction : float
        Of all voxels, those not scored because their ground truth is 0.
    gt_objects, seg_objects : int
        Objects on either side, background left out; in sections, counted in each.
    """

    protocol: Protocol
    convention: Convention
    scores: SegmentationScores
    sd: SegmentationScores | None
    sections: tuple[tuple[int, SegmentationScores], ...]
    voxels: int
    ignored_fraction: float
    gt_objects: int
    seg_objects: int

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values; the scores stand at the top level."""
        return {
            "protocol": self.protocol,
            "convention": self.convention,
            **asdict(self.scores),
            "sd": asdict(self.sd) if self.sd else None,
            "sections": [{"z": z, **asdict(section)} for z, section in self.sections],
            "voxels": self.voxels,
            "ignored_fraction": self.ignored_fraction,
            "gt_objects": self.gt_objects,
            "seg_objects": self.seg_objects,
        }


@dataclass(frozen=True, slots=True)
class SectionQuality:
    """How close one denoised section is to the clean one.

    Attributes
    ----------
    z : int
        Which section, counted from the first that was compared.
    psnr : float
        Decibels; infinite where the two are identical.
    ssim : dict of str to float
        By convention.
    """

    z: int
    psnr: float
    ssim: dict[str, float]


@dataclass(frozen=True, slots=True)
class DenoisingReport:
    """How close a denoised volume is to the clean one, and how that was measured.

    Attributes
    ----------
    data_range : float
        Greatest minus least possible value.
    pooled_psnr : float
        From the mean squared error of all voxels, decibels.
    sections : tuple of SectionQuality
        One for each section.
    """

    data_range: float
    pooled_psnr: float
    sections: tuple[SectionQuality, ...]

    @property
    def psnr(self) -> float:
        """Mean over the sections, decibels; infinite if one section is identical."""
        return statistics.fmean(section.psnr for section in self.sections)

    @property
    def psnr_sd(self) -> float | None:
        """Standard deviation over the sections (n - 1), where there are two or more."""
        return _deviation([section.psnr for section in self.sections])

    @property
    def ssim(self) -> dict[str, float]:
        """Mean over the sections, by convention."""
        return {
            name: statistics.fmean(section.ssim[name] for section in self.sections)
            for name in self.sections[0].ssim
        }

    @property
    def ssim_sd(self) -> dict[str, float | None]:
        """Standard deviation over the sections (n - 1), by convention."""
        return {
            name: _deviation([section.ssim[name] for section in self.sections])
            for name in self.sections[0].ssim
        }

    @property
    def identical_sections(self) -> int:
        """Sections that equal the clean ones, so that their PSNR is infinite."""
        return sum(math.isinf(section.psnr) for section in self.sections)

    def to_dict(self) -> dict[str, Any]:
        """Return the report as JSON values; an infinite PSNR is null (`identical_sections` > 0)."""
        return {
            "data_range": self.data_range,
            "psnr": _finite(self.psnr),
            "psnr_sd": self.psnr_sd,
            "pooled_psnr": _finite(self.pooled_psnr),
            "identical_sections": self.identical_sections,
            "ssim": self.ssim,
            "ssim_sd": self.ssim_sd,
            "sections": [
                {"z": section.z, "psnr": _finite(section.psnr), "ssim": section.ssim}
                for section in self.sections
            ],
        }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _deviation(values: list[float]) -> float | None:
    if len(values) < 2 or not all(math.isfinite(value) for value in values):
        return None
    return statistics.stdev(values)
