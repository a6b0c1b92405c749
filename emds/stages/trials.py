"""How good the labels are that a setting makes of affinities, which were predicted once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields, replace
from statistics import fmean
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from emds.errors import DataError
from emds.geometry import Triple, iter_blocks
from emds.io.volume import MemoryVolume
from emds.metrics import (
    ContingencyTable,
    Protocol,
    SegmentationScores,
    evaluate_segmentation,
    scores,
)
from emds.metrics.intervals import section_interval
from emds.metrics.selection import FOLDS
from emds.segmentation.affinities import AffinitySpec, quantize
from emds.segmentation.after.small_segments import absorb_small_segments
from emds.segmentation.bias import add_to_logits
from emds.segmentation.phases import label_affinities
from emds.segmentation.settings import LabelSettings

Metric = Literal["voi", "arand"]

_COLUMNS = 4  # along y, and along x
_RUN = 10  # sections that are drawn together, as elsewhere


@dataclass(frozen=True, slots=True)
class Trial:
    """A setting that was tried.

    Attributes
    ----------
    setting : LabelSettings
        Which.
    scores : SegmentationScores
        Under the protocol of the judge.
    parts : tuple of float
        What each part of the volume says about the metric. Their mean is the metric where parts
        are sections, else its jackknife estimate, which does not have to be the same.
    """

    setting: LabelSettings
    scores: SegmentationScores
    parts: tuple[float, ...]


class Judge:
    """Scores settings.

    Where no offset leaves the section, a score is the mean over sections (protocol ``strict``),
    and its parts are the scores of the sections. Else it is of the volume, and there is a part for
    each of the columns that remain when y and x are cut into four: sections of a volume whose
    labels continue from one to the next would be no witnesses of their own. What a column says is
    its jackknife pseudo-value, ``n s - (n - 1) s'`` with the score s of all n columns and s' of all
    but this one; so a wrong join of two large objects counts in full wherever they go.

    Parameters
    ----------
    affinities : sequence of (C, Z, Y, X) float32
        As the network gave them, without a bias: for each image of the place. Scores and parts
        are means over them.
    spec : AffinitySpec
        Offset of each affinity channel, and which channels attract.
    truth : MemoryVolume
        Ids of the same voxels; 0 is ignored.
    origin : (z, y, x)
        Of the affinities, in the coordinates in which mutex strides count.
    metric : {"voi", "arand"}
        Metric to minimise.

    Raises
    ------
    DataError
        If fewer than four parts have ground truth.

    References
    ----------
    Tukey, Bias and confidence in not-quite large samples, 1958 (pseudo-values).
    """

    def __init__(
        self,
        affinities: Sequence[NDArray[np.float32]],
        spec: AffinitySpec,
        truth: MemoryVolume,
        origin: Triple,
        metric: Metric,
    ) -> None:
        self.affinities = affinities
        self.spec = spec
        self.truth = truth
        self.origin = origin
        self.metric: Metric = metric
        self.protocol: Protocol = "strict" if spec.planar else "volume"
        depth, height, width = truth.shape
        part = (1, height, width)
        if not spec.planar:
            part = (depth, -(-height // _COLUMNS), -(-width // _COLUMNS))
        boxes = [block.write_roi for block in iter_blocks(truth.roi, part)]
        self.boxes = [box for box in boxes if truth.values[box.slices()].any()]
        if len(self.boxes) < FOLDS:
            raise DataError(
                f"cross-validation needs at least {FOLDS} {self.part_name} with labels, and "
                f"{truth.location} has {len(self.boxes)}. Name a larger region, or other labels."
            )
        self._watershed: dict[int, tuple[LabelSettings, NDArray[np.uint8], NDArray[np.uint64]]] = {}

    @property
    def part_name(self) -> str:
        """What the parts are."""
        return "sections" if self.spec.planar else "columns"

    def __call__(self, setting: LabelSettings) -> Trial:
        """Make labels as a run would, and score them."""
        found = []
        for image in range(len(self.affinities)):
            labels = self.labels(setting, image)
            found.append(self._by_section(labels) if self.spec.planar else self._in_3d(labels))
        names = [field.name for field in fields(SegmentationScores)]
        mean = {name: fmean(getattr(whole, name) for whole, _ in found) for name in names}
        parts = np.mean([parts for _, parts in found], axis=0)
        return Trial(setting, SegmentationScores(**mean), tuple(parts.tolist()))

    def labels(self, setting: LabelSettings, image: int = 0) -> NDArray[np.uint64]:
        """Return the labels of an image; of settings in a row, only the last step may differ."""
        before = replace(setting, min_size=0)
        if image not in self._watershed or self._watershed[image][0] != before:
            values = quantize(add_to_logits(self.affinities[image], setting.bias))
            ids = label_affinities(values, self.spec, before, origin=self.origin)
            self._watershed[image] = before, values, ids
        _, values, ids = self._watershed[image]
        return absorb_small_segments(ids, values, self.spec, setting.min_size)

    def _by_section(self, labels: NDArray[np.uint64]) -> tuple[SegmentationScores, list[float]]:
        report = evaluate_segmentation(MemoryVolume(labels), self.truth, self.protocol)
        return report.scores, [getattr(section, self.metric) for _, section in report.sections]

    def _in_3d(self, labels: NDArray[np.uint64]) -> tuple[SegmentationScores, list[float]]:
        tables = []
        for box in self.boxes:
            table = ContingencyTable()
            table.add(self.truth.values[box.slices()], labels[box.slices()])
            tables.append(table)
        whole, count = scores(_sum(tables)), len(tables)
        parts = []
        for number in range(count):
            others = scores(_sum(tables[:number] + tables[number + 1 :]))
            every, rest = getattr(whole, self.metric), getattr(others, self.metric)
            parts.append(count * every - (count - 1) * rest)
        return whole, parts


def part_interval(parts: Sequence[float], part_name: str) -> tuple[float, float]:
    """Return the 95 % interval of the mean of what parts say; sections are drawn in runs."""
    return section_interval(parts, block=_RUN if part_name == "sections" else 1)


def _sum(tables: Iterable[ContingencyTable]) -> ContingencyTable:
    total = ContingencyTable()
    for table in tables:
        total.merge(table)
    return total
