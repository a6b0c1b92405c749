"""From affinities to neurons, block by block; `emds.segmentation.blockwise` tells the scheme.

Each function sets up one phase. Blocks hand on what they found in tables named like the phase, and
the steps between, which look at the whole volume's tables but at no voxel, are phases of one block.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emds.execution import BlockWork, each
from emds.geometry import Block, Roi
from emds.segmentation.blockwise import (
    connect_block,
    contacts_of_block,
    contract_block,
    settled_block,
    values_on,
)
from emds.segmentation.contraction import contract
from emds.segmentation.linking import (
    SectionOverlaps,
    join_sections,
    merge_overlaps,
    overlap_roi,
    section_overlaps_of_block,
)
from emds.segmentation.mutex_watershed import warn_if_inverted
from emds.segmentation.pieces import merge_pieces, node_starts, nodes_of
from emds.segmentation.small_segments import (
    Contacts,
    absorb_small_segments,
    join_small_segments,
    merge_contacts,
    small_segments,
)
from emds.segmentation.stitching import Overlaps, join_overlaps, overlaps_of_block, stitch
from emds.stages.arrays import Arrays
from emds.stages.groups import (
    AROUND,
    Level,
    contract_levels,
    load_pieces,
    name_segments,
    save_group,
)
from emds.stages.job import Job
from emds.stages.label import LabelPlan
from emds.stages.tables import Tables
from emds.stages.witness import hash_of


def contracting(job: Job, arrays: Arrays, worker: int) -> BlockWork:
    """Find the fragments of each block."""
    plan, fragments = _plan(job), _there(arrays.fragments)

    def do(number: int) -> None:
        block = plan.blocks[number]
        exact = plan.settings.stitch == "exact"
        box = _contract_roi(plan, block)
        affinities = _there(arrays.affinities).read(plan.inside(box))
        mask = _mask(job, plan.inside(box))
        arrays.witness.saw(number, *_inputs(job, affinities, mask))
        if number == 0:
            warn_if_inverted(affinities, plan.scheme.spec, mask)
        if exact and not plan.scheme.independent:
            found = contract_block(affinities, plan.scheme, block, mask)
        else:
            labels = _segmented(affinities, mask, plan, box)
            open_ended = plan.settings.stitch == "overlap"
            found = settled_block(labels, plan.scheme, block, is_open=open_ended)
        roi = plan.inside(block.write_roi)
        fragments.write(roi, found.fragments)
        fragments.sync(roi)
        arrays.tables.save("contract", number, **found.pieces._asdict())
        if any(plan.scheme.halo):
            arrays.tables.save("clusters", number, clusters=found.clusters)

    return each(do)


def seen_of_contracted(job: Job, number: int) -> str:
    """Return the hash of what the inputs hold now where a block's fragments are found in them."""
    plan = _plan(job)
    box = plan.inside(_contract_roi(plan, plan.blocks[number]))
    affinities = None if job.model else job.source.read(box)
    return hash_of(*_inputs(job, affinities, _mask(job, box)))


def seen_of_connected(job: Job, number: int) -> str:
    """Return the hash of the affinities of the input where a block's edges are found in them."""
    plan = _plan(job)
    box = plan.inside(plan.scheme.connect_roi(plan.blocks[number]))
    return hash_of(*_inputs(job, job.source.read(box)))


def _contract_roi(plan: LabelPlan, block: Block) -> Roi:
    exact = plan.settings.stitch == "exact"
    return plan.scheme.contract_roi(block) if exact else plan.scheme.node_roi(block)


def _mask(job: Job, box: Roi) -> NDArray[np.bool_] | None:
    inside: NDArray[np.bool_] | None = None if job.mask is None else job.mask.read(box) != 0
    return inside


def _inputs(
    job: Job, affinities: NDArray[Any] | None, mask: NDArray[np.bool_] | None = None
) -> list[NDArray[Any]]:
    """Return those of the arrays that come from outside: affinities may be of the run itself."""
    given = (None if job.model else affinities, mask)
    return [values for values in given if values is not None]


