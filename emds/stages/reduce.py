"""A residual graph too large to be solved at once is contracted first, group by group.

Groups of blocks grow from level to level, until what is left can be solved; by the same rules as
blocks of voxels are contracted, so the result stays the same.
"""

from __future__ import annotations

import logging

import numpy as np

from emds.segmentation.blockwise import group_nodes
from emds.segmentation.forest import Forest, merge_nodes
from emds.segmentation.residual import (
    ResidualGraph,
    contract_graph,
    join_graphs,
    renumber_graph,
    split_graph,
)
from emds.stages.label import LabelPlan
from emds.stages.tables import Tables

logger = logging.getLogger("emds")


def save_graph(tables: Tables, name: str, block: int, graph: ResidualGraph) -> None:
    """Store the part of the graph that belongs to a block."""
    tables.save(name, block, **graph._asdict())


def load_graph(tables: Tables, name: str, block: int) -> ResidualGraph:
    """Return what `save_graph` stored."""
    return ResidualGraph(**tables.load(name, block))


def reduced_graphs(plan: LabelPlan, tables: Tables, forest: Forest) -> tuple[Forest, str]:
    """Contract the graph in groups of 2, 4, 8, ... blocks along each axis while it is too large.

    Parameters
    ----------
    plan : LabelPlan
        With the blocks, and how many edges are solved at once.
    tables : Tables
        Hold the graph of each block under ``connect``; receive that of each level.
    forest : Forest
        The nodes.

    Returns
    -------
    forest : Forest
        The nodes that are left.
    name : str
        Of the tables that hold the edges between them.
    """
    name, edges, side = "connect", _edge_count(plan, tables, "connect"), 2
    while edges > plan.max_residual and side < 2 * max(plan.scheme.grid):
        forest = _contract_level(plan, tables, forest, name, f"connect-{side}", side)
        before, name = edges, f"connect-{side}"
        edges = _edge_count(plan, tables, name)
        logger.info("groups of %d blocks a side: %d edges of %d are left", side, edges, before)
        side *= 2
    return forest, name


def _contract_level(
    plan: LabelPlan, tables: Tables, forest: Forest, old: str, new: str, side: int
) -> Forest:
    groups = group_nodes(forest, plan.scheme, (side, side, side))
    sharers: dict[int, list[int]] = {int(group): [] for group in np.unique(groups[1:])}
    for block in plan.blocks:
        for group, share in split_graph(load_graph(tables, old, block.index), groups).items():
            save_graph(tables, f"{new}-shares-{group}", block.index, share)
            sharers[group].append(block.index)
    clusters = np.zeros(groups.size, dtype=np.uint32)
    is_open = np.zeros(groups.size, dtype=np.bool_)
    for group, blocks in sharers.items():
        members = np.flatnonzero(groups == group).astype(np.uint32)
        shares = [load_graph(tables, f"{new}-shares-{group}", block) for block in blocks]
        clusters[members], is_open[members] = contract_graph(join_graphs(shares), members)
    forest, numbers = merge_nodes(forest, clusters, is_open)
    for block in plan.blocks:
        graph = renumber_graph(load_graph(tables, old, block.index), numbers)
        save_graph(tables, new, block.index, graph)
    return forest


def _edge_count(plan: LabelPlan, tables: Tables, name: str) -> int:
    return sum(load_graph(tables, name, block.index).keys.size for block in plan.blocks)
