"""From noisy volume to denoised image and labels: the commands run, denoise and segment."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from emds.errors import DataError
from emds.execution import Execution
from emds.io import Volume
from emds.stages.execute import execute
from emds.stages.job import Command, Request
from emds.stages.plan import InferenceOptions

Progress = Callable[[int, int, str], None]


def run(
    source: Volume,
    checkpoint: Path,
    *,
    out: str | Path,
    options: InferenceOptions | None = None,
    mask: Volume | None = None,
    keep_affinities: bool = False,
    execution: Execution | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> str:
    """Denoise and segment a volume into one OME-Zarr container.

    Parameters
    ----------
    source : Volume
        Grey values (z, y, x) of any integer or float type.
    checkpoint : Path
        Model file of a recipe that denoises and segments.
    out : str or Path
        Container to write, ``*.zarr``: the denoised image at the root, in the source's type and
        range, ids in ``labels/neurons``.
    options : InferenceOptions, optional
        Tiles, region, device and the like.
    mask : Volume, optional
        On the grid of `source`: where it is 0, labels are 0.
    keep_affinities : bool
        Store the affinities as well, under ``affinities``.
    execution : Execution, optional
        Among how many processes. Then the inputs must be files.
    resume : bool
        Continue a run that was stopped or killed; it must be the same in all that matters.
    overwrite : bool
        An existing output may be replaced.
    progress : callable, optional
        Told (done, total, text).

    Returns
    -------
    str
        Where the container is.

    Raises
    ------
    DataError, UsageError, CheckpointError, OutputExistsError, IncompleteError, InterruptedRunError
        As their names say; see `emds.stages.execute.execute`.
    """
    return _execute(
        "run",
        source,
        checkpoint,
        out,
        options,
        mask=mask,
        keep_affinities=keep_affinities,
        execution=execution,
        resume=resume,
        overwrite=overwrite,
        progress=progress,
    )


def denoise(
    source: Volume,
    checkpoint: Path,
    *,
    out: str | Path,
    options: InferenceOptions | None = None,
    execution: Execution | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> str:
    """Denoise a volume; as `run`, without labels."""
    return _execute(
        "denoise",
        source,
        checkpoint,
        out,
        options,
        execution=execution,
        resume=resume,
        overwrite=overwrite,
        progress=progress,
    )


def segment(
    source: Volume,
    checkpoint: Path | None,
    *,
    out: str | Path,
    options: InferenceOptions | None = None,
    mask: Volume | None = None,
    keep_affinities: bool = False,
    execution: Execution | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> str:
    """Segment a volume of grey values, or of affinities that emds wrote; as `run`, without image.

    With affinities as `source`, no checkpoint is needed.
    """
    if source.channels is None and checkpoint is None:
        raise DataError(f"{source.location} holds grey values: segmenting needs a checkpoint.")
    return _execute(
        "segment",
        source,
        checkpoint if source.channels is None else None,
        out,
        options,
        mask=mask,
        keep_affinities=keep_affinities,
        execution=execution,
        resume=resume,
        overwrite=overwrite,
        progress=progress,
    )


def _execute(
    command: Command,
    source: Volume,
    checkpoint: Path | None,
    out: str | Path,
    options: InferenceOptions | None,
    *,
    mask: Volume | None = None,
    keep_affinities: bool = False,
    **how: Any,
) -> str:
    request = Request(
        command,
        source.location,
        None if checkpoint is None else str(checkpoint),
        None if mask is None else mask.location,
        options or InferenceOptions(),
        keep_affinities,
    )
    return execute(request, source, mask, out, **how)
