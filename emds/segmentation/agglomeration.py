"""The loop of the mutex watershed: edges from the strongest down, merging or keeping apart."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from emds.segmentation.constraints import (
    Constraints,
    enlarged,
    forbid,
    forbidden,
    has_room,
    inherit,
    no_constraints,
)
from emds.segmentation.edges import Lattice, SortedEdges, partner_shift
from emds.segmentation.union_find import find, singletons


@njit(nogil=True, cache=True)
def agglomerate(
    edges: SortedEdges, lattice: Lattice, shape: tuple[int, int, int]
) -> NDArray[np.uint32]:
    """Run the mutex watershed over sorted edges.

    Parameters
    ----------
    edges : SortedEdges
        What `sorted_edges` returned.
    lattice : Lattice
        The meaning of the channels.
    shape : (Z, Y, X)
        Of the block.

    Returns
    -------
    (Z * Y * X,) uint32
        Parents of the union-find.
    """
    channels = lattice.attractive.size
    parents = singletons(shape[0] * shape[1] * shape[2])
    constraints = no_constraints(parents.size, parents.size // 32)
    for number in range(edges.bounds.size - 1):
        channel = number % channels
        shift = partner_shift(shape, lattice.offsets[channel])
        begin, end = edges.bounds[number], edges.bounds[number + 1]
        while begin < end:
            sources = edges.sources[begin:end]
            if lattice.attractive[channel]:
                done, wanted = _merge(sources, shift, parents, constraints)
            else:
                done, wanted = _keep_apart(sources, shift, parents, constraints)
            begin += done
            if wanted > 0:
                constraints = enlarged(constraints, parents, wanted)
    return parents


@njit(nogil=True, cache=True)
def _merge(
    sources: NDArray[np.uint32], shift: int, parents: NDArray[np.uint32], constraints: Constraints
) -> Any:
    """Merge what may be merged; return how many edges are done and the constraints to add.

    Both loops stop where the store is full, so that its arrays are fixed while they run.
    """
    for number in range(sources.size):
        source = np.int64(sources[number])
        heir, gone = find(parents, source), find(parents, source + shift)
        if heir == gone or forbidden(constraints, heir, gone):
            continue
        if constraints.lengths[heir] < constraints.lengths[gone]:
            heir, gone = gone, heir
        inherited = np.int64(constraints.lengths[gone])
        if inherited == 0:
            parents[gone] = heir
        elif has_room(constraints, inherited):
            parents[gone] = heir
            inherit(constraints, parents, heir, gone)
        else:
            return number, inherited
    return sources.size, 0


@njit(nogil=True, cache=True)
def _keep_apart(
    sources: NDArray[np.uint32], shift: int, parents: NDArray[np.uint32], constraints: Constraints
) -> Any:
    """Record constraints; return how many edges are done and the constraints to add."""
    for number in range(sources.size):
        source = np.int64(sources[number])
        a, b = find(parents, source), find(parents, source + shift)
        if a == b:
            continue
        if not has_room(constraints, 1):
            return number, 1
        forbid(constraints, a, b)
    return sources.size, 0
