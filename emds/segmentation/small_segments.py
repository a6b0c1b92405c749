"""Small segments join the neighbour they most likely belong to."""

from __future__ import annotations

import heapq
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from emds.errors import DataError, UsageError
from emds.segmentation.affinities import AffinitySpec
from emds.segmentation.relabel import relabel_by_first_voxel

Contact = tuple[int, int]
"""Sum of the affinities over the faces of two segments, and how many faces."""


def absorb_small_segments(
    labels: NDArray[np.uint64],
    affinities: NDArray[np.uint8] | NDArray[np.uint16],
    spec: AffinitySpec,
    min_size: int,
) -> NDArray[np.uint64]:
    """Merge every segment below a size into its best neighbour.

    The smallest segment comes first (the lowest id among equals). It joins the neighbour with
    the highest mean affinity over the attractive edges between the two (again the lowest id among
    equals), whatever the mutex edges say, and takes that one's id; a segment that is still too
    small queues again. One without neighbours stays. Nothing becomes background, which would
    cost a score more than the small segments do.

    Parameters
    ----------
    labels : (Z, Y, X) uint64
        Segments; 0 is background and is never anybody's neighbour.
    affinities : (C, Z, Y, X) uint8 or uint16
        1 = same, scaled to the range of the type.
    spec : AffinitySpec
        What the channels mean. If no attractive partner lies in another section, segments stay
        within their sections.
    min_size : int
        Voxels a segment must have to stay as it is; 0 and 1 change nothing but the ids.

    Returns
    -------
    (Z, Y, X) uint64
        Ids 1..n in order of first voxel.

    Raises
    ------
    DataError
        If the shapes of labels, affinities and spec do not fit.
    UsageError
        If `min_size` is negative.

    Examples
    --------
    >>> labels = np.array([[[1, 1, 2, 3, 3]]], dtype=np.uint64)
    >>> affinities = np.array([[[[255, 90, 60, 255, 0]]]], dtype=np.uint8)
    >>> spec = AffinitySpec(((0, 0, 1),), (True,))
    >>> absorb_small_segments(labels, affinities, spec, 2).tolist()
    [[[1, 1, 1, 2, 2]]]
    """
    if affinities.shape != (spec.channels, *labels.shape):
        raise DataError(
            f"affinities of shape {affinities.shape} do not fit labels of shape {labels.shape} "
            f"and {spec.channels} offsets; expected {(spec.channels, *labels.shape)}."
        )
    if min_size < 0:
        raise UsageError(f"the smallest size of a segment must be 0 or more, not {min_size}.")
    dense = relabel_by_first_voxel(labels)
    sizes = np.bincount(dense.ravel().astype(np.int64), minlength=1)
    small = sizes < min_size
    small[0] = False
    if not small.any():
        return dense
    final = _join_smallest_first(_contacts(dense, affinities, spec, small), sizes, min_size)
    return relabel_by_first_voxel(final[dense])


def _join_smallest_first(
    contacts: dict[int, dict[int, Contact]], sizes: NDArray[np.int64], min_size: int
) -> NDArray[np.uint64]:
    """Return the id that each segment ends with."""
    size = dict(enumerate(sizes.tolist()))
    joined = np.arange(sizes.size, dtype=np.uint64)
    queue = [(size[segment], segment) for segment in contacts if size[segment] < min_size]
    heapq.heapify(queue)
    order: list[tuple[int, int]] = []
    while queue:
        size_then, segment = heapq.heappop(queue)
        if size.get(segment) != size_then or not contacts[segment]:
            continue
        best = min(contacts[segment], key=lambda other: _preference(contacts[segment], other))
        order.append((segment, best))
        size[best] += size.pop(segment)
        for other, (total, faces) in contacts.pop(segment).items():
            del contacts[other][segment]
            if other != best:
                known_total, known_faces = contacts[best].get(other, (0, 0))
                contact = (known_total + total, known_faces + faces)
                contacts[best][other] = contacts[other][best] = contact
        if size[best] < min_size:
            heapq.heappush(queue, (size[best], best))
    for segment, best in reversed(order):  # the last to be joined already has its final id
        joined[segment] = joined[best]
    return joined


def _preference(neighbours: dict[int, Contact], other: int) -> tuple[float, int]:
    total, faces = neighbours[other]
    return -total / faces, other


def _contacts(
    dense: NDArray[np.uint64],
    affinities: NDArray[Any],
    spec: AffinitySpec,
    small: NDArray[np.bool_],
) -> dict[int, dict[int, Contact]]:
    """Return the contacts of the small segments, in both directions."""
    contacts: dict[int, dict[int, Contact]] = {}
    for channel, offset in enumerate(spec.offsets):
        if not spec.attractive[channel]:
            continue
        pairs, weights = _faces(dense, affinities[channel], np.array(offset), small)
        keys, number = np.unique(pairs, return_inverse=True)
        totals = np.zeros(keys.size, dtype=np.int64)
        np.add.at(totals, number, weights)
        faces = np.bincount(number, minlength=keys.size)
        for key, total, count in zip(keys.tolist(), totals.tolist(), faces.tolist(), strict=True):
            a, b = divmod(key, small.size)
            known_total, known_faces = contacts.setdefault(a, {}).get(b, (0, 0))
            contact = (known_total + total, known_faces + count)
            contacts[a][b] = contacts.setdefault(b, {})[a] = contact
    return contacts


@njit(nogil=True, cache=True)
def _faces(
    dense: NDArray[np.uint64],
    affinity: NDArray[Any],
    offset: NDArray[np.int64],
    small: NDArray[np.bool_],
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the pair of ids (as one number) and the affinity at every face of a small segment."""
    depth, height, width = dense.shape
    dz, dy, dx = offset
    pairs = np.empty(0, dtype=np.int64)
    weights = np.empty(0, dtype=np.int64)
    found = 0
    for filling in (False, True):  # the first pass only counts
        if filling:
            pairs = np.empty(found, dtype=np.int64)
            weights = np.empty(found, dtype=np.int64)
            found = 0
        for z in range(max(0, -dz), depth - max(0, dz)):
            for y in range(max(0, -dy), height - max(0, dy)):
                for x in range(max(0, -dx), width - max(0, dx)):
                    a = np.int64(dense[z, y, x])
                    b = np.int64(dense[z + dz, y + dy, x + dx])
                    if a == b or a == 0 or b == 0 or not (small[a] or small[b]):
                        continue
                    if filling:
                        pairs[found] = min(a, b) * small.size + max(a, b)
                        weights[found] = affinity[z, y, x]
                    found += 1
    return pairs, weights
