"""From noisy volume to denoised image and labels: the commands run, denoise and segment."""

from __future__ import annotations

from pathlib import Path

from emds.execution import Execution
from emds.io import Volume
from emds.pretrained import shipped_checkpoint
from emds.progress import Progress
from emds.stages.execute import execute
from emds.stages.inputs import VerifyInput
from emds.stages.job import Command, Request
from emds.stages.plan import InferenceOptions


def run(
    source: Volume,
    checkpoint: Path | None = None,
    *,
    out: str | Path,
    options: InferenceOptions | None = None,
    mask: Volume | None = None,
    keep_affinities: bool = False,
    execution: Execution | None = None,
    resume: bool = False,
    overwrite: bool = False,
    verify_input: VerifyInput = "files",
    progress: Progress | None = None,
) -> str:
    """Denoise and segment a volume into one OME-Zarr container.

    Parameters
    ----------
    source : Volume
        Grey values (z, y, x) of any integer or float type.
    checkpoint : Path, optional
        Model file of a recipe that denoises and segments. Default: the shipped one that suits.
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
    verify_input : {"files", "full"}
        What is read again to be sure that the input stayed as it was; see
        `emds.stages.execute.execute`.
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
    request = request_for(
        "run", source, checkpoint, options, mask=mask, keep_affinities=keep_affinities
    )
    return execute(
        request,
        source,
        mask,
        out,
        execution=execution,
        resume=resume,
        overwrite=overwrite,
        verify_input=verify_input,
        progress=progress,
    )


def denoise(
    source: Volume,
    checkpoint: Path | None = None,
    *,
    out: str | Path,
    options: InferenceOptions | None = None,
    execution: Execution | None = None,
    resume: bool = False,
    overwrite: bool = False,
    verify_input: VerifyInput = "files",
    progress: Progress | None = None,
) -> str:
    """Denoise a volume; as `run`, without labels."""
    request = request_for("denoise", source, checkpoint, options)
    return execute(
        request,
        source,
        None,
        out,
        execution=execution,
        resume=resume,
        overwrite=overwrite,
        verify_input=verify_input,
        progress=progress,
    )


def segment(
    source: Volume,
    checkpoint: Path | None = None,
    *,
    out: str | Path,
    options: InferenceOptions | None = None,
    mask: Volume | None = None,
    keep_affinities: bool = False,
    execution: Execution | None = None,
    resume: bool = False,
    overwrite: bool = False,
    verify_input: VerifyInput = "files",
    progress: Progress | None = None,
) -> str:
    """Segment a volume of grey values, or of affinities that emds wrote; as `run`, without image.

    Affinities as `source` are labelled without a network.
    """
    request = request_for(
        "segment", source, checkpoint, options, mask=mask, keep_affinities=keep_affinities
    )
    return execute(
        request,
        source,
        mask,
        out,
        execution=execution,
        resume=resume,
        overwrite=overwrite,
        verify_input=verify_input,
        progress=progress,
    )


def request_for(
    command: Command,
    source: Volume,
    checkpoint: Path | None,
    options: InferenceOptions | None = None,
    *,
    mask: Volume | None = None,
    keep_affinities: bool = False,
) -> Request:
    """Return what a command is asked, with the checkpoint that is used where none is named.

    To segment affinities, none is. Other parameters are those of `run`.
    """
    options = options or InferenceOptions()
    if command == "segment" and source.channels is not None:
        checkpoint = None
    elif checkpoint is None:
        shape = (options.roi or source.roi).shape
        checkpoint = shipped_checkpoint(shape, options.voxel_size or source.voxel_size)
    return Request(
        command,
        source.location,
        None if checkpoint is None else str(checkpoint),
        None if mask is None else mask.location,
        options,
        keep_affinities,
    )
