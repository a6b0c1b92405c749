"""The command estimate-noise: what noise a volume has, from the volume itself."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emds.errors import DataError, OutputExistsError, UsageError
from emds.files import refuse_inputs, write_text
from emds.geometry import Roi
from emds.io.volume import Volume
from emds.noise.correlation import section_correlation
from emds.noise.estimate import NoiseEstimate, estimate_from_patches
from emds.noise.grey_range import GreyRange, grey_range, join_ranges
from emds.noise.noise_plot import draw_noise_curve
from emds.noise.patches import Patches, join_patches, measure_patches
from emds.numbers import Count, Grey, Seed, checked
from emds.stages.noise_report import NoiseReport
from emds.stages.provenance import described_roi, provenance

DEFAULT_VOXELS = 2**25
_DEPTH = 16  # voxels of a block along z
_SIDE, _LEAST_SIDE = 64, 32  # along y and x
_ENOUGH_BLOCKS = 16
_LOOKED_AT = 16  # blocks that decide whether sections are alike
_ALIKE = 0.5


@checked
def estimate_noise(
    source: Volume,
    *,
    offset: Grey | None = None,
    roi: Roi | None = None,
    voxels: Count = DEFAULT_VOXELS,
    seed: Seed = 0,
    plot: str | Path | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> NoiseReport:
    """Estimate the Poisson–Gaussian noise of a volume, and how far it is correlated.

    Blocks are read one at a time; of a large volume, a random sample of them.

    Parameters
    ----------
    source : Volume
        Any type, no channels.
    offset : float, optional
        Grey level of zero electrons, e.g. of a frame with the beam off.
    roi : Roi, optional
        The part of `source` to look at.
    voxels : int
        Approximate number of voxels to read.
    seed : int
        Of the sample and the bootstrap; not negative.
    plot : str or Path, optional
        SVG file to write: variance over grey level, and the fit.
    overwrite : bool
        An existing plot may be replaced.
    progress : callable, optional
        Called with blocks done, blocks in all, and the name of the work.

    Returns
    -------
    NoiseReport
        The estimate, matching options of simulate-noise, and what a reader should know.

    Raises
    ------
    DataError
        If the source has channels, or too few voxels that are not constant.
    UsageError
        If an option is out of range.
    OutputExistsError
        If the plot exists and `overwrite` is false.

    Examples
    --------
    >>> from emds.io.volume import MemoryVolume
    >>> noise = np.random.default_rng(0).normal(120, 9, (16, 128, 128))
    >>> estimate_noise(MemoryVolume(np.rint(noise).astype(np.uint8))).options[:2]
    ('--type', 'gaussian')
    """
    region = roi or source.roi
    check_region(source, region)
    if plot is not None:
        _check_plot(Path(plot), source, overwrite)
    sampling, resampling = np.random.default_rng(seed).spawn(2)
    boxes = _sample_boxes(region, voxels, sampling)
    estimate, alike = estimate_from_boxes(
        source, boxes, offset=offset, rng=resampling, progress=progress
    )
    if plot is not None:
        write_text(Path(plot), draw_noise_curve(estimate, source.location))
    made = provenance("estimate-noise", source, **described_roi(region), seed=seed, voxels=voxels)
    return NoiseReport(estimate, str(source.dtype), alike, made)


def estimate_from_boxes(
    source: Volume,
    boxes: Sequence[Roi],
    *,
    offset: float | None = None,
    rng: np.random.Generator,
    progress: Callable[[int, int, str], None] | None = None,
) -> tuple[NoiseEstimate, float]:
    """Estimate the noise from these boxes of a volume, read one at a time.

    Parameters
    ----------
    source : Volume
        Any type, no channels.
    boxes : sequence of Roi
        At least one; neighbours in the sequence are near in the volume.
    offset, progress
        As in `estimate_noise`.
    rng : numpy.random.Generator
        For the bootstrap.

    Returns
    -------
    estimate : NoiseEstimate
        Estimate from all boxes together.
    alike : float
        Correlation of adjacent sections, coarsely seen.

    Raises
    ------
    DataError
        If there are too few voxels that are not constant.
    """
    chosen = boxes[:: -(-len(boxes) // _LOOKED_AT)]
    alike = section_correlation(source.read(box) for box in chosen)
    stack = min(box.shape[0] for box in boxes) >= 3 and alike >= _ALIKE
    tables: list[Patches] = []
    ranges: list[GreyRange] = []
    for index, box in enumerate(boxes):
        block = source.read(box)
        tables.append(measure_patches(block, stack=stack))
        ranges.append(grey_range(block))
        if progress:
            progress(index + 1, len(boxes), "estimate-noise")
    estimate = estimate_from_patches(
        join_patches(tables), join_ranges(ranges), stack=stack, offset=offset, rng=rng
    )
    return estimate, alike


def check_region(source: Volume, region: Roi) -> None:
    """Refuse a region that noise cannot be estimated on."""
    if source.channels is not None:
        raise DataError(
            f"{source.location} has {source.channels} channels; noise is estimated on a "
            "(z, y, x) image. Name or extract one channel."
        )
    if not source.roi.contains(region) or region.size == 0:
        raise UsageError(
            f"the region from {region.offset} to {region.end} must be a non-empty box inside "
            f"{source.location} of shape {source.shape} (z, y, x)."
        )


def _check_plot(path: Path, source: Volume, overwrite: bool) -> None:
    if path.suffix.lower() != ".svg":
        raise UsageError(f"the plot is an SVG file, so its name must end in .svg, not {path}.")
    refuse_inputs(path)
    if path.exists() and not overwrite:
        raise OutputExistsError(f"{path} exists. Choose another --plot, or add --overwrite.")


def _sample_boxes(region: Roi, voxels: int, rng: np.random.Generator) -> list[Roi]:
    """Divide a region into about equal blocks and return some, in order, each grown by a voxel."""
    side = _SIDE
    counts = _blocks_along(region, side)
    while math.prod(counts) < _ENOUGH_BLOCKS and side > _LEAST_SIDE:
        side //= 2
        counts = _blocks_along(region, side)
    blocks = math.prod(counts)
    wanted = min(blocks, max(1, voxels * blocks // region.size))
    chosen = np.sort(rng.choice(blocks, wanted, replace=False, shuffle=False))
    return [_box(region, counts, place) for place in _places(chosen, counts)]


def _blocks_along(region: Roi, side: int) -> tuple[int, int, int]:
    depth, height, width = region.shape
    return -(-depth // _DEPTH), -(-height // side), -(-width // side)


def _places(chosen: NDArray[np.int64], counts: tuple[int, int, int]) -> Iterator[tuple[int, ...]]:
    for z, y, x in zip(*np.unravel_index(chosen, counts), strict=True):
        yield int(z), int(y), int(x)


def _box(region: Roi, counts: tuple[int, int, int], place: tuple[int, ...]) -> Roi:
    parts = list(zip(region.shape, counts, place, strict=True))
    begin, end = ([size * (at + more) // n for size, n, at in parts] for more in (0, 1))
    inner = Roi.between((begin[0], begin[1], begin[2]), (end[0], end[1], end[2]))
    return inner.grow((1, 1, 1)).intersect(Roi.whole(region.shape)).shift(region.offset)
