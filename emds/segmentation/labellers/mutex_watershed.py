"""The mutex watershed block by block, in phases; `emds.segmentation.blockwise` tells the scheme.

Blocks hand on what they found in tables named like the phase. The steps between, which look at the
whole volume's tables but at no voxel, are done once.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emds.geometry import Roi
from emds.segmentation.after.small_segments import absorb_small_segments
from emds.segmentation.blockwise.blocks import connect_block, contract_block, settled_block
from emds.segmentation.blockwise.groups import (
    AROUND,
    Level,
    contract_levels,
    load_pieces,
    name_segments,
)
from emds.segmentation.blockwise.pieces import node_starts, nodes_of
from emds.segmentation.labeller import LabelPhase, has_column, has_table, seen_by_block
from emds.segmentation.plan import LabelPlan
from emds.segmentation.store import Store
from emds.segmentation.watershed.contraction import contract


def phases(plan: LabelPlan) -> list[LabelPhase]:
    """Return the phases from affinities to segments, see `emds.segmentation.labeller`."""
    connect = LabelPhase(
        "connect", "blocks connected", _connecting, has_table("connect"), box=seen_by_block
    )
    return [
        LabelPhase(
            *("contract", "blocks segmented", _contracting, _has_fragments),
            box=_contracted_box,
            reads_mask=True,
        ),
        LabelPhase(
            "number", "fragments numbered", _numbering, has_column("starts"), by_block=False
        ),
        *([] if plan.independent else [connect]),
        LabelPhase("solve", "graph solved", _solving, _is_solved, by_block=False),
    ]


def _contracted_box(plan: LabelPlan, block: int) -> Roi:
    return plan.label_roi(block) if plan.independent else seen_by_block(plan, block)


def _contracting(plan: LabelPlan, store: Store) -> Callable[[int], None]:
    """Find the fragments of each block."""

    def do(number: int) -> None:
        block = plan.blocks[number]
        read = _contracted_box(plan, number)
        affinities = store.affinities.read(read)
        mask = None if store.mask is None else store.mask.read(read) != 0
        if plan.independent:
            labels = _segmented(affinities, mask, plan, block.write_roi)
            found = settled_block(labels, plan.scheme, block)
        else:
            found = contract_block(affinities, plan.scheme, block, mask)
        roi = plan.label_roi(number)
        store.fragments.write(roi, found.fragments)
        store.fragments.sync(roi)
        store.tables.save("contract", number, **found.pieces._asdict())

    return do


def _has_fragments(plan: LabelPlan, store: Store, block: int) -> bool:
    written = store.fragments.is_written(plan.label_roi(block))
    return written and store.tables.has("contract", block)


def _segmented(
    affinities: NDArray[Any], mask: NDArray[np.bool_] | None, plan: LabelPlan, box: Roi
) -> NDArray[np.integer[Any]]:
    """Segment a box for itself."""
    spec, strides, settings = plan.scheme.spec, plan.scheme.strides, plan.settings
    labels: NDArray[np.integer[Any]]
    if settings.backend == "elf":
        from emds.segmentation.watershed.elf_backend import elf_mutex_watershed

        labels = elf_mutex_watershed(
            affinities, spec, strides=strides, mask=mask, origin=box.offset
        )
    else:
        labels = contract(
            affinities, spec, strides=strides, origin=box.offset, box=box, mask=mask
        ).labels
    if settings.min_size > 1:
        labels = absorb_small_segments(
            labels.astype(np.uint64), affinities, spec, settings.min_size
        )
    return labels


def _numbering(plan: LabelPlan, store: Store) -> Callable[[int], None]:
    """Give numbers to the open fragments of all blocks: the nodes of the residual graph."""

    def do(_: int) -> None:
        parts = (load_pieces(store.tables, "contract", block.index) for block in plan.blocks)
        store.tables.save_column("starts", node_starts([part.open_count for part in parts]))

    return do


def _connecting(plan: LabelPlan, store: Store) -> Callable[[int], None]:
    """Find the edges between open fragments of which one is in each block."""
    tables = store.tables
    starts = tables.column("starts").tolist()

    @lru_cache(maxsize=AROUND)
    def nodes(number: int) -> NDArray[np.uint32]:
        return nodes_of(tables.load("contract", number)["is_open"], starts[number])

    def do(number: int) -> None:
        block = plan.blocks[number]
        read = seen_by_block(plan, number)
        graph = connect_block(
            store.affinities.read(read),
            store.fragments.read(read),
            plan.scheme,
            block,
            nodes,
            *starts[number : number + 2],
        )
        tables.save("connect", number, **graph._asdict())

    return do


def _solving(plan: LabelPlan, store: Store) -> Callable[[int], None]:
    """Decide which fragments are one segment."""
    tables = store.tables

    def do(_: int) -> None:
        blocks = Level("contract", "connect", tables.column("starts").tolist())
        levels = contract_levels(tables, blocks, plan.max_residual)
        tables.save_column("segment_sizes", name_segments(tables, levels).sizes)

    return do


def _is_solved(plan: LabelPlan, store: Store, _: int) -> bool:
    named = (store.tables.has("segments", block.index) for block in plan.blocks)
    return store.tables.has_column("segment_sizes") and all(named)
