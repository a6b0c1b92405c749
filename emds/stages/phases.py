"""What a run consists of: phases, each of which needs nothing but those before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from emds.execution import BlockWork, each
from emds.geometry import Roi
from emds.stages.arrays import Arrays
from emds.stages.job import Job

if TYPE_CHECKING:
    from emds.segmentation.labeller import LabelPhase
    from emds.segmentation.plan import LabelPlan


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a run.

    Attributes
    ----------
    name : str
        Of its log.
    what : str
        For the progress line.
    begin : callable
        Takes (job, arrays, number of the worker) and sets up the work.
    count : int
        Number of blocks.
    is_there : callable
        Takes (job, arrays, block); says whether all that a block writes is on disk.
    box : callable or None
        Takes (job, block); where in the output it lies.
    """

    name: str
    what: str
    begin: Callable[[Job, Arrays, int], BlockWork]
    count: int
    is_there: Callable[[Job, Arrays, int], bool]
    box: Callable[[Job, int], Roi] | None = None


def phases_of(job: Job) -> list[Phase]:
    """Return what a job consists of, in order."""
    phases: list[Phase] = []
    if job.model is not None:
        phases.append(_prediction(job))
    if job.labels is not None:
        phases += _labelling(job)
    return phases


def _prediction(job: Job) -> Phase:
    from emds.stages.predict import predicting

    assert job.model is not None
    plan = job.model.plan
    blocks = plan.blocks()

    def box(_: Job, block: int) -> Roi:
        return blocks[block].write_roi.relative_to(plan.roi.offset)

    def is_there(job: Job, arrays: Arrays, block: int) -> bool:
        return all(array.is_written(box(job, block)) for array in arrays.predictions)

    return Phase("predict", "blocks predicted", predicting, len(blocks), is_there, box)


def _labelling(job: Job) -> list[Phase]:
    from emds.segmentation.phases import label_phases

    plan = job.labels
    assert plan is not None
    return [_label_phase(phase, plan) for phase in label_phases(plan)]


def _label_phase(phase: LabelPhase, plan: LabelPlan) -> Phase:
    """Return a phase of labelling as one of a run."""

    def begin(job: Job, arrays: Arrays, worker: int) -> BlockWork:
        return each(phase.begin(plan, arrays.store(job)))

    def is_there(job: Job, arrays: Arrays, block: int) -> bool:
        return phase.is_done(plan, arrays.store(job), block)

    if not phase.by_block:
        return Phase(phase.name, phase.what, begin, 1, is_there)
    count = len(plan.blocks)
    return Phase(phase.name, phase.what, begin, count, is_there, lambda _, b: plan.label_roi(b))
