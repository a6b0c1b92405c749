"""How affinities become labels: settled before any work; and the whole way in memory."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from math import prod
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from emds import numbers
from emds.errors import UsageError
from emds.geometry import Block, Roi, Triple
from emds.io.writable import clipped_chunks
from emds.memory import memory_limit
from emds.numbers import Checked
from emds.segmentation.affinities import AffinitySpec
from emds.segmentation.linking import check_threshold, link_sections
from emds.segmentation.mutex_watershed import check_arguments, cut
from emds.segmentation.scheme import BlockwiseScheme
from emds.segmentation.small_segments import absorb_small_segments, check_min_size
from emds.stages.plan import InferenceOptions, Stitch, grown_block

_OVERLAP = (4, 32, 32)


@dataclass(frozen=True, slots=True)
class LabelSettings(Checked):
    """How affinities become labels.

    Attributes
    ----------
    mutex_strides : (z, y, x)
        On which voxels mutex edges are used.
    min_size : int
        Segments smaller than this, in voxels, join a neighbour; 0 keeps all.
    backend : {"numba", "elf"}
        Of the mutex watershed.
    stitch : {"exact", "overlap", "none"}
        How blocks become one volume: ``exact`` has the result of the whole volume at once.
        ``overlap`` segments each block for itself and joins what covers the same voxels, an
        approximation for a residual graph that is too large. ``none`` leaves them apart.
    link_sections : float or None
        The least overlap at which segments of neighbouring sections are one, see
        `emds.segmentation.linking`; None leaves sections apart that no offset connects.
    """

    mutex_strides: numbers.SizeTriple = (1, 1, 1)
    min_size: numbers.Voxels = 0
    backend: Literal["numba", "elf"] = "numba"
    stitch: Stitch = "exact"
    link_sections: numbers.Overlap | None = None


@dataclass(frozen=True, slots=True)
class LabelPlan:
    """What is labelled, and in which blocks.

    Attributes
    ----------
    settings : LabelSettings
        How.
    scheme : BlockwiseScheme
        The blocks, in the coordinates in which mutex strides count.
    chunk_shape : (z, y, x)
        Of the labels, voxels; blocks consist of whole chunks.
    max_residual : int
        Edges of the residual graph that are solved at once; about 100 bytes each.
    """

    settings: LabelSettings
    scheme: BlockwiseScheme
    chunk_shape: Triple
    max_residual: int

    @property
    def independent(self) -> bool:
        """Whether the segments of a block are final."""
        return self.scheme.independent or self.settings.stitch == "none"

    @property
    def blocks(self) -> tuple[Block, ...]:
        """The blocks, in the order of their numbers."""
        return self.scheme.blocks

    def inside(self, roi: Roi) -> Roi:
        """Return a box of the scheme in the coordinates of the labels."""
        return roi.relative_to(self.scheme.volume.offset)

    def described(self) -> dict[str, Any]:
        """Return what decides the labels, as JSON primitives."""
        return asdict(self.settings) | self.scheme.spec.to_dict()


def plan_labels(
    region: Roi, spec: AffinitySpec, settings: LabelSettings, options: InferenceOptions
) -> LabelPlan:
    """Settle blocks, and refuse what cannot be labelled, before affinities are computed for it.

    Parameters
    ----------
    region : Roi
        What is labelled, in the coordinates in which mutex strides count.
    spec : AffinitySpec
        What the channels mean.
    settings : LabelSettings
        How.
    options : InferenceOptions
        Block shape and memory.

    Raises
    ------
    UsageError, DataError
        If the strides do not fit the offsets, or a block has too many edges.
    """
    shape, strides = region.shape, settings.mutex_strides
    if spec.planar and strides[0] != 1:
        raise UsageError(
            f"--mutex-strides {strides} must be 1 along z: no offset leaves the section, so a "
            "section that is skipped would have no mutex edge and fall into one segment."
        )
    check_min_size(settings.min_size)
    if settings.link_sections is not None:
        check_threshold(settings.link_sections)
        if not spec.planar:
            raise UsageError(
                "--link-sections is for models that take sections one by one; the offsets of this "
                "one leave the section, so ids continue through the volume anyway. Leave it out."
            )
    chunk_shape = clipped_chunks(None, shape)
    memory = memory_limit(options.max_memory)
    whole = chunk_shape[:1] + shape[1:] if spec.planar else shape
    in_one = settings.backend == "elf" and settings.stitch == "exact"
    asked = options.label_block_shape or (whole if in_one else None)
    most = int(memory / 2 / bytes_per_voxel(spec, chunk_shape[0]))
    if spec.planar or asked is not None:
        block_shape = grown_block(chunk_shape, shape, most, asked)
    else:
        block_shape = _compact_block(chunk_shape, shape, most)
    halo = _overlap(spec) if settings.stitch == "overlap" else (0, 0, 0)
    scheme = BlockwiseScheme(spec, strides, region, block_shape, halo)
    if settings.backend == "elf" and settings.stitch == "exact" and not scheme.independent:
        raise UsageError(
            f"--backend elf segments {whole} voxels in one piece, but --label-block-shape is "
            f"{block_shape} (z, y, x). Leave it out, or use --backend numba or --stitch overlap."
        )
    return LabelPlan(settings, scheme, chunk_shape, options.max_residual or memory // 100)


def _compact_block(chunk_shape: Triple, shape: Triple, most: int) -> Triple:
    """Return a block of whole chunks with little surface, where all that is open lies.

    Examples
    --------
    >>> _compact_block((16, 256, 256), (1000, 1000, 1000), 20_000_000)
    (304, 256, 256)
    """
    sizes = list(chunk_shape)
    while True:
        room = most - prod(sizes)
        axes = [
            axis
            for axis in range(3)
            if sizes[axis] < shape[axis] and prod(sizes) // sizes[axis] * chunk_shape[axis] <= room
        ]
        if not axes:
            return sizes[0], sizes[1], sizes[2]
        axis = min(axes, key=sizes.__getitem__)
        sizes[axis] += chunk_shape[axis]


def _overlap(spec: AffinitySpec) -> Triple:
    """Return how far blocks overlap that are stitched: far enough to see what is alike."""
    reach = (max(abs(offset[axis]) for offset in spec.offsets) for axis in range(3))
    z, y, x = (max(r, least) if r else 0 for r, least in zip(reach, _OVERLAP, strict=True))
    return z, y, x


def bytes_per_voxel(spec: AffinitySpec, depth: int) -> float:
    """Return what a voxel of a block takes at most.

    The watershed takes about ten bytes an edge, of a section at a time where no edge leaves it.
    """
    kernel, stored = 10 * spec.channels + 30, spec.channels + 24
    return kernel / depth + stored if spec.planar else kernel + stored


def label_affinities(
    values: NDArray[np.uint8],
    spec: AffinitySpec,
    settings: LabelSettings,
    *,
    mask: NDArray[np.bool_] | None = None,
    origin: Triple = (0, 0, 0),
) -> NDArray[np.uint64]:
    """Return the labels of a box of affinities, (C, Z, Y, X) to (Z, Y, X), in memory."""
    check_arguments(values, spec, settings.mutex_strides, mask)
    ids = cut(values, spec, settings.mutex_strides, mask, origin, settings.backend)
    if settings.min_size > 1:
        ids = absorb_small_segments(ids, values, spec, settings.min_size)
    if settings.link_sections is not None:
        ids = link_sections(ids, settings.link_sections)
    return ids
