"""The ways from affinities to segments, and the steps of which each of them consists.

A way is a module with a function ``phases`` from a `LabelPlan` to a list of `LabelPhase`. The
phases read the affinities of a `Store` and leave there

- ``fragments``: ids 1..n in each block;
- the table ``segments`` of each block: the segment of each of its fragments, 0 in front;
- the column ``segment_sizes``: voxels of each segment, in order of first voxel, 0 in front.

Small segments, linking and the final ids are the same for all, see `emds.segmentation.phases`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

from emds.geometry import Roi
from emds.segmentation.settings import LABELLERS
from emds.segmentation.store import Store

if TYPE_CHECKING:
    from emds.segmentation.plan import LabelPlan


@dataclass(frozen=True, slots=True)
class LabelPhase:
    """A step that needs nothing but the steps before it.

    Attributes
    ----------
    name : str
        Of its log, and of the tables or the column it leaves.
    what : str
        For the progress line.
    begin : callable
        Takes (plan, store) and returns a function that does the block with a number.
    is_done : callable
        Takes (plan, store, block); says whether all that a block leaves is there.
    by_block : bool
        Whether each block has its turn; else one call does the whole volume, as block 0.
    box : callable or None
        Takes (plan, block); the box of the affinities, in the coordinates of the labels, that a
        block reads. None where it reads none.
    reads_mask : bool
        Whether it reads the mask there, too, after the affinities.
    """

    name: str
    what: str
    begin: Callable[[LabelPlan, Store], Callable[[int], None]]
    is_done: Callable[[LabelPlan, Store, int], bool]
    by_block: bool = True
    box: Callable[[LabelPlan, int], Roi] | None = None
    reads_mask: bool = False


def seen_by_block(plan: LabelPlan, block: int) -> Roi:
    """Return the box that a block reads: itself, and all that an offset reaches."""
    return plan.inside(plan.scheme.seen_by(plan.blocks[block]))


def has_table(name: str) -> Callable[[LabelPlan, Store, int], bool]:
    """Return the test of whether a block has left its table."""
    return lambda plan, store, block: store.tables.has(name, block)


def has_column(name: str) -> Callable[[LabelPlan, Store, int], bool]:
    """Return the test of whether a column of the whole volume is there."""
    return lambda plan, store, block: store.tables.has_column(name)


def phases_to_segments(plan: LabelPlan) -> list[LabelPhase]:
    """Return the phases of the way that the settings name."""
    found: list[LabelPhase] = import_module(LABELLERS[plan.settings.labeller]).phases(plan)
    return found
