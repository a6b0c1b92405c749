"""From options to a plan of inference: tiles, blocks, intensities, decided before any work."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from emds import numbers
from emds.errors import DataError, UsageError
from emds.geometry import Block, Roi, Triple, grown_block, iter_blocks
from emds.io.volume import Nanometres, Volume
from emds.memory import room_for_data
from emds.networks.intensity import Intensity
from emds.numbers import Checked
from emds.segmentation.settings import Backend, LabellerName, LabelSettings, Stitch
from emds.stages.grey_values import PERCENTILES, auto_range
from emds.stages.provenance import described_roi
from emds.tiling.grid import TileGrid

if TYPE_CHECKING:
    from emds.networks.checkpoint import Checkpoint

_BLOCK_BYTES = 2**28
_CHUNK = (16, 256, 256)


@dataclass(frozen=True, slots=True)
class InferenceOptions(Checked):
    """What a user may choose; None lets emds decide.

    Attributes
    ----------
    roi : Roi or None
        Part of the source to process, in its voxels.
    tile, overlap : (z, y, x) or None
        What the network sees at once, and what neighbouring tiles share, voxels.
    chunk_shape : (z, y, x) or None
        Of the image and the affinities on disk, voxels.
    block_shape : (z, y, x) or None
        Unit of work; rounded up to whole chunks of the output. Does not change the result.
    batch_size : int or None
        Tiles per call of the network.
    device, precision : str
        Device and arithmetic.
    voxel_size : (z, y, x) or None
        Nanometres; overrides what the source says.
    intensity : (low, high), "auto" or None
        Grey values of the source that correspond to 0 and 255 in the training images, or ``auto``
        to take them from a sample of it; needed unless the source is uint8.
    image : {"fused", "coarse"}
        Which image to write, where the model has both.
    tta : bool
        Predict every tile under the eight symmetries of its plane, of the stack all sixteen where
        the network sees several sections, and average.
    uncertainty : bool
        Also write the standard deviation of the image over those symmetries; needs `tta`.
    labeller : str
        The way from affinities to segments; see `emds.segmentation.settings.LABELLERS`.
    backend : {"numba", "elf"}
        Implementation of the mutex watershed.
    stitch : {"exact", "none"}
        How blocks of labels become one volume; see `emds.segmentation.settings.LabelSettings`.
    mutex_strides : (z, y, x) or None
        On which voxels mutex edges are used; default: the checkpoint's.
    min_size : int or None
        Segments smaller than this, in voxels, join a neighbour; default: the checkpoint's.
    link_sections : float or None
        The least overlap at which segments of neighbouring sections are one; for models that take
        sections one by one.
    label_block_shape : (z, y, x) or None
        Unit of work of the mutex watershed; rounded up to whole chunks. Does not change the
        result.
    max_memory : int or None
        Bytes that all processes may use together, about, but for the network; default: a quarter
        of the RAM.
    max_residual : int or None
        Maximum number of inter-block edges held in memory; larger graphs are solved in groups.
        Does not change the result. Default: by `max_memory`.
    """

    roi: Roi | None = None
    tile: numbers.TileTriple | None = None
    overlap: numbers.MarginTriple | None = None
    chunk_shape: numbers.SizeTriple | None = None
    block_shape: numbers.SizeTriple | None = None
    batch_size: numbers.BatchSize | None = None
    device: str = "auto"
    precision: Literal["fp32", "bf16"] = "fp32"
    voxel_size: numbers.VoxelSize | None = None
    intensity: numbers.Intensity | None = None
    image: Literal["fused", "coarse"] = "fused"
    tta: bool = False
    uncertainty: bool = False
    labeller: LabellerName = "mutex-watershed"
    backend: Backend = "numba"
    stitch: Stitch = "exact"
    mutex_strides: numbers.SizeTriple | None = None
    min_size: numbers.Voxels | None = None
    link_sections: numbers.Overlap | None = None
    label_block_shape: numbers.SizeTriple | None = None
    max_memory: numbers.Bytes | None = None
    max_residual: numbers.Count | None = None

    def label_settings(self, proposed: LabelSettings) -> LabelSettings:
        """Return how labels are made: as the user chose, else as the model proposes."""
        return LabelSettings(
            mutex_strides=self.mutex_strides or proposed.mutex_strides,
            min_size=proposed.min_size if self.min_size is None else self.min_size,
            bias=proposed.bias,
            backend=self.backend,
            stitch=self.stitch,
            link_sections=self.link_sections,
            labeller=self.labeller,
        )


@dataclass(frozen=True, slots=True)
class InferencePlan:
    """Where the tiles lie and how grey values are read; see `plan_inference`."""

    roi: Roi
    grid: TileGrid
    intensity: Intensity
    voxel_size: Nanometres | None
    offset: Nanometres
    batch_size: int
    chunk_shape: Triple
    block_shape: Triple
    percentiles: tuple[float, float] | None

    def blocks(self) -> list[Block]:
        """Cut the region into blocks of whole output chunks, in the source's coordinates."""
        return [
            Block(b.index, *(box.shift(self.roi.offset) for box in (b.read_roi, b.write_roi)))
            for b in iter_blocks(Roi.whole(self.roi.shape), self.block_shape)
        ]

    def tiles_of(self, blocks: list[Block]) -> Iterator[int]:
        """Yield the number of tiles each block computes."""
        for block in blocks:
            yield len(self.grid.tiles_meeting(block.write_roi))

    def described(self) -> dict[str, Any]:
        """Return what decides the output, as JSON primitives."""
        return {
            **described_roi(self.roi),
            "tile": list(self.grid.tile),
            "overlap": list(self.grid.overlap),
            "batch_size": self.batch_size,
            "intensity": [self.intensity.low, self.intensity.high],
            **({"intensity_percentiles": list(self.percentiles)} if self.percentiles else {}),
        }


