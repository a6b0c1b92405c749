"""The residual graph, solved in groups of blocks that grow until one of them is the whole volume.

A level is the volume in parts: the blocks, groups of blocks, groups of groups. Each part has a
table of its pieces and, while pieces are open, one of all edges that have an end in it; so a group
is contracted with nothing else in memory. An edge between two parts is in the table of both.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from emds.segmentation.blockwise.pieces import (
    Pieces,
    Segments,
    merge_pieces,
    node_starts,
    nodes_of,
    number_segments,
    segments_of,
)
from emds.segmentation.blockwise.residual import (
    ResidualGraph,
    contract_graph,
    edges_at,
    join_graphs,
    renumber_graph,
)
from emds.segmentation.store import Tables

logger = logging.getLogger("emds")

AROUND = 27
"""A block and those that touch it: whose tables are kept at hand."""

_EDGE_BYTES = 16


class Level(NamedTuple):
    """The volume in parts.

    Attributes
    ----------
    pieces : str
        Name of the tables of pieces; those of a group also tell of which members they consist.
    edges : str
        Name of the tables of edges.
    starts : list of int
        Nodes before each part, and in all.
    run : int
        How many parts of the level below make one of this.
    """

    pieces: str
    edges: str
    starts: list[int]
    run: int = 1

    @property
    def parts(self) -> range:
        """The numbers of the parts."""
        return range(len(self.starts) - 1)

    def members(self, part: int, below: Level) -> range:
        """Return which parts of the level below make a part of this."""
        return below.parts[part * self.run : (part + 1) * self.run]


def load_pieces(tables: Tables, name: str, part: int) -> Pieces:
    """Return the pieces of a block or a group."""
    table = tables.load(name, part)
    return Pieces(*(table[column] for column in Pieces._fields))


def save_group(
    tables: Tables, name: str, part: int, clusters: NDArray[np.uint32], pieces: Pieces
) -> None:
    """Store the pieces of a group, and the cluster of each of its members."""
    tables.save(name, part, clusters=clusters, **pieces._asdict())


def contract_levels(tables: Tables, blocks: Level, max_residual: int) -> list[Level]:
    """Contract the graph in larger and larger groups until nothing is open.

    Parameters
    ----------
    tables : Tables
        Hold the pieces and edges of the blocks; receive those of the groups.
    blocks : Level
        The blocks.
    max_residual : int
        Edges that a group has at most, unless it consists of two parts only.

    Returns
    -------
    list of Level
        The blocks, and the groups of each level.
    """
    levels = [blocks]
    while levels[-1].starts[-1] > 0:
        below, number = levels[-1], len(levels)
        counts = [tables.size(below.edges, part) // _EDGE_BYTES for part in below.parts]
        run = _longest_run(counts, max_residual)
        logger.info("level %d: groups of %d, %d edges", number, run, sum(counts))
        levels.append(_contract_level(tables, below, number, run))
        if below is not blocks:  # those of the blocks are what a phase left
            tables.remove(below.edges)
    return levels


def name_segments(tables: Tables, levels: Sequence[Level]) -> Segments:
    """Give the segments their ids, and leave for each block, as ``segments``, those of its pieces.

    Parameters
    ----------
    tables : Tables
        Hold the pieces of all levels.
    levels : sequence of Level
        The blocks, and groups up to the last, which leaves nothing open.
    """
    segments = number_segments(
        load_pieces(tables, level.pieces, part) for level in levels for part in level.parts
    )
    none = np.zeros(0, dtype=np.uint64)
    for number in reversed(range(len(levels))):
        level = levels[number]
        for part in level.parts:
            handed_down = levels[-1] is not level
            of_open = tables.load(f"open-{number}", part)["segments"] if handed_down else none
            pieces = load_pieces(tables, level.pieces, part)
            found = segments_of(pieces, segments.first_voxels, of_open)
            if number == 0:
                tables.save(
                    "segments", part, segments=np.concatenate([np.zeros(1, found.dtype), found])
                )
            else:
                _hand_down(tables, found, part, level, levels[number - 1], f"open-{number - 1}")
    return segments


def _hand_down(
    tables: Tables, found: NDArray[np.uint64], part: int, level: Level, below: Level, name: str
) -> None:
    """Tell the members of a group what segments their open pieces are."""
    of_nodes = found[tables.load(level.pieces, part)["clusters"] - 1]
    members = level.members(part, below)
    first = below.starts[members.start]
    for member in members:
        begin, end = below.starts[member] - first, below.starts[member + 1] - first
        tables.save(name, member, segments=of_nodes[begin:end])


def _contract_level(tables: Tables, below: Level, number: int, run: int) -> Level:
    """Contract groups of parts, and leave the edges between what is open after that."""
    level = Level(f"groups-{number}", f"edges-{number}", [0], run)
    groups = [below.parts[begin : begin + run] for begin in below.parts[::run]]
    open_counts = []
    for group, members in enumerate(groups):
        begin, end = below.starts[members.start], below.starts[members.stop]
        clusters, is_open = contract_graph(_edges_of(tables, below, members), begin, end)
        parts = (load_pieces(tables, below.pieces, member) for member in members)
        save_group(tables, level.pieces, group, clusters, merge_pieces(parts, clusters, is_open))
        open_counts.append(int(np.count_nonzero(is_open)))
    level = level._replace(starts=node_starts(open_counts).tolist())
    if level.starts[-1] > 0:
        new = _renumbering(tables, below, level)
        for group, members in enumerate(groups):
            graph = renumber_graph(_edges_of(tables, below, members), new)
            tables.save(level.edges, group, **graph._asdict())
    return level


def _edges_of(tables: Tables, level: Level, members: range) -> ResidualGraph:
    """Return the edges of a group of parts, each once."""
    first = level.starts[members.start]
    return join_graphs(
        [
            edges_at(
                ResidualGraph(**tables.load(level.edges, member)),
                level.starts[member],
                level.starts[member + 1],
                known=first,
            )
            for member in members
        ]
    )


def _renumbering(
    tables: Tables, below: Level, level: Level
) -> Callable[[NDArray[np.uint32]], NDArray[np.uint32]]:
    """Return what turns nodes of a level into those of the next; 0 where they are closed."""
    firsts = np.array(below.starts[:-1][:: level.run])

    @lru_cache(maxsize=AROUND)
    def of_group(group: int) -> NDArray[np.uint32]:
        table = tables.load(level.pieces, group)
        clusters: NDArray[np.uint32] = table["clusters"]
        return nodes_of(table["is_open"], level.starts[group])[clusters]

    def new(nodes: NDArray[np.uint32]) -> NDArray[np.uint32]:
        groups = np.searchsorted(firsts, nodes) - 1
        found = np.empty_like(nodes)
        for group in np.flatnonzero(np.bincount(groups)).tolist():
            here = groups == group
            found[here] = of_group(group)[nodes[here] - np.uint32(firsts[group] + 1)]
        return found

    return new


def _longest_run(counts: Sequence[int], most: int) -> int:
    """Return of how many parts groups consist: a power of two, as large as may be."""
    run = 2
    while run < len(counts) and _largest_sum(counts, 2 * run) <= most:
        run *= 2
    return run


def _largest_sum(counts: Sequence[int], run: int) -> int:
    return max(sum(counts[begin : begin + run]) for begin in range(0, len(counts), run))
