"""Sections that were segmented one by one become a volume: segments that overlap are linked.

Two segments of neighbouring sections are one if each is the other's best match and they cover
much the same pixels. What decides is additive, the pixels that two segments share and their sizes,
so a volume can be done block by block: `section_overlaps_of_block` for each block,
`merge_overlaps`, `join_sections` once, and a look-up.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from emds.geometry import Block, Roi
from emds.segmentation.blockwise.blocks import values_on
from emds.segmentation.blockwise.scheme import BlockwiseScheme
from emds.segmentation.relabel import relabel_by_first_voxel
from emds.segmentation.watershed.union_find import smallest_members, unite


class SectionOverlaps(NamedTuple):
    """Which segments of a section and of the next one lie on each other.

    Attributes
    ----------
    before, after : (pairs,) int64
        The segment in a section, and that in the next.
    shared : (pairs,) int64
        Pixels that both cover.
    """

    before: NDArray[np.int64]
    after: NDArray[np.int64]
    shared: NDArray[np.int64]


def overlaps_of_sections(labels: NDArray[np.uint64], sources: Roi) -> SectionOverlaps:
    """Count the pixels that segments of neighbouring sections share.

    Parameters
    ----------
    labels : (Z, Y, X) uint64
        Ids; 0 is background.
    sources : Roi
        A box in the array: a pair of voxels counts where the first of them lies. Boxes that
        partition a volume see every pair once, if the arrays hold the second one, too.
    """
    _, rows, columns = sources.slices()
    found = []
    for z in range(sources.offset[0], min(sources.end[0], labels.shape[0] - 1)):
        before, after = (labels[at, rows, columns].ravel() for at in (z, z + 1))
        both = (before > 0) & (after > 0)
        if not both.any():
            continue
        ids, first = np.unique(before[both], return_inverse=True)
        next_ids, second = np.unique(after[both], return_inverse=True)
        pairs, shared = np.unique(first * next_ids.size + second, return_counts=True)
        first, second = np.divmod(pairs, next_ids.size)
        found.append(
            SectionOverlaps(ids[first].astype(np.int64), next_ids[second].astype(np.int64), shared)
        )
    return merge_overlaps(found)


def section_overlaps_of_block(
    fragments: NDArray[np.uint32],
    scheme: BlockwiseScheme,
    block: Block,
    segments: Callable[[int], NDArray[np.uint64]],
) -> SectionOverlaps:
    """Count what segments of neighbouring sections share, from the voxels of a block on.

    Parameters
    ----------
    fragments : (Z, Y, X) uint32
        Local ids on ``overlap_roi(scheme, block)``.
    scheme : BlockwiseScheme
        The scheme.
    block : Block
        One of its blocks.
    segments : callable
        From the number of a block to the (n + 1,) segments of its fragments.
    """
    read = overlap_roi(scheme, block)
    labels = values_on(segments, fragments, scheme, read)
    return overlaps_of_sections(labels, block.write_roi.relative_to(read.offset))


def overlap_roi(scheme: BlockwiseScheme, block: Block) -> Roi:
    """Return the box of a block with the section that follows it, if there is one."""
    z, y, x = block.write_roi.end
    return Roi.between(block.write_roi.offset, (z + 1, y, x)).intersect(scheme.volume)


def merge_overlaps(parts: Sequence[SectionOverlaps]) -> SectionOverlaps:
    """Add up the overlaps of several blocks or sections.

    Examples
    --------
    >>> part = SectionOverlaps(*np.array([[1, 1], [2, 3], [5, 1]]))
    >>> [column.tolist() for column in merge_overlaps([part, part])]
    [[1, 1], [2, 3], [10, 2]]
    """
    none = np.zeros(0, dtype=np.int64)
    before, after, shared = (
        np.concatenate([none, *columns])
        for columns in (zip(*parts, strict=True) if parts else [()] * 3)
    )
    order = np.lexsort((after, before))
    before, after, shared = before[order], after[order], shared[order]
    begins = np.flatnonzero(_is_new(before) | _is_new(after))
    if begins.size == 0:
        return SectionOverlaps(none, none, none)
    return SectionOverlaps(before[begins], after[begins], np.add.reduceat(shared, begins))


def join_sections(
    overlaps: SectionOverlaps, sizes: NDArray[np.int64], threshold: float
) -> NDArray[np.uint64]:
    """Decide which segments are one.

    The likeness of two segments is the pixels that they share over all that either covers. They
    are linked if it reaches the threshold and neither has a better match in the section of the
    other (the lower id is the better one among equals).

    Parameters
    ----------
    overlaps : SectionOverlaps
        Overlaps of the whole volume, every pair once.
    sizes : (n + 1,) int64
        Pixels of each segment; ids are dense, in order of first voxel.
    threshold : float
        Above 0, at most 1.

    Returns
    -------
    (n + 1,) uint64
        The new id of each id, again dense and in order of first voxel; 0 stays 0.

    Examples
    --------
    >>> overlaps = SectionOverlaps(*np.array([[1, 1, 2], [3, 4, 4], [2, 1, 1]]))
    >>> join_sections(overlaps, np.array([0, 3, 1, 2, 2]), 0.6).tolist()
    [0, 1, 2, 1, 3]
    """
    before, after, shared = overlaps
    likeness = shared / (sizes[before] + sizes[after] - shared)
    mutual = _is_best(before, after, likeness) & _is_best(after, before, likeness)
    linked = mutual & (likeness >= threshold)
    parents = np.arange(sizes.size)
    unite(parents, np.stack([before[linked], after[linked]], axis=1))
    roots = smallest_members(parents).astype(np.uint64)
    dense: NDArray[np.uint64] = relabel_by_first_voxel(roots[None, None])[0, 0]
    return dense


def _is_best(
    segments: NDArray[np.int64], partners: NDArray[np.int64], likeness: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Say for each pair whether its partner is the best that its segment has."""
    order = np.lexsort((partners, -likeness, segments))
    best = np.zeros(segments.size, dtype=np.bool_)
    best[order] = _is_new(segments[order])
    return best


def _is_new(values: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Say where a value differs from the one before."""
    new = np.ones(values.size, dtype=np.bool_)
    new[1:] = values[1:] != values[:-1]
    return new
