"""What is labelled and in which blocks: settled before any work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from emds.errors import UsageError
from emds.geometry import Block, Roi, Triple, compact_block, grown_block
from emds.segmentation.affinities import AffinitySpec
from emds.segmentation.blockwise.scheme import BlockwiseScheme
from emds.segmentation.settings import LabelSettings

_EDGE_BYTES = 100  # of the residual graph, while it is solved


@dataclass(frozen=True, slots=True)
class LabelPlan:
    """What is labelled, and in which blocks.

    Attributes
    ----------
    settings : LabelSettings
        Label settings.
    scheme : BlockwiseScheme
        The blocks, in the coordinates in which mutex strides count.
    chunk_shape : (z, y, x)
        Of the labels, voxels; blocks consist of whole chunks.
    max_residual : int
        Maximum number of edges of the residual graph held in memory.
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

    def label_roi(self, number: int) -> Roi:
        """Return the box of the labels that a block writes."""
        return self.inside(self.blocks[number].write_roi)

    def described(self) -> dict[str, Any]:
        """Return what decides the labels, as JSON primitives."""
        return self.settings.described() | self.scheme.spec.to_dict()


def plan_labels(
    region: Roi,
    spec: AffinitySpec,
    settings: LabelSettings,
    *,
    chunk_shape: Triple,
    memory: int,
    block_shape: Triple | None = None,
    max_residual: int | None = None,
) -> LabelPlan:
    """Settle blocks, and refuse what cannot be labelled, before affinities are computed for it.

    Parameters
    ----------
    region : Roi
        What is labelled, in the coordinates in which mutex strides count.
    spec : AffinitySpec
        Offset of each affinity channel, and which channels attract.
    settings : LabelSettings
        Label settings.
    chunk_shape : (z, y, x)
        Chunk shape of the labels, voxels.
    memory : int
        Bytes to work with.
    block_shape : (z, y, x), optional
        Rounded up to whole chunks; default: by memory.
    max_residual : int, optional
        Maximum number of edges of the residual graph held in memory; default: by memory.

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
    if settings.link_sections is not None and not spec.planar:
        raise UsageError(
            "--link-sections is for models that take sections one by one; the offsets of this "
            "one leave the section, so ids continue through the volume anyway. Leave it out."
        )
    whole = chunk_shape[:1] + shape[1:] if spec.planar else shape
    in_one = settings.backend == "elf" and settings.stitch == "exact"
    asked = block_shape or (whole if in_one else None)
    most = int(memory / 2 / bytes_per_voxel(spec, chunk_shape[0]))
    if spec.planar or asked is not None:
        chosen = grown_block(chunk_shape, shape, most, asked)
    else:
        chosen = compact_block(chunk_shape, shape, most)
    scheme = BlockwiseScheme(spec, strides, region, chosen)
    if in_one and not scheme.independent:
        raise UsageError(
            f"--backend elf segments {whole} voxels in one piece, but --label-block-shape is "
            f"{chosen} (z, y, x). Leave it out, or use --backend numba or --stitch none."
        )
    return LabelPlan(settings, scheme, chunk_shape, max_residual or memory // _EDGE_BYTES)


def bytes_per_voxel(spec: AffinitySpec, depth: int) -> float:
    """Return what a voxel of a block takes at most.

    The watershed takes about ten bytes an edge, of a section at a time where no edge leaves it.
    """
    kernel, stored = 10 * spec.channels + 30, spec.channels + 24
    return kernel / depth + stored if spec.planar else kernel + stored
