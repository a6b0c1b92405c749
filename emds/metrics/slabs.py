"""In which boxes two volumes are read side by side, whatever their size and chunks."""

from __future__ import annotations

from collections.abc import Iterator

from emds.geometry import Block, Roi, Triple, iter_blocks
from emds.io.volume import Volume

SLAB_BYTES = 32 * 2**20


def iter_slabs(
    *volumes: Volume, whole_sections: bool = False, slab_bytes: int = SLAB_BYTES
) -> Iterator[Block]:
    """Cover volumes of one shape with slabs of full width, in the order of their voxels.

    Parameters
    ----------
    *volumes : Volume
        Read together, so that their slabs share `slab_bytes`.
    whole_sections : bool
        Never cut a section into strips, even where it is larger than `slab_bytes`.
    slab_bytes : int
        Maximum bytes of a slab of all volumes.
    """
    shape = volumes[0].shape
    depth, height, _ = (
        max(min(volume.chunk_shape[axis], shape[axis]) for volume in volumes) for axis in range(3)
    )
    voxel_bytes = sum(volume.dtype.itemsize for volume in volumes)
    slab = slab_shape(
        shape, (depth, shape[1] if whole_sections else height), voxel_bytes, slab_bytes
    )
    return iter_blocks(Roi.whole(shape), slab)


def slab_shape(
    shape: Triple, chunk: tuple[int, int], voxel_bytes: int, slab_bytes: int = SLAB_BYTES
) -> Triple:
    """Choose the shape of a slab: whole chunks as long as they fit, and always full width.

    Parameters
    ----------
    shape : (Z, Y, X)
        Shape of the volume.
    chunk : (z, y)
        Depth and height of a chunk, at most those of the volume.
    voxel_bytes : int
        Bytes that a voxel takes.
    slab_bytes : int
        What a slab may take; exceeded only by a single row of chunks, one section deep.

    Examples
    --------
    >>> slab_shape((125, 1250, 1250), (1, 1250), voxel_bytes=16, slab_bytes=2**26)
    (2, 1250, 1250)
    >>> slab_shape((125, 1250, 1250), (16, 64), voxel_bytes=16, slab_bytes=2**26)
    (16, 192, 1250)
    >>> slab_shape((125, 1250, 1250), (125, 1250), voxel_bytes=16, slab_bytes=2**26)
    (2, 1250, 1250)
    """
    depth, height = chunk
    row_bytes = shape[2] * voxel_bytes
    if depth * shape[1] * row_bytes <= slab_bytes:
        layers = slab_bytes // (depth * shape[1] * row_bytes)
        return min(layers * depth, shape[0]), shape[1], shape[2]
    rows = slab_bytes // (depth * row_bytes) // height * height
    if rows:
        return depth, rows, shape[2]
    return max(1, slab_bytes // (height * row_bytes)), height, shape[2]
