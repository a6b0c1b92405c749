"""The command simulate-noise: a clean volume in, the same volume with noise out."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emds.errors import DataError, UsageError
from emds.geometry import Roi, Triple, iter_blocks
from emds.io import create_volume
from emds.io.location import parse_location
from emds.io.volume import CroppedVolume, Volume
from emds.noise import NoiseModel, add_noise, check_grey_levels
from emds.numbers import Seed, Threads, checked
from emds.stages.provenance import described_roi, provenance

_BLOCK_VOXELS = 2**26


@checked
def simulate_noise(
    source: Volume,
    model: NoiseModel,
    *,
    out: str | Path | None = None,
    seed: Seed = 0,
    roi: Roi | None = None,
    threads: Threads = 1,
    overwrite: bool = False,
    progress: Callable[[int, int, str], None] | None = None,
) -> str:
    """Write a noisy copy of a volume, block by block.

    The noise of a voxel is fixed by model, seed and position in `source`: neither `roi` nor the
    number of threads nor the format of the output changes it. The model, the seed and the
    parameters drawn for each section are stored in the attributes of the output.

    Parameters
    ----------
    source : Volume
        uint8, no channels.
    model : NoiseModel
        From `emds.noise.make_noise_model`.
    out : str or Path, optional
        What `emds.io.create_volume` takes; default `default_output`.
    seed : int
        Not negative.
    roi : Roi, optional
        The part of `source` to write, in its voxels.
    threads : int
        How many blocks are worked on at once, while others are read and written.
    overwrite : bool
        An existing output may be replaced.
    progress : callable, optional
        Called with blocks done, blocks in all, and the name of the work.

    Returns
    -------
    str
        Where the noisy volume is.

    Raises
    ------
    DataError
        If the source is not uint8, or has channels.
    UsageError
        If the seed, `roi` or `threads` is out of range.
    OutputExistsError
        If the output exists and `overwrite` is false.
    """
    check_grey_levels(source.dtype, source.location)
    if source.channels is not None:
        raise DataError(
            f"{source.location} has {source.channels} channels; noise is simulated on a "
            "(z, y, x) image. Name or extract one channel."
        )
    region = roi or source.roi
    if not source.roi.contains(region) or region.size == 0:
        raise UsageError(
            f"the region from {region.offset} to {region.end} must be a non-empty box inside "
            f"{source.location} of shape {source.shape} (z, y, x)."
        )
    cropped = CroppedVolume(source, region)
    target_location = str(out) if out is not None else default_output(source.location)

    def noisy(box: Roi, clean: NDArray[np.uint8]) -> NDArray[np.uint8]:
        origin = box.shift(region.offset).offset
        section_shape = (source.shape[1], source.shape[2])
        return add_noise(clean, model, seed=seed, origin=origin, section_shape=section_shape)

    with create_volume(
        target_location,
        shape=cropped.shape,
        dtype=np.uint8,
        voxel_size=cropped.voxel_size,
        offset=cropped.offset,
        attributes=_provenance(source, model, seed, region),
        overwrite=overwrite,
    ) as target:
        shape = _block_shape(target)
        blocks = [block.write_roi for block in iter_blocks(target.roi, shape)]
        waiting: deque[tuple[Roi, Future[NDArray[np.uint8]]]] = deque()
        written = 0

        def write_oldest() -> None:
            nonlocal written
            box, future = waiting.popleft()
            target.write(box, future.result())
            written += 1
            if progress:
                progress(written, len(blocks), "simulate-noise")

        with ThreadPoolExecutor(threads, thread_name_prefix="noise") as pool:
            for box in blocks:
                if len(waiting) > threads:
                    write_oldest()
                waiting.append((box, pool.submit(noisy, box, cropped.read(box))))
            while waiting:
                write_oldest()
    return target_location


def default_output(location: str) -> str:
    """Return ``raw_noisy.zarr`` beside the file or folder of a volume.

    Parameters
    ----------
    location : str
        An existing volume, perhaps with a key: ``scan.ome.tif``, ``raw.h5:volumes/raw``, or a
        folder of slices.

    Raises
    ------
    VolumeError
        If nothing is there, so that there is no place beside it.
    """
    path = parse_location(location).path
    if path.name in ("", ".."):
        path = path.resolve()
    stem = path.name if path.is_dir() and path.suffix != ".zarr" else path.stem
    return str(path.with_name(f"{stem.removesuffix('.ome')}_noisy.zarr"))


def _block_shape(target: Volume) -> Triple:
    """Return one layer of whole chunks: entire sections, or bands or parts of too large ones."""
    depth, height, width = target.chunk_shape
    _, _, whole_width = target.shape
    if depth * height * whole_width <= _BLOCK_VOXELS:
        bands = _BLOCK_VOXELS // (depth * height * whole_width)
        return depth, bands * height, whole_width
    return depth, height, max(1, _BLOCK_VOXELS // (depth * height * width)) * width


def _provenance(source: Volume, model: NoiseModel, seed: int, region: Roi) -> dict[str, Any]:
    sections = range(region.offset[0], region.end[0])
    drawn = [model.draw(seed, z) for z in sections]
    columns = {name: [values[name] for values in drawn] for name in model.drawn}
    return provenance(
        "simulate-noise",
        source,
        **described_roi(region),
        seed=seed,
        noise=model.to_dict(),
        drawn={"section": list(sections), **columns},
    )
