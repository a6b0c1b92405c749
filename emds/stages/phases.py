"""What a run consists of: phases, each of which needs nothing but those before it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from emds.execution import BlockWork
from emds.geometry import Roi
from emds.stages.arrays import Arrays
from emds.stages.job import Job


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
    from emds.stages import segment

    assert job.labels is not None
    plan, count, box = job.labels, len(job.labels.blocks), segment.label_roi

    def has_fragments(job: Job, arrays: Arrays, block: int) -> bool:
        assert arrays.fragments is not None
        written = arrays.fragments.is_written(box(job, block))
        tables = ("contract", "clusters") if any(plan.scheme.halo) else ("contract",)
        return written and all(arrays.tables.has(name, block) for name in tables)

    def has_labels(job: Job, arrays: Arrays, block: int) -> bool:
        assert arrays.labels is not None
        return arrays.labels.is_written(box(job, block))

    def has_table(name: str) -> Callable[[Job, Arrays, int], bool]:
        return lambda job, arrays, block: arrays.tables.has(name, block)

    def has_column(name: str) -> Callable[[Job, Arrays, int], bool]:
        return lambda job, arrays, block: arrays.tables.has_column(name)

    def is_solved(job: Job, arrays: Arrays, _: int) -> bool:
        named = (arrays.tables.has("segments", block.index) for block in plan.blocks)
        return arrays.tables.has_column("segment_sizes") and all(named)

    given = segment.seen_of_connected if job.model is None else None
    first = given and segment.seen_of_contracted
    if job.mask is not None:
        first = segment.seen_of_contracted
    phases = [
        Phase(
            "contract", "blocks segmented", segment.contracting, count, has_fragments, box, first
        ),
        Phase("number", "fragments numbered", segment.numbering, 1, has_column("starts")),
    ]
    if plan.settings.stitch == "overlap":
        phases.append(
            Phase("compare", "blocks compared", segment.comparing, count, has_table("compare"), box)
        )
    elif not plan.independent:
        phases.append(
            Phase(
                *("connect", "blocks connected", segment.connecting, count),
                *(has_table("connect"), box, given),
            )
        )
    phases.append(Phase("solve", "graph solved", segment.solving, 1, is_solved))
    if plan.settings.min_size > 1 and not plan.independent:
        phases += [
            Phase(
                *("touch", "blocks measured", segment.touching, count),
                *(has_table("touch"), box, given),
            ),
            Phase("absorb", "small segments joined", segment.absorbing, 1, has_column("joined")),
        ]
    if plan.settings.link_sections is not None:
        phases += [
            Phase(
                "overlay", "blocks overlaid", segment.overlaying, count, has_table("overlay"), box
            ),
            Phase("link", "sections linked", segment.linking, 1, has_column("linked")),
        ]
    phases.append(Phase("relabel", "blocks labelled", segment.relabelling, count, has_labels, box))
    return phases
