"""Connected components of the attractive edges above one half: no mutex edge has a say.

One wrong edge joins two neurons, so this is a baseline to compare with, and a quick look at what
the affinities alone hold.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emds.errors import UsageError
from emds.segmentation.affinities import AffinitySpec
from emds.segmentation.blockwise.blocks import measured_block, values_on
from emds.segmentation.blockwise.groups import (
    AROUND,
    Level,
    load_pieces,
    name_segments,
    save_group,
)
from emds.segmentation.blockwise.pieces import merge_pieces, node_starts, nodes_of
from emds.segmentation.labeller import LabelPhase, has_column, has_table, seen_by_block
from emds.segmentation.plan import LabelPlan
from emds.segmentation.relabel import relabel_by_first_voxel
from emds.segmentation.store import Store
from emds.segmentation.watershed.union_find import smallest_members, unite


def phases(plan: LabelPlan) -> list[LabelPhase]:
    """Return the phases from affinities to segments, see `emds.segmentation.labeller`."""
    if plan.settings.stitch == "none":
        raise UsageError("stitch 'none' is for the mutex watershed; components always join.")
    return [
        LabelPhase(
            *("contract", "blocks segmented", _contracting, has_table("contract")),
            box=seen_by_block,
            reads_mask=True,
        ),
        LabelPhase(
            *("connect", "blocks connected", _connecting, has_table("connect")),
            box=seen_by_block,
            reads_mask=True,
        ),
        LabelPhase(
            "solve", "components joined", _solving, has_column("segment_sizes"), by_block=False
        ),
    ]


def _contracting(plan: LabelPlan, store: Store) -> Callable[[int], None]:
    """Find the components of each block; one with an edge that leaves the block is open."""

    def do(number: int) -> None:
        block = plan.blocks[number]
        seen = plan.scheme.seen_by(block)
        affinities, mask = _read(store, plan, number)
        inside = np.zeros(seen.shape, dtype=np.bool_)
        own = block.write_roi.relative_to(seen.offset).slices()
        inside[own] = True
        parents = np.arange(inside.size)
        leaves = np.zeros(inside.size, dtype=np.bool_)
        for ends in _edges(affinities, plan.scheme.spec, mask):
            here = inside.reshape(-1)[ends]
            unite(parents, ends[:, here.all(axis=0)].T)
            leaves[ends[here & (here.sum(axis=0) == 1)]] = True
        components = smallest_members(parents).reshape(inside.shape)[own] + 1
        if mask is not None:
            components[~mask[own]] = 0
        ids = relabel_by_first_voxel(components.astype(np.uint64)).astype(np.uint32)
        is_open = np.zeros(int(ids.max(initial=0)) + 1, dtype=np.bool_)
        is_open[ids[leaves.reshape(inside.shape)[own]]] = True
        found = measured_block(ids, is_open[1:], plan.scheme, block)
        roi = plan.label_roi(number)
        store.fragments.write(roi, found.fragments)
        store.fragments.sync(roi)
        store.tables.save("contract", number, **found.pieces._asdict())

    return do


def _connecting(plan: LabelPlan, store: Store) -> Callable[[int], None]:
    """Find which open components of different blocks an edge joins, one of which is the block's."""
    counts = [
        load_pieces(store.tables, "contract", block.index).open_count for block in plan.blocks
    ]
    starts = node_starts(counts)

    @lru_cache(maxsize=AROUND)
    def nodes(number: int) -> NDArray[np.uint32]:
        is_open = store.tables.load("contract", number)["is_open"]
        return nodes_of(is_open, int(starts[number]))

    def do(number: int) -> None:
        seen = plan.scheme.seen_by(plan.blocks[number])
        affinities, mask = _read(store, plan, number)
        fragments = store.fragments.read(plan.inside(seen))
        at = values_on(nodes, fragments, plan.scheme, seen).reshape(-1).astype(np.int64)
        pairs = [np.zeros((2, 0), dtype=np.int64)]
        for ends in _edges(affinities, plan.scheme.spec, mask):
            joined = at[ends]
            pairs.append(joined[:, (joined[0] != joined[1]) & (joined > 0).all(axis=0)])
        lower, upper = np.unique(np.sort(np.concatenate(pairs, axis=1), axis=0), axis=1)
        store.tables.save("connect", number, lower=lower, upper=upper)

    return do


def _solving(plan: LabelPlan, store: Store) -> Callable[[int], None]:
    """Join the open components of all blocks."""
    tables = store.tables

    def do(_: int) -> None:
        parts = [load_pieces(tables, "contract", block.index) for block in plan.blocks]
        starts = node_starts([part.open_count for part in parts])
        parents = np.arange(starts[-1] + 1)
        for block in plan.blocks:
            table = tables.load("connect", block.index)
            unite(parents, np.stack([table["lower"], table["upper"]], axis=1))
        smallest, clusters = np.unique(smallest_members(parents)[1:], return_inverse=True)
        numbers = (clusters + 1).astype(np.uint32)
        closed = np.zeros(smallest.size, dtype=np.bool_)
        save_group(tables, "joined-blocks", 0, numbers, merge_pieces(parts, numbers, closed))
        levels = [
            Level("contract", "connect", starts.tolist()),
            Level("joined-blocks", "", [0, 0], len(parts)),
        ]
        tables.save_column("segment_sizes", name_segments(tables, levels).sizes)

    return do


def _read(
    store: Store, plan: LabelPlan, number: int
) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
    roi = seen_by_block(plan, number)
    affinities = store.affinities.read(roi)
    return affinities, None if store.mask is None else store.mask.read(roi) != 0


def _edges(
    affinities: NDArray[Any], spec: AffinitySpec, mask: NDArray[np.bool_] | None
) -> Iterator[NDArray[np.int64]]:
    """Yield, channel by channel, the two ends of all edges that join, as places in the box.

    Parameters
    ----------
    affinities : (C, Z, Y, X) uint8 or uint16
        Affinities of the box.
    spec : AffinitySpec
        Offset of each affinity channel, and which channels attract.
    mask : (Z, Y, X) bool, optional
        Edges that touch a False voxel do not exist.

    Yields
    ------
    (2, edges) int64
        Source and partner.
    """
    shape = affinities.shape[1:]
    places = np.arange(int(np.prod(shape))).reshape(shape)
    half = np.iinfo(affinities.dtype).max / 2
    for values, offset, attracts in zip(affinities, spec.offsets, spec.attractive, strict=True):
        if not attracts or any(abs(o) >= n for o, n in zip(offset, shape, strict=True)):
            continue
        source, partner = (
            tuple(
                slice(max(0, -sign * o), n - max(0, sign * o))
                for o, n in zip(offset, shape, strict=True)
            )
            for sign in (1, -1)
        )
        joins = values[source] > half
        if mask is not None:
            joins &= mask[source] & mask[partner]
        yield np.stack([places[source][joins], places[partner][joins]])
