"""Run a job: phase after phase, block after block, resumably, alone or among processes.

An output under construction lies in ``<out>.partial``; ``.emds`` inside it holds what the run was
asked (``run.json``), which blocks of which phase are done, and what one phase leaves for the next.
So a process needs nothing but the path to take part, and a run that is killed loses the blocks it
had in hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from functools import partial
from pathlib import Path

from emds.errors import InterruptedRunError, UsageError
from emds.execution import (
    DoneLog,
    Execution,
    RunRecord,
    at_work,
    each_phase,
    take_blocks,
    wait_for_workers,
)
from emds.files import refuse_inputs
from emds.io import Container, Volume, create_container, open_volume
from emds.io.listing import list_files
from emds.io.output import RUN_FILE, Claim, is_begun, run_file_of
from emds.progress import Progress, silent
from emds.signals import stop_signal
from emds.stages.arrays import Arrays, create_arrays, temporary_images
from emds.stages.estimate import check_disk
from emds.stages.inputs import Inputs, VerifyInput
from emds.stages.job import Job, Request, open_inputs, prepare
from emds.stages.phases import phases_of
from emds.stages.runner import Notes, Runner
from emds.stages.single_file import denoise_to_file, is_single_file, refuse_in_file
from emds.stages.unfamiliar import warn_if_unfamiliar


def execute(
    request: Request,
    source: Volume,
    mask: Volume | None,
    out: str | Path,
    *,
    execution: Execution | None = None,
    resume: bool = False,
    overwrite: bool = False,
    verify_input: VerifyInput = "files",
    again: str | None = None,
    progress: Progress | None = None,
) -> str:
    """Do what was asked for, or a shard of it, and return where the output is.

    Parameters
    ----------
    request : Request
        The request.
    source, mask : Volume
        The inputs that `request` names, open.
    out : str or Path
        Container to write, ``*.zarr``; to denoise, also a TIFF or HDF5 file.
    execution : Execution, optional
        Among how many processes. A shard does its part of the first phase that is not done, and
        leaves the rest to the others and to `merge`.
    resume : bool
        Continue a run that was interrupted.
    overwrite : bool
        An existing output may be replaced.
    verify_input : {"files", "full"}
        What to read again at the beginning and at the end, to be sure that all blocks were made
        from the same input: where its files have other sizes or times than when a block was
        made, or everything.
    again : str, optional
        Command that continues the run, for messages.
    progress : callable, optional
        Told (blocks done, blocks, what).

    Raises
    ------
    DataError, UsageError, CheckpointError
        Whatever is wrong with inputs, options or the model; nothing has been written then. Or
        the input changed while this run, or the run that it continues, read it; the blocks are
        kept then.
    OutputExistsError
        The output is there, or was begun by another run.
    IncompleteError
        Some blocks failed; the others are kept.
    InterruptedRunError
        A signal asked to stop; what was in hand is finished and kept.
    """
    execution = execution or Execution()
    request = request.among(execution.workers)
    shard = execution.shard
    if overwrite and (resume or shard is not None):
        raise UsageError(
            "--resume and --shard continue an output, --overwrite discards it: give one of them."
        )
    if is_single_file(out):
        refuse_in_file(request, out, execution, resume)
    if execution.distributed or shard is not None:
        _open_again(request)
    record = run_file_of(Path(out))
    begun = is_begun(Path(out))
    if (resume or shard is not None) and begun:
        request = request.with_blocks_of(Request.from_dict(RunRecord.load(record).request))
    began = list_files(source, mask)
    job = prepare(request, source, mask)
    refuse_inputs(Path(out))  # before any waiting
    if is_single_file(out):
        check_disk(job, Path(out))
        warn_if_unfamiliar(job)
        denoise_to_file(job, out, overwrite=overwrite, progress=progress or silent)
        return str(out)
    if not begun:
        check_disk(job, Path(out))
    elif overwrite:
        wait_for_workers(record.parent)
    claim: Claim = "share" if shard is not None else "resume" if resume else "new"
    again = again or "the same command" + " and --resume" * (shard is None)
    with stop_signal() as stop:
        container = create_container(out, overwrite=overwrite, claim=claim)
        try:
            arrays = _set_up(container, job)
            if overwrite or not begun:
                warn_if_unfamiliar(job)  # not once more when the run is taken up again
            inputs = Inputs(job, began, container.work_folder / "inputs")
            told = progress or silent
            runner = Runner(container, job, arrays, execution, inputs, stop, told, again)
            if shard is None:
                _complete(runner, verify_input)
            elif not _finishing(container).read():
                runner.verify_inputs(verify_input)
                runner.do_phases()
                runner.verify_inputs(verify_input)
        except BaseException as error:
            is_stop = isinstance(error, InterruptedRunError | KeyboardInterrupt)
            begun = any((container.work_folder / "done").glob("*/*"))
            if claim != "new" or begun or (is_stop and container.is_set_up):
                container.leave()
                if isinstance(error, KeyboardInterrupt):
                    raise stop.error(
                        f"at once; the blocks that are done are kept. Continue with {again}."
                    ) from error
            raise
        finally:
            if shard is not None:
                container.leave()
            container.close()
    return str(out)


def merge(
    out: str | Path,
    *,
    workers: int = 1,
    launcher: Sequence[str] = (),
    verify_input: VerifyInput = "files",
    progress: Progress | None = None,
) -> str:
    """Do what shards have left undone, and give the output its name.

    Parameters
    ----------
    out : str or Path
        The `out` of the shards.
    workers, launcher, verify_input, progress
        As in `execute`.

    Raises
    ------
    UsageError
        If there is no unfinished output.
    """
    record = run_file_of(Path(out))
    if not is_begun(Path(out)):
        there = "it is complete" if Path(out).exists() else "no shard has begun it"
        raise UsageError(f"nothing to merge at {str(out)!r}: {there}.")
    request = Request.from_dict(RunRecord.load(record).request)
    source, mask = open_inputs(request)
    with source, closing(mask or source):
        return execute(
            request,
            source,
            mask,
            out,
            execution=Execution(workers, tuple(launcher)),
            resume=True,
            verify_input=verify_input,
            again="the same command",
            progress=progress,
        )


def take_part(out: str | Path, threads: int | None = None) -> None:
    """Do blocks for the process that holds the output, phase after phase: a worker.

    Parameters
    ----------
    out : str or Path
        The output.
    threads : int, optional
        Number of threads of this process.
    """
    container = create_container(out, claim="help")
    folder = container.work_folder
    record = RunRecord.load(folder / RUN_FILE)
    request = Request.from_dict(record.request)
    source, mask = open_inputs(request)
    began = list_files(source, mask)
    job = prepare(request, source, mask)
    inputs = Inputs(job, began, folder / "inputs")
    record.refuse_other(job.identity(), str(out))
    arrays = create_arrays(container, job)
    if threads is not None and job.model is not None:
        import torch

        torch.set_num_threads(threads)
    phases = {phase.name: phase for phase in phases_of(job)}
    for name, context in each_phase():
        notes = Notes(folder, name)
        # Between phases there is nothing in hand, and a signal may end this process at once.
        with at_work(folder), stop_signal() as stop, notes.log(inputs.seen_by(arrays)) as log:
            take_blocks(
                context,
                begin=partial(phases[name].begin, job, arrays),
                done=log.append,
                failed=notes.note_failure,
                stop=lambda: stop.is_set() or (folder / "stop").exists(),
            )
            if stop.is_set():
                break
    container.leave()


def _open_again(request: Request) -> None:
    """Fail here if other processes could not open the source."""
    open_volume(request.source, role="raw" if request.checkpoint else "affinities").close()


def _set_up(container: Container, job: Job) -> Arrays:
    path = container.work_folder / RUN_FILE
    if container.is_set_up:
        RunRecord.load(path).refuse_other(job.identity(), container.location)
        arrays = create_arrays(container, job)
    else:
        arrays = create_arrays(container, job)
        container.keep_metadata()
        RunRecord(job.settled().to_dict(), job.identity()).save(path)
    container.set_up()
    wait_for_workers(container.work_folder)
    (container.work_folder / "stop").unlink(missing_ok=True)
    return arrays


def _complete(runner: Runner, verify_input: VerifyInput) -> None:
    """Do what is left, drop what was needed on the way, and give the output its name."""
    container, temporary = runner.container, temporary_images(runner.job)
    with _finishing(container) as finishing:
        if finishing.read() and not container.is_whole(but_for=temporary):
            finishing.clear()  # a result was lost since: begin with what is left
        if not finishing.read():
            runner.verify_inputs(verify_input)
            runner.do_phases()
            runner.check_whole()
            runner.verify_inputs(verify_input)
            finishing.append(0)  # from here on, what is temporary may be missing
    for name in temporary:
        container.remove_image(name)
    container.commit()


def _finishing(container: Container) -> DoneLog:
    return DoneLog(container.work_folder / "done" / "finish")
