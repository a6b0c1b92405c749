"""From affinities to neurons, in phases: the one way, whoever labels and wherever things are kept.

`emds run` and `emds segment` do the phases on disk, among several processes; validation, tuning
and tests do them in memory, by `label_affinities`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emds.geometry import Roi, Triple
from emds.memory import room_for_data
from emds.segmentation.affinities import AffinitySpec
from emds.segmentation.after.linking import (
    SectionOverlaps,
    join_sections,
    merge_overlaps,
    overlap_roi,
    section_overlaps_of_block,
)
from emds.segmentation.after.small_segments import (
    Contacts,
    contacts_of_block,
    join_small_segments,
    merge_contacts,
    small_segments,
)
from emds.segmentation.blockwise.blocks import values_on
from emds.segmentation.blockwise.groups import AROUND
from emds.segmentation.labeller import (
    LabelPhase,
    has_column,
    has_table,
    phases_to_segments,
    seen_by_block,
)
from emds.segmentation.plan import LabelPlan, plan_labels
from emds.segmentation.settings import LabelSettings
from emds.segmentation.store import Store, Tables, memory_store
from emds.segmentation.watershed.mutex_watershed import check_arguments


def label_phases(plan: LabelPlan) -> list[LabelPhase]:
    """Return what turns the affinities of a `Store` into its labels, in order."""
    phases = phases_to_segments(plan)
    if _absorbs(plan):
        phases += [
            LabelPhase(
                "touch", "blocks measured", _touching, has_table("touch"), box=seen_by_block
            ),
            LabelPhase(
                "absorb", "small segments joined", _absorbing, has_column("joined"), by_block=False
            ),
        ]
    if plan.settings.link_sections is not None:
        phases += [
            LabelPhase("overlay", "blocks overlaid", _overlaying, has_table("overlay")),
            LabelPhase("link", "sections linked", _linking, has_column("linked"), by_block=False),
        ]
    return [*phases, LabelPhase("relabel", "blocks labelled", _relabelling, _has_labels)]


def label_store(plan: LabelPlan, store: Store, order: Sequence[int] | None = None) -> None:
    """Do all phases here and now.

    Parameters
    ----------
    plan : LabelPlan
        Region, blocks and settings.
    store : Store
        Holds the affinities, receives the labels.
    order : sequence of int, optional
        The order in which the blocks are worked on, which changes nothing.
    """
    for phase in label_phases(plan):
        do = phase.begin(plan, store)
        for block in (order or range(len(plan.blocks))) if phase.by_block else (0,):
            do(block)


def label_affinities(
    affinities: NDArray[np.uint8] | NDArray[np.uint16],
    spec: AffinitySpec,
    settings: LabelSettings,
    *,
    mask: NDArray[np.bool_] | None = None,
    origin: Triple = (0, 0, 0),
    block_shape: Triple | None = None,
    order: Sequence[int] | None = None,
    max_residual: int | None = None,
) -> NDArray[np.uint64]:
    """Label a box of affinities in memory.

    Parameters
    ----------
    affinities : (C, Z, Y, X) uint8 or uint16
        1 = same, scaled to the range of the type; see `emds.segmentation.affinities.quantize`.
    spec : AffinitySpec
        Offset of each of the C channels, and which channels attract.
    settings : LabelSettings
        How; its bias is taken to be in the affinities already.
    mask : (Z, Y, X) bool, optional
        True where to segment.
    origin : (z, y, x)
        Position of the array in the volume, in voxels; only strides look at it.
    block_shape : (z, y, x), optional
        Default: one block. Blocks, their order and `max_residual` change nothing.
    order : sequence of int, optional
        The order in which the blocks are worked on.
    max_residual : int, optional
        Maximum number of edges of the residual graph held in memory.

    Returns
    -------
    (Z, Y, X) uint64
        Ids 1..n in order of first voxel; 0 where `mask` is False.

    Raises
    ------
    DataError, UsageError
        As `mutex_watershed` does, or if the settings do not fit the offsets.

    Examples
    --------
    >>> spec = AffinitySpec(((0, 0, 1), (0, 0, 2)), (True, False))
    >>> affinities = np.array([[[[255, 200, 0]]], [[[50, 0, 0]]]], dtype=np.uint8)
    >>> label_affinities(affinities, spec, LabelSettings(), block_shape=(1, 1, 2)).tolist()
    [[[1, 1, 2]]]
    """
    check_arguments(affinities, spec, settings.mutex_strides, mask)
    depth, height, width = affinities.shape[1:]
    region = Roi(origin, (depth, height, width))
    store = memory_store(affinities, mask)
    if region.size > 0:
        plan = plan_labels(
            region,
            spec,
            settings,
            chunk_shape=(1, 1, 1),
            memory=room_for_data(),
            block_shape=block_shape or region.shape,
            max_residual=max_residual,
        )
        label_store(plan, store, order)
    labels: NDArray[np.uint64] = store.labels.read(Roi.whole(region.shape))
    return labels


def _touching(plan: LabelPlan, store: Store) -> Callable[[int], None]:
    """Measure where segments that are too small touch others."""
    tables = store.tables
    segments = _segments(tables)
    small = small_segments(np.array(tables.column("segment_sizes")), plan.settings.min_size)

    def do(number: int) -> None:
        block = plan.blocks[number]
        read = seen_by_block(plan, number)
        contacts = contacts_of_block(
            store.affinities.read(read),
            store.fragments.read(read),
            plan.scheme,
            block,
            segments,
            small,
        )
        tables.save("touch", number, **contacts._asdict())

    return do


def _absorbing(plan: LabelPlan, store: Store) -> Callable[[int], None]:
    """Decide whom the small segments join."""
    tables = store.tables

    def do(_: int) -> None:
        parts = [Contacts(**tables.load("touch", block.index)) for block in plan.blocks]
        sizes = np.array(tables.column("segment_sizes"))
        joined = join_small_segments(merge_contacts(parts), sizes, plan.settings.min_size)
        tables.save_column("joined", joined)

    return do


def _overlaying(plan: LabelPlan, store: Store) -> Callable[[int], None]:
    """Count what segments of adjacent sections share."""
    tables = store.tables
    segments = _segments(tables, _unlinked(plan))

    def do(number: int) -> None:
        block = plan.blocks[number]
        fragments = store.fragments.read(plan.inside(overlap_roi(plan.scheme, block)))
        found = section_overlaps_of_block(fragments, plan.scheme, block, segments)
        tables.save("overlay", number, **found._asdict())

    return do


def _linking(plan: LabelPlan, store: Store) -> Callable[[int], None]:
    """Decide which segments of adjacent sections are one."""
    tables, threshold = store.tables, plan.settings.link_sections
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

    return do


def _relabelling(plan: LabelPlan, store: Store) -> Callable[[int], None]:
    """Write the final ids."""
    linked = plan.settings.link_sections is not None
    segments = _segments(store.tables, "linked" if linked else _unlinked(plan))

    def do(number: int) -> None:
        roi = plan.label_roi(number)
        fragments = store.fragments.read(roi)
        found = values_on(segments, fragments, plan.scheme, plan.blocks[number].write_roi)
        store.labels.write(roi, found)
        store.labels.sync(roi)

    return do


def _has_labels(plan: LabelPlan, store: Store, block: int) -> bool:
    return store.labels.is_written(plan.label_roi(block))


def _absorbs(plan: LabelPlan) -> bool:
    """Say whether small segments join others once all blocks are known, not in each for itself."""
    return plan.settings.min_size > 1 and not plan.independent


def _unlinked(plan: LabelPlan) -> str | None:
    """Return the column that renames the segments before sections are linked, if there is one."""
    return "joined" if _absorbs(plan) else None


def _segments(tables: Tables, column: str | None = None) -> Callable[[int], NDArray[np.uint64]]:
    """Return the look-up of the segments of a block's fragments, renamed by a column if named."""
    names: NDArray[Any] | None = tables.column(column) if column is not None else None

    @lru_cache(maxsize=AROUND)
    def segments(number: int) -> NDArray[np.uint64]:
        found: NDArray[np.uint64] = tables.load("segments", number)["segments"]
        return found if names is None else np.asarray(names[found])

    return segments
