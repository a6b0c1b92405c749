"""What a run would do and cost, without doing it."""

from __future__ import annotations

import logging
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np

from emds.errors import UsageError
from emds.execution import Execution
from emds.io import read_padded
from emds.memory import memory_limit
from emds.stages.job import Job
from emds.stages.phases import phases_of
from emds.stages.unfamiliar import warn_if_unfamiliar

logger = logging.getLogger("emds")

_TIMED_BATCHES = 2
_COMPRESSED = {
    "denoised": 0.5,
    "affinities": 0.2,
    "uncertainty": 0.8,
    "fragments": 0.05,
    "labels": 0.02,
}
"""What is left of an array after compression, at best."""


def disk_bytes(job: Job) -> dict[str, int]:
    """Return the bytes a run writes at most, before compression, by array.

    What a run needs only on the way counts too: all of it is on disk at the same time.
    """
    voxels = job.region.size
    sizes = {}
    if job.image is not None:
        sizes["denoised"] = voxels * job.source.dtype.itemsize
    if job.model is not None and "affinities" in job.model.outputs:
        sizes["affinities"] = voxels * len(job.model.checkpoint.offsets)
    if job.request.options.uncertainty:
        sizes["uncertainty"] = 4 * voxels
    if job.labels is not None:
        sizes |= {"fragments": 4 * voxels, "labels": 8 * voxels}
    return sizes


def check_disk(job: Job, out: Path) -> None:
    """Refuse a run whose output cannot fit on the disk, and warn of one that may not.

    Raises
    ------
    UsageError
        If even well compressed it would be too large.
    """
    sizes = disk_bytes(job)
    folder = out.parent
    if not folder.is_dir():
        return  # said better by whoever makes the output
    free = shutil.disk_usage(folder).free
    least = sum(size * _COMPRESSED[name] for name, size in sizes.items())
    room = f"{free / 1e9:.1f} GB are free where {out} is to be written"
    if least > free:
        raise UsageError(
            f"{room}, and the run needs at least {least / 1e9:.1f} GB and at most "
            f"{sum(sizes.values()) / 1e9:.1f}. Choose another --out, or part of the volume with "
            "--roi."
        )
    if 2 * least > free:
        logger.warning(
            "%s; the run needs %.1f GB at best and %.1f at worst. Should the disk be full, make "
            "room and continue with --resume.",
            room,
            least / 1e9,
            sum(sizes.values()) / 1e9,
        )


def estimate(job: Job, execution: Execution) -> dict[str, Any]:
    """Describe a run: blocks, tiles, memory, disk, and time by a measurement on a few tiles.

    Warns of what a run would warn of.

    Parameters
    ----------
    job : Job
        What `prepare` returned.
    execution : Execution
        Among how many processes.

    Returns
    -------
    dict
        JSON primitives; bytes and seconds.
    """
    warn_if_unfamiliar(job)
    sizes = disk_bytes(job)
    described: dict[str, Any] = {
        "region": {"offset": list(job.region.offset), "shape": list(job.region.shape)},
        "blocks": {phase.name: phase.count for phase in phases_of(job)},
        "memory_per_process": memory_limit(job.request.options.max_memory),
        "disk": sizes | {"total": sum(sizes.values())},
    }
    if job.model is not None:
        plan = job.model.plan
        tiles = sum(plan.tiles_of(plan.blocks()))
        processes = execution.shard.count if execution.shard else execution.workers
        seconds = _seconds_per_tile(job)
        described |= {
            "tile": list(plan.grid.tile),
            "overlap": list(plan.grid.overlap),
            "tiles": tiles,
            "seconds_per_tile": round(seconds, 4),
            "seconds_of_prediction": round(tiles * seconds / processes, 1),
        }
    return described


def _seconds_per_tile(job: Job) -> float:
    """Time a few batches of real tiles, after one that warms up."""
    from emds.stages.predict import make_predictor

    assert job.model is not None
    plan = job.model.plan
    predictor = make_predictor(job, worker=0)
    tiles = plan.grid.tiles_meeting(plan.blocks()[0].write_roi)[: plan.batch_size]
    halo = (predictor.halo, 0, 0)
    grey = [read_padded(job.source, tile.grow(halo)) for tile in tiles]
    grey += [grey[0]] * (plan.batch_size - len(grey))
    batch = np.stack(grey)
    predictor(batch)
    started = time.perf_counter()
    for _ in range(_TIMED_BATCHES):
        predictor(batch)
    return (time.perf_counter() - started) / (_TIMED_BATCHES * plan.batch_size)
