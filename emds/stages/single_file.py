"""A denoised image as one TIFF or HDF5 file: made in one go, by one process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emds.errors import BlockError, UsageError
from emds.execution import Execution
from emds.geometry import Block
from emds.io import create_volume
from emds.io.create import HDF5_SUFFIXES, TIFF_SUFFIXES
from emds.stages.job import Job, Request


def is_single_file(out: str | Path) -> bool:
    """Say whether an output is named like a TIFF or HDF5 file."""
    return Path(out).suffix.lower() in (*TIFF_SUFFIXES, *HDF5_SUFFIXES)


def refuse_in_file(request: Request, out: str | Path, execution: Execution, resume: bool) -> None:
    """Refuse what a single file cannot hold, or how it cannot be written.

    Raises
    ------
    UsageError
        With the options to leave out.
    """
    if request.command != "denoise":
        raise UsageError(
            f"cannot write {str(out)!r}: emds {request.command} writes labels, and what comes with "
            "them, into one OME-Zarr container, so --out must end in .zarr. TIFF and HDF5 are "
            "written by emds denoise."
        )
    asked = {
        "--uncertainty": request.options.uncertainty,
        "--resume": resume,
        "--workers": execution.workers > 1,
        "--launcher": bool(execution.launcher),
        "--shard": execution.shard is not None,
    }
    given = ", ".join(name for name, is_given in asked.items() if is_given)
    if given:
        raise UsageError(
            f"cannot write {str(out)!r} with {given}: a TIFF or HDF5 file holds one image and is "
            f"written in one go by one process. Leave out {given}, or let --out end in .zarr."
        )


def denoise_to_file(
    job: Job,
    out: str | Path,
    *,
    overwrite: bool,
    progress: Callable[[int, int, str], None],
) -> None:
    """Write the image of a job, block by block, with what a container would say of it.

    Parameters
    ----------
    job : Job
        With a model that gives one image and nothing else.
    out : str or Path
        What `emds.io.create_volume` takes.
    overwrite : bool
        An existing output may be replaced.
    progress : callable
        Told (blocks done, blocks, what).
    """
    from emds.stages.predict import cast_grey, make_predictor, predict_blocks

    assert job.model is not None
    plan = job.model.plan
    blocks = plan.blocks()
    with create_volume(
        out,
        shape=plan.roi.shape,
        dtype=job.source.dtype,
        chunk_shape=plan.chunk_shape,
        voxel_size=job.voxel_size,
        offset=job.offset,
        attributes=job.history | {"image": job.image},
        overwrite=overwrite,
    ) as target:

        def write(block: Block, values: NDArray[np.float32]) -> None:
            inside = block.write_roi.relative_to(plan.roi.offset)
            target.write(inside, cast_grey(values[0], target.dtype))
            progress(block.index + 1, len(blocks), "blocks predicted")

        progress(0, len(blocks), "blocks predicted")
        try:
            predict_blocks(job, make_predictor(job, worker=0), blocks, write)
        except BlockError as failed:
            raise failed.__cause__ or failed from None
