"""Warnings that a volume is unlike what its checkpoint was trained on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

import numpy as np

from emds.errors import DataError
from emds.geometry import Roi
from emds.io import Volume
from emds.io.volume import Nanometres
from emds.networks.intensity import Intensity
from emds.stages.estimate_noise import estimate_from_boxes
from emds.stages.grey_values import sample_boxes, warn_of_misfit
from emds.stages.job import Job
from emds.stages.seen_noise import FoundNoise, seen_noises

if TYPE_CHECKING:
    from emds.networks.checkpoint import Checkpoint

logger = logging.getLogger("emds")

_SEED = 0
_MOST_BOXES = 12
_SAMPLE = (16, 256, 256)  # affinities, voxels


def warn_if_unfamiliar(job: Job) -> None:
    """Warn of inputs that a run can read, but that look wrong or unlike those in training.

    That is a mask that lies oddly, inverted affinities, grey values, voxels and noise. The noise
    is estimated from a few small boxes; where they do not tell, nothing is said.
    """
    for note in job.notes:
        logger.warning(note)
    if job.model is None:
        _warn_of_inversion(job)
        return
    checkpoint = job.model.checkpoint
    warn_of_grey_values(job)
    _compare_voxel_size(job.voxel_size, checkpoint)
    _compare_noise(job.source, job.region, checkpoint, job.model.plan.intensity)


def _warn_of_inversion(job: Job) -> None:
    """Warn if given affinities look as if 1 meant a boundary; a sample of them is read."""
    from emds.segmentation.watershed.mutex_watershed import warn_if_inverted

    assert job.labels is not None
    z, y, x = map(min, job.source.shape, _SAMPLE)
    sample = Roi((0, 0, 0), (z, y, x))
    mask = None if job.mask is None else job.mask.read(sample) != 0
    warn_if_inverted(job.source.read(sample), job.labels.scheme.spec, mask)


def warn_of_grey_values(job: Job) -> None:
    """Warn of grey values that are not those that ``--intensity`` says or a uint8 image has."""
    asked = job.request.options.intensity
    if asked != "auto":
        warn_of_misfit(job.source, job.region, asked)


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
    boxes = sample_boxes(source, region, _MOST_BOXES)
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
