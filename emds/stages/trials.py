"""How good the labels are that a setting makes of affinities, which were predicted once."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from emds.errors import DataError
from emds.geometry import Triple, iter_blocks
from emds.io.volume import CroppedVolume, MemoryVolume
from emds.metrics import Protocol, SegmentationScores, evaluate_segmentation
from emds.metrics.selection import FOLDS
from emds.segmentation.affinities import AffinitySpec, quantize
from emds.segmentation.bias import add_to_logits
from emds.segmentation.small_segments import absorb_small_segments
from emds.stages.label import LabelSettings, label_affinities
from emds.stages.ladders import Setting

Metric = Literal["voi", "arand"]

_COLUMNS = 4  # along y, and along x


@dataclass(frozen=True, slots=True)
class Trial:
    """A setting that was tried.

    Attributes
    ----------
    setting : Setting
        Which.
    scores : SegmentationScores
        Under the protocol of the judge.
    parts : tuple of float
        The metric on each part by itself.
    """

    setting: Setting
    scores: SegmentationScores
    parts: tuple[float, ...]


class Judge:
    """Scores settings.

    Where no offset leaves the section, a score is the mean over sections (protocol ``strict``),
    and its parts are the sections. Else it is of the volume, and the parts are the columns that
    remain when y and x are cut into four, each scored as a volume of its own: sections of a volume
    whose labels continue from one to the next would be no witnesses of their own.

    Parameters
    ----------
    affinities : (C, Z, Y, X) float32
        As the network gave them, without a bias.
    spec : AffinitySpec
        What the channels mean.
    truth : MemoryVolume
        Ids of the same voxels; 0 is ignored.
    origin : (z, y, x)
        Of the affinities, in the coordinates in which mutex strides count.
    metric : {"voi", "arand"}
        What is made small.

    Raises
    ------
    DataError
        If fewer than four parts have ground truth.
    """

    def __init__(
        self,
        affinities: NDArray[np.float32],
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
        column = (1, height, width)
        if not spec.planar:
            column = (depth, -(-height // _COLUMNS), -(-width // _COLUMNS))
        boxes = [block.write_roi for block in iter_blocks(truth.roi, column)]
        self.boxes = [box for box in boxes if truth.values[box.slices()].any()]
        if len(self.boxes) < FOLDS:
            raise DataError(
                f"a gain is told from chance on parts that had no say in the choice, and only "
                f"{len(self.boxes)} {self.part_name} of {truth.location} hold labels; there must "
                f"be {FOLDS}. Name a larger region, or other labels."
            )
        self._watershed: tuple[Setting, NDArray[np.uint8], NDArray[np.uint64]] | None = None

    @property
    def part_name(self) -> str:
        """What the parts are."""
        return "sections" if self.spec.planar else "columns"

    def __call__(self, setting: Setting) -> Trial:
        """Make labels as a run would, and score them."""
        labels = MemoryVolume(self.labels(setting))
        whole = evaluate_segmentation(labels, self.truth, self.protocol)
        if whole.sections:
            parts = tuple(getattr(scores, self.metric) for _, scores in whole.sections)
            return Trial(setting, whole.scores, parts)
        of_columns = (
            evaluate_segmentation(
                CroppedVolume(labels, box), CroppedVolume(self.truth, box), self.protocol
            )
            for box in self.boxes
        )
        parts = tuple(getattr(report.scores, self.metric) for report in of_columns)
        return Trial(setting, whole.scores, parts)

    def labels(self, setting: Setting) -> NDArray[np.uint64]:
        """Return the labels, (Z, Y, X); of settings in a row, only the last step may differ."""
        before = Setting(setting.mutex_strides, 0, setting.bias)
        if self._watershed is None or self._watershed[0] != before:
            self._watershed = None  # so that only one of them is in memory
            values = quantize(add_to_logits(self.affinities, setting.bias))
            settings = LabelSettings(setting.mutex_strides)
            ids = label_affinities(values, self.spec, settings, origin=self.origin)
            self._watershed = before, values, ids
        _, values, ids = self._watershed
        return absorb_small_segments(ids, values, self.spec, setting.min_size)
