"""Scores of a segmentation against ground truth, read off a contingency table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from emds.errors import DataError
from emds.metrics.contingency import ContingencyTable, Counts, Ids

Convention = Literal["cremi", "skimage"]
CONVENTIONS: tuple[Convention, ...] = ("cremi", "skimage")


@dataclass(frozen=True, slots=True)
class SegmentationScores:
    """Agreement of a segmentation with ground truth; 0 is perfect but for the last two.

    Attributes
    ----------
    voi_split, voi_merge : float
        H(seg | gt) and H(gt | seg), bits: what wrong cuts and wrong joins cost.
    voi : float
        Their sum.
    arand : float
        Adapted Rand error, 1 - 2PR/(P + R).
    cremi_score : float
        sqrt(arand · voi).
    precision, recall : float
        P and R: of the voxel pairs that the segmentation (the ground truth) joins, the fraction
        that the other joins as well; 1 where it joins none.
    """

    voi_split: float
    voi_merge: float
    voi: float
    arand: float
    cremi_score: float
    precision: float
    recall: float


def scores(table: ContingencyTable, convention: Convention = "cremi") -> SegmentationScores:
    """Score a segmentation from its contingency table with the ground truth.

    Voxels whose ground truth is 0 are ignored. Sums are rounded once, so the result does not
    depend on the order of the voxels, and a perfect segmentation scores exactly 0.

    Parameters
    ----------
    table : ContingencyTable
        Counts of (ground truth, segmentation) pairs.
    convention : {"cremi", "skimage"}
        How the adapted Rand error counts. ``cremi``: P = Σp²/Σs², and every voxel that the
        segmentation leaves at 0 is an object of its own. ``skimage``: pairs n(n - 1) of distinct
        voxels, and 0 is a segment like any other. The VOI is the same in both, with 0 a segment
        like any other.

    Raises
    ------
    DataError
        If no voxel has a ground truth other than 0.

    Notes
    -----
    ``cremi`` equals elf's ``cremi_score(..., ignore_gt=[0])`` where the segmentation has no 0.
    The CREMI challenge's own script divides the pairs of the singletons by the number of voxels
    although its other sums are not; here each counts as the one pair that it is, as in the
    SNEMI3D definition. scikit-image returns precision and recall in the opposite order.

    References
    ----------
    Meilă, Comparing clusterings, doi 10.1016/j.jmva.2006.11.013.
    Arganda-Carreras et al., Crowdsourcing the creation of image segmentation algorithms for
    connectomics, doi 10.3389/fnana.2015.00142. CREMI challenge, https://cremi.org/metrics.

    Examples
    --------
    One object of 2 voxels and one of 6; the larger is cut into halves:

    >>> table = ContingencyTable()
    >>> table.add(np.repeat([1, 2, 2], [2, 3, 3]), np.repeat([1, 2, 3], [2, 3, 3]))
    >>> result = scores(table)
    >>> result.voi_split, result.voi_merge, result.precision, result.recall
    (0.75, 0.0, 1.0, 0.55)
    """
    gt_ids, seg_ids, counts = table.counts()
    foreground = gt_ids != 0
    if not foreground.any():
        raise DataError(
            "ground truth holds no object: every voxel is 0. "
            "Name the label array, or a region with labels."
        )
    gt_ids, seg_ids, counts = gt_ids[foreground], seg_ids[foreground], counts[foreground]
    voi_split = _conditional_entropy(counts, given=gt_ids)
    voi_merge = _conditional_entropy(counts, given=seg_ids)
    both, by_seg, by_gt = _joined_pairs(gt_ids, seg_ids, counts, convention)
    voi = voi_split + voi_merge
    joined = by_seg + by_gt
    arand = max(0.0, 1.0 - 2.0 * both / joined) if joined else 0.0
    return SegmentationScores(
        voi_split=voi_split,
        voi_merge=voi_merge,
        voi=voi,
        arand=arand,
        cremi_score=math.sqrt(arand * voi),
        precision=both / by_seg if by_seg else 1.0,
        recall=both / by_gt if by_gt else 1.0,
    )


def _conditional_entropy(counts: Counts, *, given: Ids) -> float:
    """Return the bits it takes to name the other id of a voxel whose `given` id is known."""
    size, row = _sizes(given, counts)
    # From the ratio, not as a difference of entropies: exactly 0 where each id has one partner.
    terms = counts * np.log2(size[row] / counts)
    return math.fsum(terms) / int(counts.sum())


def _joined_pairs(
    gt_ids: Ids, seg_ids: Ids, counts: Counts, convention: Convention
) -> tuple[float, float, float]:
    """Count the voxel pairs joined by both, by the segmentation, and by the ground truth."""
    gt_sizes, _ = _sizes(gt_ids, counts)
    if convention == "skimage":
        seg_sizes, _ = _sizes(seg_ids, counts)
        return _distinct_pairs(counts), _distinct_pairs(seg_sizes), _distinct_pairs(gt_sizes)
    segmented = seg_ids != 0
    singletons = float(counts[~segmented].sum())
    seg_sizes, _ = _sizes(seg_ids[segmented], counts[segmented])
    both = _squares(counts[segmented]) + singletons
    return both, _squares(seg_sizes) + singletons, _squares(gt_sizes)


def _sizes(ids: Ids, counts: Counts) -> tuple[Counts, NDArray[np.intp]]:
    """Return the voxels of each distinct id, and which of them each row of the table has."""
    distinct, row = np.unique(ids, return_inverse=True)
    sizes = np.zeros(distinct.size, np.int64)
    np.add.at(sizes, row, counts)
    return sizes, row


def _squares(sizes: NDArray[Any]) -> float:
    as_float = sizes.astype(np.float64)  # int64 squares overflow above 3e9 voxels
    return math.fsum(as_float * as_float)


def _distinct_pairs(sizes: NDArray[Any]) -> float:
    as_float = sizes.astype(np.float64)
    return math.fsum(as_float * (as_float - 1.0))
