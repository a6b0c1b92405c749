"""The command ``evaluate``: score labels against ground truth, and images against clean ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import emds
from emds.errors import DataError, UsageError
from emds.geometry import Triple
from emds.io.volume import Volume
from emds.metrics.alignment import align
from emds.metrics.denoising import SSIM_CONVENTIONS, SsimConvention, evaluate_denoising
from emds.metrics.protocols import evaluate_protocols
from emds.metrics.report import PROTOCOLS, DenoisingReport, Protocol, SegmentationReport
from emds.metrics.segmentation import Convention
from emds.numbers import GreySpan, checked
from emds.progress import Progress
from emds.stages.given_labels import given_labels, refuse_image

Row = tuple[str, float | None, str]

DEFAULT_PROTOCOLS: tuple[Protocol, ...] = ("volume", "strict")
_MOSTLY_IGNORED = 0.5


@dataclass(frozen=True, slots=True)
class EvaluationReport:
    """Everything that one run of ``evaluate`` found.

    Attributes
    ----------
    inputs : dict of str to str
        Locations, by role: ``segmentation``, ``ground_truth``, ``denoised``, ``clean``.
    shapes : dict of str to (Z, Y, X)
        What was compared: ``segmentation`` and ``denoising``.
    segmentation : tuple of SegmentationReport
        One for each protocol; empty without labels.
    denoising : DenoisingReport or None
        None without images.
    notes : tuple of str
        What was cut to fit, and what a reader should know before trusting the numbers.
    """

    inputs: dict[str, str]
    shapes: dict[str, Triple]
    segmentation: tuple[SegmentationReport, ...]
    denoising: DenoisingReport | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return one JSON object; ``segmentation`` is keyed by protocol."""
        return {
            "emds": emds.__version__,
            "inputs": self.inputs,
            "shapes": {name: list(shape) for name, shape in self.shapes.items()},
            "segmentation": {one.protocol: one.to_dict() for one in self.segmentation} or None,
            "denoising": self.denoising.to_dict() if self.denoising else None,
            "notes": list(self.notes),
        }

    def rows(self) -> list[Row]:
        """Return (name, value, note) for a table; a value is None where it is infinite."""
        rows = [row for one in self.segmentation for row in _segmentation_rows(one)]
        return rows + (_denoising_rows(self.denoising) if self.denoising else [])


@checked
def evaluate(
    seg: Volume | None = None,
    gt: Volume | None = None,
    *,
    denoised: Volume | None = None,
    clean: Volume | None = None,
    protocols: Sequence[Protocol | Literal["all"]] = DEFAULT_PROTOCOLS,
    convention: Convention = "cremi",
    ssim_conventions: Sequence[SsimConvention] = SSIM_CONVENTIONS,
    data_range: GreySpan | None = None,
    progress: Progress | None = None,
) -> EvaluationReport:
    """Score a segmentation, a denoised image, or both.

    Volumes of different shapes are compared where the positions they carry put one inside the
    other: the larger is cut, and the report says so.

    Parameters
    ----------
    seg, gt : Volume, optional
        Labels and their ground truth; 0 in the ground truth is ignored.
    denoised, clean : Volume, optional
        Image and its noise-free original.
    protocols : sequence of {"volume", "strict", "paper", "released", "all"}
        See `emds.metrics.protocols.evaluate_protocols`.
    convention : {"cremi", "skimage"}
        See `emds.metrics.segmentation.scores`.
    ssim_conventions : sequence of {"wang", "paper"}
        See `emds.metrics.denoising.ssim`.
    data_range : float, optional
        Greatest minus least possible grey value; needed where `clean` is not uint8 or uint16.
    progress : callable, optional
        Called with (slabs done, slabs in all, what).

    Raises
    ------
    UsageError
        If a pair is incomplete or absent, or an option has an unknown value.
    DataError
        If the volumes of a pair do not fit each other, or cannot be scored: labels that are not
        integers, ground truth without objects or with one id everywhere, an empty segmentation,
        a constant clean image, NaN.

    Examples
    --------
    >>> import numpy as np
    >>> from emds.io.volume import MemoryVolume
    >>> truth = MemoryVolume(np.array([[[1, 1, 2, 2]]]))
    >>> merged = MemoryVolume(np.array([[[5, 5, 5, 5]]]))
    >>> report = evaluate(merged, truth, protocols=["volume"])
    >>> for name, value, _ in report.rows()[:3]:
    ...     print(name, value)
    volume: VOI 1.0
    volume: VOI split 0.0
    volume: VOI merge 1.0
    """
    _check_pair(seg, gt, "a segmentation", "its ground truth: emds evaluate SEG GT")
    _check_pair(denoised, clean, "--denoised", "--clean, the noise-free image of the same place")
    inputs: dict[str, str] = {}
    shapes: dict[str, Triple] = {}
    notes: list[str] = []
    reports: tuple[SegmentationReport, ...] = ()
    quality: DenoisingReport | None = None
    if seg is not None and gt is not None:
        inputs |= {"segmentation": seg.location, "ground_truth": gt.location}
        gt = given_labels(gt, "ground truth", tell=notes.append)
        seg, gt, found = align(seg, gt)
        refuse_image(seg, "segmentation", gt)
        shapes["segmentation"] = gt.shape
        reports = evaluate_protocols(seg, gt, _expand(protocols), convention, progress=progress)
        _check_worth_scoring(reports, seg, gt)
        notes += [*found, *_segmentation_notes(reports)]
    if denoised is not None and clean is not None:
        inputs |= {"denoised": denoised.location, "clean": clean.location}
        denoised, clean, found = align(denoised, clean, ("denoised image", "clean image"))
        shapes["denoising"] = clean.shape
        quality = evaluate_denoising(
            denoised,
            clean,
            data_range=data_range,
            ssim_conventions=ssim_conventions,
            progress=progress,
        )
        notes += [*found, *_denoising_notes(quality, denoised, clean)]
    if not inputs:
        raise UsageError(
            "nothing to evaluate: give SEG and GT, or --denoised with --clean, or all four."
        )
    return EvaluationReport(inputs, shapes, reports, quality, tuple(notes))


