"""The loop of the mutex watershed: edges from the strongest down, merging or keeping apart.

The loop runs on the voxels of a block and on the nodes of a graph, and it runs where part of the
graph is out of sight. A cluster is *open* once something out of sight may have changed it, else it
is *closed*; `emds.segmentation.watershed.contraction` says why the rules here make only merges
that a run over everything makes. With nothing out of sight, every cluster is closed, and this is
the mutex watershed.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emds.kernels import njit
from emds.segmentation.watershed.constraints import (
    END_OF_LIST,
    Constraints,
    enlarged,
    forbid,
    forbidden,
    has_room,
    inherit,
    no_constraints,
)
from emds.segmentation.watershed.edges import Lattice, SortedEdges, partner_shift
from emds.segmentation.watershed.union_find import find, singletons

OUT_OF_SIGHT = 0xFFFFFFFF


class Run(NamedTuple):
    """Edges of one kind, one after the other: each partner is listed, or lies at one distance.

    Attributes
    ----------
    sources : (edges,) uint32
        One end.
    partners : (edges,) or (0,) uint32
        The other end; if there are none, it is the source plus the shift.
    shift : int
        Distance of the partners.
    """

    sources: NDArray[np.uint32]
    partners: NDArray[np.uint32]
    shift: int


@njit()
def watershed_of_block(
    edges: SortedEdges, leaving: SortedEdges, lattice: Lattice, shape: tuple[int, int, int]
) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """Run the mutex watershed over the sorted edges of a block.

    Parameters
    ----------
    edges : SortedEdges
        What `sorted_edges` returned.
    leaving : SortedEdges
        What `leaving_edges` returned; without any, no bounds are needed.
    lattice : Lattice
        The meaning of the channels.
    shape : (Z, Y, X)
        Shape of the block.

    Returns
    -------
    parents : (Z * Y * X,) uint32
        Parents of the union-find.
    is_open : (Z * Y * X,) bool
        Whether the cluster of a root is open.
    """
    channels = lattice.attractive.size
    parents = singletons(shape[0] * shape[1] * shape[2])
    is_open = np.zeros(parents.size, dtype=np.bool_)
    any_open = leaving.sources.size > 0
    constraints = no_constraints(parents.size, parents.size // 32)
    for number in range(edges.bounds.size - 1):
        channel = number % channels
        if any_open:  # before the other edges of the bin: to open a cluster early is never wrong
            for voxel in leaving.sources[leaving.bounds[number] : leaving.bounds[number + 1]]:
                is_open[find(parents, voxel)] = True
        begin, end = edges.bounds[number], edges.bounds[number + 1]
        if begin == end:
            continue
        run = Run(
            edges.sources[begin:end],
            edges.sources[:0],
            partner_shift(shape, lattice.offsets[channel]),
        )
        attractive = lattice.attractive[channel]
        constraints = _follow(run, attractive, parents, constraints, is_open, any_open)
    return parents, is_open


@njit()
def watershed_of_graph(
    ends: NDArray[np.uint32],
    others: NDArray[np.uint32],
    attractive: NDArray[np.bool_],
    nodes: int,
) -> tuple[NDArray[np.uint32], NDArray[np.bool_]]:
    """Run the mutex watershed over the sorted edges of a graph.

    Parameters
    ----------
    ends : (edges,) uint32
        Nodes from 0, strongest edge first.
    others : (edges,) uint32
        The other ends, or `OUT_OF_SIGHT`.
    attractive : (edges,) bool
        Whether the edge merges, else it keeps apart.
    nodes : int
        Number of nodes in sight.

    Returns
    -------
    parents : (nodes,) uint32
        Parents of the union-find.
    is_open : (nodes,) bool
        Whether the cluster of a root is open.
    """
    parents = singletons(nodes)
    is_open = np.zeros(nodes, dtype=np.bool_)
    any_open = bool(np.any(others == OUT_OF_SIGHT))
    constraints = no_constraints(nodes, nodes)
    begin = 0
    while begin < ends.size:
        if others[begin] == OUT_OF_SIGHT:
            is_open[find(parents, ends[begin])] = True
            begin += 1
            continue
        end = begin + 1
        while (
            end < ends.size and attractive[end] == attractive[begin] and others[end] != OUT_OF_SIGHT
        ):
            end += 1
        run = Run(ends[begin:end], others[begin:end], 0)
        constraints = _follow(run, attractive[begin], parents, constraints, is_open, any_open)
        begin = end
    return parents, is_open


@njit()
def _follow(
    run: Run,
    attractive: bool,
    parents: NDArray[np.uint32],
    constraints: Constraints,
    is_open: NDArray[np.bool_],
    any_open: bool,
) -> Constraints:
    """Follow edges of one kind; return the constraints, in a larger store if they filled it."""
    done = 0
    while done < run.sources.size:
        left = Run(run.sources[done:], run.partners[done:], run.shift)
        if attractive:
            more, wanted = _attract(left, parents, constraints, is_open, any_open)
        else:
            more, wanted = _repel(left, parents, constraints, is_open, any_open)
        done += more
        if wanted > 0:
            constraints = enlarged(constraints, parents, wanted)
    return constraints


@njit()
def _attract(
    run: Run,
    parents: NDArray[np.uint32],
    constraints: Constraints,
    is_open: NDArray[np.bool_],
    any_open: bool,
) -> Any:
    """Follow attractive edges; return how many are done and the constraints to add.

    Both loops stop where the store is full, so that its arrays are fixed while they run.
    """
    for number in range(run.sources.size):
        source = np.int64(run.sources[number])
        heir, gone = find(parents, source), find(parents, _partner(run, number, source))
        if heir == gone or (any_open and is_open[heir] and is_open[gone]):
            continue
        if forbidden(constraints, heir, gone):
            continue
        if any_open and not _is_certain(parents, constraints, is_open, heir, gone):
            is_open[heir] = True
            is_open[gone] = True
            continue
        if constraints.lengths[heir] < constraints.lengths[gone]:
            heir, gone = gone, heir
        inherited = np.int64(constraints.lengths[gone])
        if inherited > 0 and not has_room(constraints, inherited):
            return number, inherited
        parents[gone] = heir
        if any_open:
            is_open[heir] |= is_open[gone]
        if inherited > 0:
            inherit(constraints, parents, heir, gone)
    return run.sources.size, 0


@njit()
def _repel(
    run: Run,
    parents: NDArray[np.uint32],
    constraints: Constraints,
    is_open: NDArray[np.bool_],
    any_open: bool,
) -> Any:
    """Follow mutex edges; return how many are done and the constraints to add.

    Two open clusters never merge here, so what keeps them apart need not be known.
    """
    for number in range(run.sources.size):
        source = np.int64(run.sources[number])
        a, b = find(parents, source), find(parents, _partner(run, number, source))
        if a == b or (any_open and is_open[a] and is_open[b]):
            continue
        if not has_room(constraints, 1):
            return number, 1
        forbid(constraints, a, b)
    return run.sources.size, 0


@njit(inline="always")
def _partner(run: Run, number: Any, source: Any) -> Any:
    return source + run.shift if run.partners.size == 0 else np.int64(run.partners[number])


@njit()
def _is_certain(
    parents: NDArray[np.uint32],
    constraints: Constraints,
    is_open: NDArray[np.bool_],
    a: int,
    b: int,
) -> Any:
    """Say whether two clusters, not both open, merge whatever is out of sight.

    A closed cluster is asked once: the edge opens it, whatever the answer.
    """
    if not is_open[a] and not is_open[b]:
        return True
    known, unknown = (b, a) if is_open[a] else (a, b)
    node = np.int64(constraints.heads[known])
    while node != END_OF_LIST:
        partner = find(parents, constraints.partners[node])
        if is_open[partner] and not forbidden(constraints, partner, unknown):
            return False
        node = np.int64(constraints.following[node])
    return True