def plan_inference(
    source: Volume, checkpoint: Checkpoint, options: InferenceOptions, device: str, channels: int
) -> InferencePlan:
    """Settle what the options leave open, and refuse what cannot work.

    Chunks are so thin that a layer of whole sections fits in memory, if it can: then blocks are
    slabs, and no tile is computed twice.

    Parameters
    ----------
    source : Volume
        Grey values.
    checkpoint : Checkpoint
        The model.
    options : InferenceOptions
        Options of the user.
    device : str
        Its type, such as ``cpu``.
    channels : int
        Values per voxel that the network returns.

    Raises
    ------
    DataError
        If the source's grey values cannot be interpreted.
    UsageError
        If tile and overlap do not fit the network.
    """
    if source.channels is not None:
        raise DataError(
            f"{source.location} has {source.channels} channels; expected a grey-value volume "
            "(z, y, x). Name one with --key."
        )
    tile = options.tile or (1, 2 * checkpoint.crop, 2 * checkpoint.crop)
    if tile[0] != 1 or any(n % numbers.STRIDE for n in tile[1:]):
        raise UsageError(
            f"--tile {tile} must be 1 section deep and a multiple of {numbers.STRIDE} in y and x "
            "(z, y, x): a network predicts section by section and halves them three times."
        )
    overlap = options.overlap or (0, tile[1] // 4, tile[2] // 4)
    roi = options.roi or source.roi
    if not source.roi.contains(roi) or roi.size == 0:
        raise UsageError(
            f"the region from {roi.offset} to {roi.end} must be a non-empty box inside "
            f"{source.location} of shape {source.shape} (z, y, x)."
        )
    if checkpoint.architecture["iem_mode"] == "released" and options.batch_size != 1:
        raise UsageError(
            "this model's attention mixes the tiles of a batch (iem_mode=released), so its output "
            "depends on how they are grouped. Give --batch-size 1."
        )
    voxel_size = options.voxel_size or source.voxel_size
    # A block being read, one computed (values, weights) and one written (values, their type).
    most = min(_BLOCK_BYTES, room_for_data(options.max_memory) // 8) // (4 * channels)
    depth = max(1, min(_CHUNK[0], most // (roi.shape[1] * roi.shape[2])))
    chunk_shape = options.chunk_shape or (depth, *_CHUNK[1:])
    step = voxel_size or (1.0, 1.0, 1.0)
    z, y, x = (o + n * s for o, n, s in zip(source.offset, roi.offset, step, strict=True))
    return InferencePlan(
        roi=roi,
        grid=TileGrid(source.shape, tile, overlap),
        intensity=grey_scale(source, checkpoint, options.intensity, roi),
        voxel_size=voxel_size,
        offset=(z, y, x),
        batch_size=options.batch_size or (4 if device == "cpu" else 16),
        chunk_shape=chunk_shape,
        block_shape=grown_block(chunk_shape, roi.shape, most, options.block_shape, (2, 1)),
        percentiles=PERCENTILES if options.intensity == "auto" else None,
    )


def grey_scale(
    source: Volume,
    checkpoint: Checkpoint,
    asked: tuple[float, float] | Literal["auto"] | None,
    region: Roi,
) -> Intensity:
    """Return the grey values of a source that the network sees as -1 and +1.

    Parameters
    ----------
    source : Volume
        Grey values.
    checkpoint : Checkpoint
        The model.
    asked : (low, high), "auto" or None
        Grey values of the source that correspond to 0 and 255 of an 8-bit image.
    region : Roi
        The part of the source that ``auto`` looks at.

    Raises
    ------
    DataError
        If there is none and the source is not uint8, or ``auto`` finds none.
    """
    if asked is not None:
        low, high = auto_range(source, region) if asked == "auto" else asked
        # The user names what corresponds to 0 and 255; the checkpoint says where those map to.
        scale = (high - low) / 255
        trained = checkpoint.intensity
        return Intensity(low=low + trained.low * scale, high=low + trained.high * scale)
    if source.dtype == np.uint8:
        return checkpoint.intensity
    raise DataError(
        f"{source.location} is {source.dtype}; the model was trained on uint8. Give --intensity "
        "LOW HIGH, the grey values that correspond to 0 and 255 of an 8-bit image of it, or "
        "--intensity auto."
    )