def _segmented(
    affinities: NDArray[np.uint8], mask: NDArray[np.bool_] | None, plan: LabelPlan, box: Roi
) -> NDArray[np.integer[Any]]:
    """Segment a box for itself."""
    spec, strides, settings = plan.scheme.spec, plan.scheme.strides, plan.settings
    labels: NDArray[np.integer[Any]]
    if settings.backend == "elf":
        from emds.segmentation.elf_backend import elf_mutex_watershed

        labels = elf_mutex_watershed(
            affinities, spec, strides=strides, mask=mask, origin=box.offset
        )
    else:
        labels = contract(
            affinities, spec, strides=strides, origin=box.offset, box=box, mask=mask
        ).labels
    if settings.min_size > 1 and plan.independent:
        labels = absorb_small_segments(
            labels.astype(np.uint64), affinities, spec, settings.min_size
        )
    return labels


def numbering(job: Job, arrays: Arrays, worker: int) -> BlockWork:
    """Give numbers to the open fragments of all blocks: the nodes of the residual graph."""
    plan, tables = _plan(job), arrays.tables

    def do(_: int) -> None:
        parts = (load_pieces(tables, "contract", block.index) for block in plan.blocks)
        tables.save_column("starts", node_starts([part.open_count for part in parts]))

    return each(do)


def connecting(job: Job, arrays: Arrays, worker: int) -> BlockWork:
    """Find the edges between open fragments of which one is in each block."""
    plan, tables = _plan(job), arrays.tables
    starts = tables.column("starts").tolist()

    @lru_cache(maxsize=AROUND)
    def nodes(number: int) -> NDArray[np.uint32]:
        return nodes_of(tables.load("contract", number)["is_open"], starts[number])

    def do(number: int) -> None:
        block = plan.blocks[number]
        read = plan.inside(plan.scheme.connect_roi(block))
        affinities = _there(arrays.affinities).read(read)
        arrays.witness.saw(number, *_inputs(job, affinities))
        graph = connect_block(
            affinities,
            _there(arrays.fragments).read(read),
            plan.scheme,
            block,
            nodes,
            *starts[number : number + 2],
        )
        tables.save("connect", number, **graph._asdict())

    return each(do)


def comparing(job: Job, arrays: Arrays, worker: int) -> BlockWork:
    """Find which fragments of each block cover the same voxels as those of its neighbours."""
    plan, tables = _plan(job), arrays.tables
    starts = tables.column("starts")

    def do(number: int) -> None:
        block = plan.blocks[number]
        clusters = tables.load("clusters", number)["clusters"]
        fragments = _there(arrays.fragments).read(plan.inside(plan.scheme.node_roi(block)))
        overlaps = overlaps_of_block(clusters, fragments, plan.scheme, block, starts)
        tables.save("compare", number, **overlaps._asdict())

    return each(do)


def solving(job: Job, arrays: Arrays, worker: int) -> BlockWork:
    """Decide which fragments are one segment."""
    plan, tables = _plan(job), arrays.tables

    def do(_: int) -> None:
        blocks = Level("contract", "connect", tables.column("starts").tolist())
        if plan.settings.stitch == "overlap":
            levels = [blocks, _stitched(tables, blocks)]
        else:
            levels = contract_levels(tables, blocks, plan.max_residual)
        tables.save_column("segment_sizes", name_segments(tables, levels).sizes)

    return each(do)


def _stitched(tables: Tables, blocks: Level) -> Level:
    """Make one group of all blocks, of what overlaps."""
    parts = [Overlaps(**tables.load("compare", part)) for part in blocks.parts]
    smallest = stitch(join_overlaps(parts), blocks.starts[-1])
    first, clusters = np.unique(smallest[1:], return_inverse=True)
    numbers = (clusters + 1).astype(np.uint32)
    pieces = (load_pieces(tables, blocks.pieces, part) for part in blocks.parts)
    merged = merge_pieces(pieces, numbers, np.zeros(first.size, dtype=np.bool_))
    save_group(tables, "stitched", 0, numbers, merged)
    return Level("stitched", "", [0, 0], len(blocks.parts))


