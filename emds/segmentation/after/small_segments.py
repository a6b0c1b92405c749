"""Small segments join the neighbour they most likely belong to.

What decides is additive: the sizes of the segments, and for each pair that touches, the sum of the
affinities over its faces and how many faces there are. So a volume can be done block by block:
`contacts_in` for each block, `merge_contacts`, `join_small_segments` once, and a look-up.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from emds.errors import DataError, UsageError
from emds.geometry import Block, Roi
from emds.kernels import njit
from emds.segmentation.affinities import AffinitySpec
from emds.segmentation.blockwise.blocks import values_on
from emds.segmentation.blockwise.scheme import BlockwiseScheme
from emds.segmentation.relabel import relabel_by_first_voxel
from emds.segmentation.watershed.union_find import roots_of, unite

_CONTACTS_AT_ONCE = 2**17

Contact = tuple[int, int]
"""Sum of the affinities over the faces of two segments, and how many faces."""


class Contacts(NamedTuple):
    """Where segments touch.

    Attributes
    ----------
    lower, upper : (pairs,) int64
        The two segments, the smaller id first; ascending, every pair once.
    totals : (pairs,) int64
        Sum of the affinities over their faces.
    faces : (pairs,) int64
        Number of faces.
    """

    lower: NDArray[np.int64]
    upper: NDArray[np.int64]
    totals: NDArray[np.int64]
    faces: NDArray[np.int64]


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
    small = small_segments(sizes, min_size)
    if not small.any():
        return dense
    contacts = contacts_in(dense, affinities, spec, small, Roi.whole(dense.shape))
    joined: NDArray[np.uint64] = join_small_segments(contacts, sizes, min_size)[dense]
    return joined


def small_segments(sizes: NDArray[np.int64], min_size: int) -> NDArray[np.bool_]:
    """Return which segments are too small; `sizes` counts the voxels of each id from 0."""
    small = sizes < min_size
    small[0] = False
    return small


def contacts_in(
    labels: NDArray[np.uint64],
    affinities: NDArray[np.uint8] | NDArray[np.uint16],
    spec: AffinitySpec,
    small: NDArray[np.bool_],
    sources: Roi,
) -> Contacts:
    """Measure where small segments touch others.

    Parameters
    ----------
    labels : (Z, Y, X) uint64
        Dense ids; 0 is background.
    affinities : (C, Z, Y, X) uint8 or uint16
        1 = same.
    spec : AffinitySpec
        What the channels mean. The attractive edges are the faces.
    small : (n + 1,) bool
        Which ids are small.
    sources : Roi
        A box in the arrays: faces count where their source voxel lies. Boxes that partition a
        volume see every face once, if the arrays hold the partners, too.

    Examples
    --------
    >>> labels = np.array([[[1, 1, 2, 3, 3]]], dtype=np.uint64)
    >>> affinities = np.array([[[[255, 90, 60, 255, 0]]]], dtype=np.uint8)
    >>> small = np.array([False, False, True, False])
    >>> spec = AffinitySpec(((0, 0, 1),), (True,))
    >>> contacts = contacts_in(labels, affinities, spec, small, Roi.whole((1, 1, 5)))
    >>> [column.tolist() for column in contacts]
    [[1, 2], [2, 3], [90, 60], [1, 1]]
    """
    found = []
    if small.any():
        for channel, offset in enumerate(spec.offsets):
            if spec.attractive[channel]:
                box = np.array([sources.offset, sources.end])
                faces = _faces(labels, affinities[channel], np.array(offset), small, box)
                ones = np.ones(faces[0].size, dtype=np.int64)
                found.append(merge_contacts([Contacts(*faces, ones)]))
    return merge_contacts(found)


def contacts_of_block(
    affinities: NDArray[np.uint8] | NDArray[np.uint16],
    fragments: NDArray[np.uint32],
    scheme: BlockwiseScheme,
    block: Block,
    segments: Callable[[int], NDArray[np.uint64]],
    small: NDArray[np.bool_],
) -> Contacts:
    """Measure where small segments touch others, for faces whose source voxel lies in a block.

    Parameters
    ----------
    affinities : (C, Z, Y, X) uint8 or uint16
        Of ``scheme.seen_by(block)``.
    fragments : (Z, Y, X) uint32
        Local ids on the same box.
    scheme : BlockwiseScheme
        The scheme.
    block : Block
        One of its blocks.
    segments : callable
        From the number of a block to the (n + 1,) segments of its fragments.
    small : (n + 1,) bool
        Which segments are small.
    """
    read = scheme.seen_by(block)
    labels = values_on(segments, fragments, scheme, read)
    sources = block.write_roi.relative_to(read.offset)
    return contacts_in(labels, affinities, scheme.spec, small, sources)


def merge_contacts(parts: Sequence[Contacts]) -> Contacts:
    """Add up the contacts of several blocks."""
    none = np.zeros(0, dtype=np.int64)
    lower, upper, totals, faces = (
        np.concatenate([none, *columns])
        for columns in (zip(*parts, strict=True) if parts else [()] * 4)
    )
    order = np.lexsort((upper, lower))
    lower, upper = lower[order], upper[order]
    first = np.ones(order.size, dtype=np.bool_)
    first[1:] = (lower[1:] != lower[:-1]) | (upper[1:] != upper[:-1])
    begins = np.flatnonzero(first)
    if begins.size == 0:
        return Contacts(none, none, none, none)
    return Contacts(
        lower[begins],
        upper[begins],
        np.add.reduceat(totals[order], begins),
        np.add.reduceat(faces[order], begins),
    )


def join_small_segments(
    contacts: Contacts, sizes: NDArray[np.int64], min_size: int
) -> NDArray[np.uint64]:
    """Decide whom small segments join.

    Parameters
    ----------
    contacts : Contacts
        Of all segments below `min_size`, with everybody.
    sizes : (n + 1,) int64
        Voxels of each segment; ids are dense, in order of first voxel.
    min_size : int
        As in `absorb_small_segments`.

    Returns
    -------
    (n + 1,) uint64
        The new id of each id, again dense and in order of first voxel; 0 stays 0.

    Examples
    --------
    >>> contacts = Contacts(*np.array([[1, 2], [2, 3], [90, 60], [1, 1]]))
    >>> join_small_segments(contacts, np.array([0, 2, 1, 2]), 2).tolist()
    [0, 1, 1, 2]
    """
    heirs = np.arange(sizes.size)
    for part in _independent_parts(contacts, small_segments(sizes, min_size)):
        neighbours: dict[int, dict[int, Contact]] = {}
        for a, b, total, faces in zip(*(column.tolist() for column in part), strict=True):
            neighbours.setdefault(a, {})[b] = neighbours.setdefault(b, {})[a] = (total, faces)
        for segment, best in _smallest_first(neighbours, sizes, min_size):
            heirs[segment] = best
    joined = roots_of(heirs).astype(np.uint64)
    dense: NDArray[np.uint64] = relabel_by_first_voxel(joined[None, None])[0, 0]
    return dense


def _independent_parts(contacts: Contacts, small: NDArray[np.bool_]) -> Iterator[Contacts]:
    """Cut contacts into parts that may be dealt with one after the other.

    Small segments that a chain of small segments connects are in one part. Whom others join makes
    no difference to them, as a large segment never joins anybody.
    """
    parents = np.arange(small.size)
    both = small[contacts.lower] & small[contacts.upper]
    unite(parents, np.stack([contacts.lower[both], contacts.upper[both]], axis=1))
    chains = roots_of(parents)[np.where(small[contacts.lower], contacts.lower, contacts.upper)]
    order = np.argsort(chains, kind="stable")
    chains = chains[order]
    begin = 0
    while begin < order.size:
        last = chains[min(begin + _CONTACTS_AT_ONCE, order.size) - 1]
        end = int(np.searchsorted(chains, last, side="right"))
        yield Contacts(*(column[order[begin:end]] for column in contacts))
        begin = end


def _smallest_first(
    contacts: dict[int, dict[int, Contact]], sizes: NDArray[np.int64], min_size: int
) -> list[tuple[int, int]]:
    """Return who joins whom, in order; `contacts` are used up."""
    size = {segment: int(sizes[segment]) for segment in contacts}
    queue = [(voxels, segment) for segment, voxels in size.items() if voxels < min_size]
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
    return order


def _preference(neighbours: dict[int, Contact], other: int) -> tuple[float, int]:
    total, faces = neighbours[other]
    return -total / faces, other


@njit()
def _faces(
    labels: NDArray[np.uint64],
    affinity: NDArray[Any],
    offset: NDArray[np.int64],
    small: NDArray[np.bool_],
    box: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Return both ids, the lower first, and the affinity at every face of a small segment."""
    begin = np.maximum(box[0], -offset)
    end = np.minimum(box[1], np.array(labels.shape) - offset)
    dz, dy, dx = offset
    lower = np.empty(0, dtype=np.int64)
    upper = np.empty(0, dtype=np.int64)
    weights = np.empty(0, dtype=np.int64)
    found = 0
    for filling in (False, True):  # the first pass only counts
        if filling:
            lower = np.empty(found, dtype=np.int64)
            upper = np.empty(found, dtype=np.int64)
            weights = np.empty(found, dtype=np.int64)
            found = 0
        for z in range(begin[0], end[0]):
            for y in range(begin[1], end[1]):
                for x in range(begin[2], end[2]):
                    a = np.int64(labels[z, y, x])
                    b = np.int64(labels[z + dz, y + dy, x + dx])
                    if a == b or a == 0 or b == 0 or not (small[a] or small[b]):
                        continue
                    if filling:
                        lower[found], upper[found] = min(a, b), max(a, b)
                        weights[found] = affinity[z, y, x]
                    found += 1
    return lower, upper, weights
