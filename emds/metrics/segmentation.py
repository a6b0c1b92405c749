"""Scores of a segmentation against ground truth, read off a contingency table."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from emds.errors import DataError
from emds.metrics.contingency import ContingencyTable, Ids, number_ids

Convention = Literal["cremi", "skimage"]
CONVENTIONS: tuple[Convention, ...] = ("cremi", "skimage")


_PerRow = NDArray[np.float64]


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

    Voxels whose ground truth is 0 are ignored. The result does not depend on the order of the
    voxels or on the names of the objects, and a perfect segmentation scores exactly 0.

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
    gt_ids, seg_ids, counts = table.pairs()
    foreground = gt_ids != 0
    if not foreground.any():
        raise DataError(
            "ground truth holds no object: every voxel is 0. "
            "Name the label array, or a region with labels."
        )
    gt_ids, seg_ids, counts = gt_ids[foreground], seg_ids[foreground], counts[foreground]
    voxels = counts.astype(np.float64)  # squares of int64 overflow above 3e9 voxels
    of_gt, of_seg = _object_size(gt_ids, voxels), _object_size(seg_ids, voxels)
    voi_split = _conditional_entropy(voxels, of_gt)
    voi_merge = _conditional_entropy(voxels, of_seg)
    voi = voi_split + voi_merge
    alone = seg_ids == 0 if convention == "cremi" else np.zeros(seg_ids.shape, np.bool_)
    itself = 0.0 if convention == "cremi" else 1.0
    both, by_seg, by_gt = (
        _whole_total(voxels * (partners - itself))
        for partners in (np.where(alone, 1.0, voxels), np.where(alone, 1.0, of_seg), of_gt)
    )
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


def _object_size(ids: Ids, voxels: _PerRow) -> _PerRow:
    """Return, for each row of the table, the voxels of the object with that row's id."""
    numbers, count = number_ids(ids)
    sizes = np.zeros(count)
    np.add.at(sizes, numbers, voxels)
    return sizes[numbers]


def _conditional_entropy(voxels: _PerRow, of_given: _PerRow) -> float:
    """Return the bits that name the other object of a voxel whose one object is known."""
    # From the ratio, not as a difference of entropies: exactly 0 where each id has one partner.
    return _total(voxels * np.log2(of_given / voxels)) / _whole_total(voxels)


def _total(terms: _PerRow) -> float:
    """Add up, smallest first: rows come in any order, and the sum must not show it."""
    return float(np.sort(terms).sum())


def _whole_total(terms: _PerRow) -> float:
    """Add up whole numbers, which below 2**53 is exact in any order."""
    total = float(terms.sum())
    return total if total < 2**53 else _total(terms)
