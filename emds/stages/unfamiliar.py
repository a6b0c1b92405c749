"""Warnings that a volume is unlike what its checkpoint was trained on."""

from __future__ import annotations

import logging
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from emds.errors import DataError
from emds.geometry import Roi
from emds.io import Volume
from emds.io.volume import Nanometres
from emds.networks.intensity import Intensity
from emds.stages.estimate_noise import estimate_from_boxes
from emds.stages.job import Job
from emds.stages.seen_noise import FoundNoise, seen_noises

if TYPE_CHECKING:
    from emds.networks.checkpoint import Checkpoint

logger = logging.getLogger("emds")

_SEED = 0
_BOX = (6, 66, 66)  # voxels, of which the outermost only serve differences
_MOST_BOXES = 12
_MOST_BYTES = 2**28  # of the chunks that are read; more would take seconds


def warn_if_unfamiliar(job: Job) -> None:
    """Warn of a voxel size or a noise that is far from what the model of a job saw in training.

    The noise is estimated from a few small boxes; where they do not tell, nothing is said.
    """
    if job.model is None:
        return
    checkpoint = job.model.checkpoint
    _compare_voxel_size(job.voxel_size, checkpoint)
    _compare_noise(job.source, job.region, checkpoint, job.model.plan.intensity)


def _compare_voxel_size(voxel_size: Nanometres | None, checkpoint: Checkpoint) -> None:
    trained = checkpoint.voxel_size
    if trained is None or voxel_size is None:
        return
    if any(not 0.8 < a / b < 1.25 for a, b in zip(voxel_size[1:], trained[1:], strict=True)):
        logger.warning(
            "voxel size %s nm is far from the %s nm (z, y, x) the checkpoint was trained on; "
            "expect poor results, or resample the volume",
            voxel_size,
            trained,
        )


def _compare_noise(
    source: Volume, region: Roi, checkpoint: Checkpoint, intensity: Intensity
) -> None:
    boxes = _cheap_boxes(source, region)
    if not boxes or not checkpoint.noise:
        return
    try:
        estimate, _ = estimate_from_boxes(source, boxes, rng=np.random.default_rng(_SEED))
    except DataError:
        return  # too few voxels that are not constant
    found = FoundNoise.of(estimate, intensity)
    seen = seen_noises(checkpoint, found.grey)
    if seen and not any(noise.covers(found) for noise in seen):
        logger.warning(
            "the noise of %s has %s, as estimated from a sample; that is far from what the "
            "checkpoint was trained on (standard deviation, grey levels: %s). Expect poor results, "
            "or fit the checkpoint to this volume with `emds adapt`, or train one for such noise "
            "with `emds train`",
            source.location,
            found,
            "; ".join(map(str, seen)),
        )


def _cheap_boxes(source: Volume, region: Roi) -> list[Roi]:
    """Return a few small boxes of a region, as many as are read in no time."""
    z, y, x = (min(side, n) for side, n in zip(_BOX, region.shape, strict=True))
    shape = (z, y, x)
    rng = np.random.default_rng(_SEED)
    boxes: list[Roi] = []
    left = _MOST_BYTES
    for _ in range(_MOST_BOXES):
        corner = [
            int(rng.integers(begin, end - n + 1))
            for begin, end, n in zip(region.offset, region.end, shape, strict=True)
        ]
        box = Roi((corner[0], corner[1], corner[2]), shape)
        left -= _bytes_read(source, box)
        if left < 0:
            break
        boxes.append(box)
    return sorted(boxes, key=lambda box: box.offset)


def _bytes_read(source: Volume, box: Roi) -> int:
    """Return the size of the chunks that a box meets, uncompressed."""
    chunks = [
        (end - 1) // chunk - begin // chunk + 1
        for begin, end, chunk in zip(box.offset, box.end, source.chunk_shape, strict=True)
    ]
    return prod(chunks) * prod(source.chunk_shape) * source.dtype.itemsize