def touching(job: Job, arrays: Arrays, worker: int) -> BlockWork:
    """Measure where segments that are too small touch others."""
    plan, tables = _plan(job), arrays.tables
    segments = _segments(tables)
    small = small_segments(np.array(tables.column("segment_sizes")), plan.settings.min_size)

    def do(number: int) -> None:
        block = plan.blocks[number]
        read = plan.inside(plan.scheme.connect_roi(block))
        affinities = _there(arrays.affinities).read(read)
        arrays.witness.saw(number, *_inputs(job, affinities))
        contacts = contacts_of_block(
            affinities,
            _there(arrays.fragments).read(read),
            plan.scheme,
            block,
            segments,
            small,
        )
        tables.save("touch", number, **contacts._asdict())

    return each(do)


def absorbing(job: Job, arrays: Arrays, worker: int) -> BlockWork:
    """Decide whom the small segments join."""
    plan, tables = _plan(job), arrays.tables

    def do(_: int) -> None:
        parts = [Contacts(**tables.load("touch", block.index)) for block in plan.blocks]
        sizes = np.array(tables.column("segment_sizes"))
        joined = join_small_segments(merge_contacts(parts), sizes, plan.settings.min_size)
        tables.save_column("joined", joined)

    return each(do)


def overlaying(job: Job, arrays: Arrays, worker: int) -> BlockWork:
    """Count what segments of neighbouring sections share."""
    plan, tables = _plan(job), arrays.tables
    segments = _segments(tables, _unlinked(plan))

    def do(number: int) -> None:
        block = plan.blocks[number]
        fragments = _there(arrays.fragments).read(plan.inside(overlap_roi(plan.scheme, block)))
        found = section_overlaps_of_block(fragments, plan.scheme, block, segments)
        tables.save("overlay", number, **found._asdict())

    return each(do)


def linking(job: Job, arrays: Arrays, worker: int) -> BlockWork:
    """Decide which segments of neighbouring sections are one."""
    plan, tables = _plan(job), arrays.tables
    threshold = plan.settings.link_sections
    assert threshold is not None

    def do(_: int) -> None:
        parts = [SectionOverlaps(**tables.load("overlay", block.index)) for block in plan.blocks]
        sizes = np.array(tables.column("segment_sizes"))
        column = _unlinked(plan)
        names = np.arange(sizes.size) if column is None else tables.column(column).astype(np.int64)
        pixels = np.zeros(int(names.max(initial=0)) + 1, dtype=np.int64)
        np.add.at(pixels, names, sizes)
        joined = join_sections(merge_overlaps(parts), pixels, threshold)
        tables.save_column("linked", joined[names])

    return each(do)


def relabelling(job: Job, arrays: Arrays, worker: int) -> BlockWork:
    """Write the final ids."""
    plan, labels = _plan(job), _there(arrays.labels)
    linked = plan.settings.link_sections is not None
    segments = _segments(arrays.tables, "linked" if linked else _unlinked(plan))

    def do(number: int) -> None:
        block = plan.blocks[number]
        roi = plan.inside(block.write_roi)
        fragments = _there(arrays.fragments).read(roi)
        labels.write(roi, values_on(segments, fragments, plan.scheme, block.write_roi))
        labels.sync(roi)

    return each(do)


def label_roi(job: Job, number: int) -> Roi:
    """Return the box of the labels that a block writes."""
    plan = _plan(job)
    return plan.inside(plan.blocks[number].write_roi)


def _unlinked(plan: LabelPlan) -> str | None:
    """Return the column that renames the segments before sections are linked, if there is one."""
    return "joined" if plan.settings.min_size > 1 and not plan.independent else None


def _segments(tables: Tables, column: str | None = None) -> Callable[[int], NDArray[np.uint64]]:
    """Return the look-up of the segments of a block's fragments, renamed by a column if named."""
    names = tables.column(column) if column is not None else None

    @lru_cache(maxsize=AROUND)
    def segments(number: int) -> NDArray[np.uint64]:
        found: NDArray[np.uint64] = tables.load("segments", number)["segments"]
        return found if names is None else np.asarray(names[found])

    return segments


def _plan(job: Job) -> LabelPlan:
    plan: LabelPlan = _there(job.labels)
    return plan


def _there(value: Any) -> Any:
    assert value is not None, "the phases of a run use what the run has"
    return value
