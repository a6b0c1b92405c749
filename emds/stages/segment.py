"""From affinities to neurons, block by block; `emds.segmentation.blockwise` tells the scheme.

Each function sets up one phase. Blocks hand on what they found in tables named like the phase, and
the steps between, which look at the whole volume's tables but at no voxel, are phases of one block.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emds.execution import BlockWork, each
from emds.geometry import Roi
from emds.segmentation.blockwise import (
    connect_block,
    contacts_of_block,
    contract_block,
    settled_block,
    values_on,
)
from emds.segmentation.contraction import contract
from emds.segmentation.forest import Forest, final_ids, merge_nodes, number_fragments
from emds.segmentation.linking import (
    SectionOverlaps,
    join_sections,
    merge_overlaps,
    overlap_roi,
    section_overlaps_of_block,
)
from emds.segmentation.mutex_watershed import warn_if_inverted
from emds.segmentation.residual import join_graphs, solve
from emds.segmentation.small_segments import (
    Contacts,
    absorb_small_segments,
    join_small_segments,
    merge_contacts,
    small_segments,
)
from emds.segmentation.stitching import Overlaps, join_overlaps, overlaps_of_block, stitch
from emds.stages.arrays import Arrays
from emds.stages.job import Job
from emds.stages.label import LabelPlan
from emds.stages.reduce import load_graph, reduced_graphs, save_graph


def contracting(job: Job, arrays: Arrays, worker: int) -> BlockWork:
    """Find the fragments of each block."""
    plan, fragments = _plan(job), _there(arrays.fragments)

    def do(number: int) -> None:
        block = plan.blocks[number]
        exact = plan.settings.stitch == "exact"
        box = plan.scheme.contract_roi(block) if exact else plan.scheme.node_roi(block)
        read = plan.inside(box)
        affinities = _there(arrays.affinities).read(read)
        mask = None if job.mask is None else job.mask.read(read) != 0
        if number == 0:
            warn_if_inverted(affinities, plan.scheme.spec, mask)
        if exact and not plan.scheme.independent:
            found = contract_block(affinities, plan.scheme, block, mask)
        else:
            labels = _segmented(affinities, mask, plan, box)
            found = settled_block(labels, plan.scheme, block)
        roi = plan.inside(block.write_roi)
        fragments.write(roi, found.fragments)
        fragments.sync(roi)
        arrays.tables.save(
            "contract",
            number,
            is_open=found.is_open,
            first_voxels=found.first_voxels,
            sizes=found.sizes,
        )
        if any(plan.scheme.halo):
            arrays.tables.save("clusters", number, clusters=found.clusters)

    return each(do)


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
    """Give the fragments of all blocks numbers."""
    plan, tables = _plan(job), arrays.tables

    def do(_: int) -> None:
        flags = [tables.load("contract", block.index)["is_open"] for block in plan.blocks]
        forest = number_fragments(flags)
        for name, column in forest._asdict().items():
            tables.save_column(name, column)

    return each(do)


def connecting(job: Job, arrays: Arrays, worker: int) -> BlockWork:
    """Find the edges between open fragments whose source lies in each block."""
    plan, forest = _plan(job), _forest(arrays)

    def do(number: int) -> None:
        block = plan.blocks[number]
        read = plan.inside(plan.scheme.connect_roi(block))
        graph = connect_block(
            _there(arrays.affinities).read(read),
            _there(arrays.fragments).read(read),
            plan.scheme,
            block,
            forest,
        )
        save_graph(arrays.tables, "connect", number, graph)

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
        forest = _forest(arrays)
        if plan.settings.stitch == "overlap":
            parts = [Overlaps(**tables.load("compare", block.index)) for block in plan.blocks]
            parents = stitch(join_overlaps(parts), int(forest.starts[-1]))
            forest = forest._replace(parents=parents)
        elif forest.node_count > 0:
            forest, name = reduced_graphs(plan, tables, forest)
            graph = join_graphs([load_graph(tables, name, block.index) for block in plan.blocks])
            forest = merge_nodes(forest, solve(graph, forest.node_count))[0]
        contracted = [tables.load("contract", block.index) for block in plan.blocks]
        segments = final_ids(
            forest,
            np.concatenate([table["first_voxels"] for table in contracted]),
            np.concatenate([table["sizes"] for table in contracted]),
        )
        tables.save_column("segment_sizes", segments.sizes)
        tables.save_column("segments", segments.lookup)

    return each(do)


def touching(job: Job, arrays: Arrays, worker: int) -> BlockWork:
    """Measure where segments that are too small touch others."""
    plan, tables = _plan(job), arrays.tables
    lookup, starts = tables.column("segments"), tables.column("starts")
    small = small_segments(np.array(tables.column("segment_sizes")), plan.settings.min_size)

    def do(number: int) -> None:
        block = plan.blocks[number]
        read = plan.inside(plan.scheme.connect_roi(block))
        contacts = contacts_of_block(
            _there(arrays.affinities).read(read),
            _there(arrays.fragments).read(read),
            plan.scheme,
            block,
            starts,
            lookup,
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
        tables.save_column("joined_segments", joined[tables.column("segments")])

    return each(do)


def overlaying(job: Job, arrays: Arrays, worker: int) -> BlockWork:
    """Count what segments of neighbouring sections share."""
    plan, tables = _plan(job), arrays.tables
    lookup, starts = tables.column(_unlinked(plan)), tables.column("starts")

    def do(number: int) -> None:
        block = plan.blocks[number]
        fragments = _there(arrays.fragments).read(plan.inside(overlap_roi(plan.scheme, block)))
        found = section_overlaps_of_block(fragments, plan.scheme, block, starts, lookup)
        tables.save("overlay", number, **found._asdict())

    return each(do)


def linking(job: Job, arrays: Arrays, worker: int) -> BlockWork:
    """Decide which segments of neighbouring sections are one."""
    plan, tables = _plan(job), arrays.tables
    threshold = plan.settings.link_sections
    assert threshold is not None

    def do(_: int) -> None:
        parts = [SectionOverlaps(**tables.load("overlay", block.index)) for block in plan.blocks]
        lookup = np.array(tables.column(_unlinked(plan)))
        voxels = [tables.load("contract", block.index)["sizes"] for block in plan.blocks]
        sizes = np.zeros(int(lookup.max()) + 1, dtype=np.int64)
        np.add.at(sizes, lookup[1:].astype(np.int64), np.concatenate(voxels))
        joined = join_sections(merge_overlaps(parts), sizes, threshold)
        tables.save_column("linked_segments", joined[lookup])

    return each(do)


def relabelling(job: Job, arrays: Arrays, worker: int) -> BlockWork:
    """Write the final ids."""
    plan, labels = _plan(job), _there(arrays.labels)
    linked = plan.settings.link_sections is not None
    lookup = arrays.tables.column("linked_segments" if linked else _unlinked(plan))
    starts = arrays.tables.column("starts")

    def do(number: int) -> None:
        block = plan.blocks[number]
        roi = plan.inside(block.write_roi)
        fragments = _there(arrays.fragments).read(roi)
        labels.write(roi, values_on(lookup, fragments, plan.scheme, block.write_roi, starts))
        labels.sync(roi)

    return each(do)


def label_roi(job: Job, number: int) -> Roi:
    """Return the box of the labels that a block writes."""
    plan = _plan(job)
    return plan.inside(plan.blocks[number].write_roi)


def _unlinked(plan: LabelPlan) -> str:
    """Return the column that names the segments, before sections are linked."""
    joined = plan.settings.min_size > 1 and not plan.independent
    return "joined_segments" if joined else "segments"


def _forest(arrays: Arrays) -> Forest:
    return Forest(*(arrays.tables.column(name) for name in Forest._fields))


def _plan(job: Job) -> LabelPlan:
    plan: LabelPlan = _there(job.labels)
    return plan


def _there(value: Any) -> Any:
    assert value is not None, "the phases of a run use what the run has"
    return value
