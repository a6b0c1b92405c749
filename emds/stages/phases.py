"""What a run consists of: phases, each of which needs nothing but those before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from emds.execution import BlockWork, each
from emds.geometry import Roi
from emds.stages.arrays import Arrays
from emds.stages.job import Job
from emds.stages.witness import hash_of

if TYPE_CHECKING:
    from emds.segmentation.labeller import LabelPhase
    from emds.segmentation.plan import LabelPlan
    from emds.segmentation.store import Readable


@dataclass(frozen=True, slots=True)
class Phase:
    """A part of a run.

    Attributes
    ----------
    name : str
        Name of its log.
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
    seen : callable or None
        Takes (job, block), and returns the hash of what the inputs of the run hold now where the
        block reads them; None where no block reads them.
    """

    name: str
    what: str
    begin: Callable[[Job, Arrays, int], BlockWork]
    count: int
    is_there: Callable[[Job, Arrays, int], bool]
    box: Callable[[Job, int], Roi] | None = None
    seen: Callable[[Job, int], str] | None = None


def phases_of(job: Job) -> list[Phase]:
    """Return what a job consists of, in order."""
    phases: list[Phase] = []
    if job.model is not None:
        phases.append(_prediction(job))
    if job.labels is not None:
        phases += _labelling(job)
    return phases


def _prediction(job: Job) -> Phase:
    from emds.stages.predict import predicting, seen_of_block

    assert job.model is not None
    plan = job.model.plan
    blocks = plan.blocks()

    def box(_: Job, block: int) -> Roi:
        return blocks[block].write_roi.relative_to(plan.roi.offset)

    def is_there(job: Job, arrays: Arrays, block: int) -> bool:
        return all(array.is_written(box(job, block)) for array in arrays.predictions)

    return Phase(
        "predict", "blocks predicted", predicting, len(blocks), is_there, box, seen_of_block
    )


def _labelling(job: Job) -> list[Phase]:
    from emds.segmentation.phases import label_phases

    plan = job.labels
    assert plan is not None
    return [_label_phase(job, phase, plan) for phase in label_phases(plan)]


def _label_phase(job: Job, phase: LabelPhase, plan: LabelPlan) -> Phase:
    """Return a phase of labelling as one of a run, with a witness of what it reads of the input."""

    def begin(job: Job, arrays: Arrays, worker: int) -> BlockWork:
        store, seen = arrays.store(job), list[NDArray[Any]]()
        if job.model is None:
            store = replace(store, affinities=_Watched(store.affinities, seen))
        if store.mask is not None:
            store = replace(store, mask=_Watched(store.mask, seen))
        do_block = phase.begin(plan, store)

        def do(number: int) -> None:
            seen.clear()
            do_block(number)
            arrays.witness.saw(number, *seen)

        return each(do)

    def is_there(job: Job, arrays: Arrays, block: int) -> bool:
        return phase.is_done(plan, arrays.store(job), block)

    def seen_now(job: Job, number: int) -> str:
        assert phase.box is not None
        box = phase.box(plan, number)
        read = [job.source.read(box)] if job.model is None else []
        if job.mask is not None and phase.reads_mask:
            read.append(job.mask.read(box))
        return hash_of(*read)

    if not phase.by_block:
        return Phase(phase.name, phase.what, begin, 1, is_there)
    reads_input = job.model is None or (job.mask is not None and phase.reads_mask)
    return Phase(
        phase.name,
        phase.what,
        begin,
        len(plan.blocks),
        is_there,
        lambda _, block: plan.label_roi(block),
        seen_now if reads_input and phase.box is not None else None,
    )


class _Watched:
    """A volume that keeps what is read of it.

    Parameters
    ----------
    volume : Readable
        The volume.
    seen : list
        Receives the values, in order.
    """

    def __init__(self, volume: Readable, seen: list[NDArray[Any]]) -> None:
        self._volume = volume
        self._seen = seen

    def read(self, roi: Roi) -> NDArray[Any]:
        """Return a box."""
        values = self._volume.read(roi)
        self._seen.append(values)
        return values