def _check_pair(one: Volume | None, other: Volume | None, name: str, partner: str) -> None:
    if (one is None) != (other is None):
        raise UsageError(f"{name} needs {partner}; only one of the two was given.")


def _expand(protocols: Sequence[Protocol | Literal["all"]]) -> tuple[Protocol, ...]:
    if not protocols:
        raise UsageError(f"--protocol needs a value: {', '.join(PROTOCOLS)}, or all.")
    chosen: dict[Protocol, None] = {}
    for protocol in protocols:
        chosen |= dict.fromkeys(PROTOCOLS if protocol == "all" else (protocol,))
    return tuple(chosen)


def _check_worth_scoring(reports: Sequence[SegmentationReport], seg: Volume, gt: Volume) -> None:
    if not reports[0].seg_objects:
        raise DataError(
            f"segmentation {seg.location} holds no object: every voxel is 0. "
            "Name the label array, or look at how it was made."
        )
    # The cast of `released` makes one id of several, which is that protocol's own business.
    own_ids = [report for report in reports if report.protocol != "released"]
    if own_ids and all(_has_one_id(report) for report in own_ids):
        raise DataError(
            f"ground truth {gt.location} has one id everywhere; no segmentation can be told from "
            "another by it. Name the label array, or a larger region."
        )


def _has_one_id(report: SegmentationReport) -> bool:
    places = len(report.sections) or 1
    return report.gt_objects == places and not report.ignored_fraction


def _segmentation_notes(reports: Sequence[SegmentationReport]) -> list[str]:
    notes = []
    for report in reports:
        if report.ignored_fraction > _MOSTLY_IGNORED:
            notes.append(
                f"{report.protocol}: {report.ignored_fraction:.1%} of the voxels have ground "
                "truth 0 and were ignored"
            )
        if report.seg_objects == (len(report.sections) or 1):
            place = " in each section" if report.sections else ""
            notes.append(f"{report.protocol}: the segmentation holds a single object{place}")
    return notes


def _denoising_notes(quality: DenoisingReport, denoised: Volume, clean: Volume) -> list[str]:
    notes = []
    if quality.identical_sections:
        notes.append(
            f"{quality.identical_sections} of {len(quality.sections)} sections equal the clean "
            "ones: their PSNR is infinite, written as null"
        )
    if denoised.dtype != clean.dtype:
        notes.append(
            f"denoised values are {denoised.dtype}, clean ones {clean.dtype}: compared as they "
            f"are, with a range of {quality.data_range:g}"
        )
    return notes


def _segmentation_rows(report: SegmentationReport) -> list[Row]:
    names = {
        "voi": ("VOI", "bits, lower is better"),
        "voi_split": ("VOI split", "bits, H(seg | gt)"),
        "voi_merge": ("VOI merge", "bits, H(gt | seg)"),
        "arand": ("ARAND", f"convention {report.convention}, lower is better"),
        "cremi_score": ("CREMI score", "sqrt(ARAND · VOI)"),
        "precision": ("Rand precision", "1 is perfect"),
        "recall": ("Rand recall", "1 is perfect"),
    }
    rows: list[Row] = []
    for key, (name, note) in names.items():
        if report.sd is not None:
            note += f"; ± {getattr(report.sd, key):.4f} over {len(report.sections)} sections"
        rows.append((f"{report.protocol}: {name}", getattr(report.scores, key), note))
    rows.append(
        (
            f"{report.protocol}: ignored",
            report.ignored_fraction,
            f"fraction of voxels with ground truth 0; {report.gt_objects} objects in the ground "
            f"truth, {report.seg_objects} in the segmentation",
        )
    )
    return rows


def _denoising_rows(quality: DenoisingReport) -> list[Row]:
    values = quality.to_dict()
    over = f" over {len(quality.sections)} sections"
    span = f"dB, range {quality.data_range:g}"
    rows: list[Row] = [
        ("PSNR", values["psnr"], f"{span}, mean{_spread(quality.psnr_sd)}{over}"),
        ("PSNR pooled", values["pooled_psnr"], f"{span}, from the error of all voxels"),
    ]
    for name, value in quality.ssim.items():
        spread = _spread(quality.ssim_sd[name])
        rows.append((f"SSIM ({name})", value, f"mean{spread}{over}"))
    return rows


def _spread(sd: float | None) -> str:
    return f" ± {sd:.4f}" if sd is not None else ""
