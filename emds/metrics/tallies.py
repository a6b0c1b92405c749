"""What each protocol keeps of two label volumes while they go by."""

from __future__ import annotations

import statistics
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from emds.errors import DataError
from emds.metrics.components import SectionComponents
from emds.metrics.contingency import ContingencyTable, Ids, number_ids
from emds.metrics.report import Protocol, SegmentationReport
from emds.metrics.segmentation import Convention, SegmentationScores, scores

_Labels = NDArray[np.unsignedinteger[Any]]


class Tally(ABC):
    """The state of one protocol; the volumes come strip by strip, from top to bottom."""

    def __init__(self) -> None:
        self.voxels = 0
        self.ignored = 0
        self.gt_objects = 0
        self.seg_objects = 0

    @abstractmethod
    def add(self, z: int, gt: _Labels, seg: _Labels) -> None:
        """Take the next rows (y, x) of section `z`."""

    @abstractmethod
    def end_sections(self, convention: Convention) -> None:
        """Note that the sections seen so far are whole."""

    @abstractmethod
    def report(
        self, protocol: Protocol, convention: Convention, gt_location: str
    ) -> SegmentationReport:
        """Sum up."""

    def _count(self, table: ContingencyTable) -> bool:
        """Add a finished table's voxels and objects; say whether it can be scored."""
        gt_ids, seg_ids, counts = table.pairs()
        scored = int(counts[gt_ids != 0].sum())
        self.voxels += scored
        self.ignored += int(counts.sum()) - scored
        self.gt_objects += _objects(gt_ids)
        self.seg_objects += _objects(seg_ids)
        return scored > 0

    def _build(
        self,
        protocol: Protocol,
        convention: Convention,
        result: SegmentationScores,
        sd: SegmentationScores | None = None,
        sections: tuple[tuple[int, SegmentationScores], ...] = (),
    ) -> SegmentationReport:
        return SegmentationReport(
            protocol=protocol,
            convention=convention,
            scores=result,
            sd=sd,
            sections=sections,
            voxels=self.voxels,
            ignored_fraction=self.ignored / (self.voxels + self.ignored),
            gt_objects=self.gt_objects,
            seg_objects=self.seg_objects,
        )


class _VolumeTally(Tally):
    def __init__(self) -> None:
        super().__init__()
        self.table = ContingencyTable()

    @override
    def add(self, z: int, gt: _Labels, seg: _Labels) -> None:
        self.table.add(gt, seg)

    @override
    def end_sections(self, convention: Convention) -> None:
        pass

    @override
    def report(
        self, protocol: Protocol, convention: Convention, gt_location: str
    ) -> SegmentationReport:
        if not self._count(self.table):
            raise _no_objects(gt_location, protocol)
        return self._build(protocol, convention, scores(self.table, convention))


class _SectionTally(Tally):
    """Sections with the ids that they have."""

    def __init__(self) -> None:
        super().__init__()
        self.open: dict[int, ContingencyTable] = {}
        self.sections: list[tuple[int, SegmentationScores]] = []

    @override
    def add(self, z: int, gt: _Labels, seg: _Labels) -> None:
        self.open.setdefault(z, ContingencyTable()).add(gt, seg)

    @override
    def end_sections(self, convention: Convention) -> None:
        for z in sorted(self.open):
            table = self.finished(z)
            if self._count(table):
                self.sections.append((z, scores(table, convention)))
        self.open.clear()

    def finished(self, z: int) -> ContingencyTable:
        """Return the table of a whole section."""
        return self.open[z]

    @override
    def report(
        self, protocol: Protocol, convention: Convention, gt_location: str
    ) -> SegmentationReport:
        if not self.sections:
            raise _no_objects(gt_location, protocol)
        each = [section for _, section in self.sections]
        sd = _over(each, statistics.stdev) if len(each) > 1 else None
        mean = _over(each, statistics.fmean)
        return self._build(protocol, convention, mean, sd, tuple(self.sections))


class _CastTally(_SectionTally):
    """Sections with ground truth ids modulo 256."""

    @override
    def add(self, z: int, gt: _Labels, seg: _Labels) -> None:
        super().add(z, gt.astype(np.uint8), seg)


class _ComponentTally(_SectionTally):
    """Sections relabelled by connected components on both sides."""

    def __init__(self) -> None:
        super().__init__()
        self.pieces: dict[int, tuple[SectionComponents, SectionComponents]] = {}

    @override
    def add(self, z: int, gt: _Labels, seg: _Labels) -> None:
        gt_pieces, seg_pieces = self.pieces.setdefault(
            z, (SectionComponents(), SectionComponents())
        )
        super().add(z, gt_pieces.label(gt), seg_pieces.label(seg))

    @override
    def finished(self, z: int) -> ContingencyTable:
        gt_labels, seg_labels, counts = self.open[z].pairs()
        gt_pieces, seg_pieces = self.pieces.pop(z)
        table = ContingencyTable()
        table.add_counts(gt_pieces.final(gt_labels), seg_pieces.final(seg_labels), counts)
        return table


TALLIES: dict[Protocol, type[Tally]] = {
    "volume": _VolumeTally,
    "strict": _ComponentTally,
    "paper": _SectionTally,
    "released": _CastTally,
}


def _over(
    each: Sequence[SegmentationScores], summary: Callable[[list[float]], float]
) -> SegmentationScores:
    """Summarise every score over the sections."""
    names = [field.name for field in fields(SegmentationScores)]
    return SegmentationScores(**{n: summary([getattr(one, n) for one in each]) for n in names})


def _objects(ids: Ids) -> int:
    return number_ids(ids[ids != 0])[1]


def _no_objects(gt_location: str, protocol: Protocol) -> DataError:
    cast = " once its ids are cast to uint8" if protocol == "released" else ""
    return DataError(
        f"ground truth {gt_location} holds no object{cast}: every voxel is 0. "
        "Name the label array, or a region with labels."
    )
