"""How good a segmentation or a denoised image is.

A contingency table, filled slab by slab, feeds every segmentation score (`contingency`,
`segmentation`); `protocols` says which voxels and ids are compared; `denoising` compares images;
`alignment` puts two volumes of one place on the same voxels.
"""

from emds.metrics.alignment import align
from emds.metrics.contingency import ContingencyTable
from emds.metrics.denoising import evaluate_denoising, psnr, ssim
from emds.metrics.protocols import evaluate_protocols, evaluate_segmentation
from emds.metrics.report import (
    PROTOCOLS,
    DenoisingReport,
    Protocol,
    SectionQuality,
    SegmentationReport,
)
from emds.metrics.segmentation import CONVENTIONS, Convention, SegmentationScores, scores

__all__ = [
    "CONVENTIONS",
    "PROTOCOLS",
    "ContingencyTable",
    "Convention",
    "DenoisingReport",
    "Protocol",
    "SectionQuality",
    "SegmentationReport",
    "SegmentationScores",
    "align",
    "evaluate_denoising",
    "evaluate_protocols",
    "evaluate_segmentation",
    "psnr",
    "scores",
    "ssim",
]
