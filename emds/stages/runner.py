"""Doing the phases of a run that is set up: what is pending, by whom, and what became of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from emds.errors import EmdsError, IncompleteError, InterruptedRunError
from emds.execution import Crew, DoneLog, Execution, Failures, run_blocks, wait_for_workers
from emds.files import write_text
from emds.io import Container
from emds.io.output import partial_of
from emds.progress import Progress
from emds.signals import Stop
from emds.stages.arrays import Arrays
from emds.stages.inputs import Inputs, VerifyInput
from emds.stages.job import Job
from emds.stages.phases import Phase, phases_of

_LISTED = 10


@dataclass(frozen=True, slots=True)
class Notes:
    """What processes tell each other about a phase, as files in the work folder of a run."""

    work_folder: Path
    phase: str

    def log(self, made_from: Callable[[int], tuple[str, str]] = lambda block: ("", "")) -> DoneLog:
        """Return the log of blocks that are done; for writing, with what they were made from."""
        return DoneLog(self.work_folder / "done" / self.phase, made_from)

    def note_failure(self, block: int, error: EmdsError) -> None:
        """Say why a block failed."""
        path = self._failure(block)
        write_text(path, " ".join(str(error).split()))

    def failure(self, block: int) -> str | None:
        """Return why a block failed, if anybody said so."""
        path = self._failure(block)
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else None

    def _failure(self, block: int) -> Path:
        return self.work_folder / "failed" / self.phase / f"{block}.txt"


@dataclass(frozen=True, slots=True)
class Runner:
    """A run in this process.

    Attributes
    ----------
    container : Container
        The output, set up.
    job : Job
        The job.
    arrays : Arrays
        What is read and written.
    execution : Execution
        Among how many processes.
    inputs : Inputs
        The inputs of the job, as this process found them.
    stop : Stop
        Set when a signal asks to stop.
    progress : callable
        Told (blocks done, blocks, what).
    again : str
        Command that continues the run.
    """

    container: Container
    job: Job
    arrays: Arrays
    execution: Execution
    inputs: Inputs
    stop: Stop
    progress: Progress
    again: str = "the same command and --resume"

    def do_phases(self) -> None:
        """Do all phases, or a shard's part of the first that is not done."""
        with self._crew() if self.execution.distributed else nullcontext() as crew:
            for phase in phases_of(self.job):
                done = self._done(phase)
                if len(done) < phase.count:
                    self._do_phase(phase, done, crew)
                    if self.execution.shard is not None:
                        return

    def verify_inputs(self, how: VerifyInput) -> None:
        """Raise if blocks were made from another input; see `Inputs.verify`."""
        notes = [(phase, self._notes(phase).log) for phase in phases_of(self.job)]
        self.inputs.verify(notes, how, self.stop, self.progress)

    def check_whole(self) -> None:
        """Raise if data of any block went missing during the run.

        Raises
        ------
        IncompleteError
            With the first phase of which something is missing.
        """
        for phase in phases_of(self.job):
            lost = phase.count - len(self._done(phase))
            if lost:
                raise IncompleteError(
                    f"{lost} of {phase.count} {phase.what} were lost from "
                    f"{self.container.location} while the run went on. Make them again with "
                    f"{self.again}."
                )

    def _do_phase(self, phase: Phase, done: set[int], crew: Crew | None) -> None:
        shard = self.execution.shard
        pending = [
            block
            for block in range(phase.count)
            if block not in done and (shard is None or shard.owns(block))
        ]
        if not pending:
            return
        if self.stop.is_set():
            raise self._stopped(phase, len(pending))
        self.progress(len(done), phase.count, phase.what)
        if crew is not None and phase.count > 1:
            failures = self._among_workers(crew, phase, pending)
        else:
            failures = self._here(phase, pending, len(done))
        left = set(pending) - self._done(phase) - failures.keys()
        if left and self.stop.is_set():
            raise self._stopped(phase, len(left))
        failures |= dict.fromkeys(left, "the process that worked on it ended")
        if failures:
            raise IncompleteError(self._describe(phase, failures))

    def _stopped(self, phase: Phase, left: int) -> InterruptedRunError:
        return self.stop.error(
            f"with {left} blocks to do ({phase.what}); those that are done are kept in "
            f"{partial_of(Path(self.container.location))}. Continue with {self.again}."
        )

    def _here(self, phase: Phase, pending: Sequence[int], done: int) -> Failures:
        with self._notes(phase).log(self.inputs.seen_by(self.arrays)) as log:

            def finish(block: int) -> None:
                nonlocal done
                log.append(block)
                done += 1
                self.progress(done, phase.count, phase.what)

            work = phase.begin(self.job, self.arrays, 0)
            return run_blocks(work, pending, finish, self.stop)

    def _crew(self) -> Crew:
        workers, launcher = self.execution.workers, self.execution.launcher
        place = os.path.abspath(self.container.location)
        command = [*launcher, sys.executable, "-m", "emds", "worker", place]
        if not launcher:
            command += ["--threads", str(max(1, len(os.sched_getaffinity(0)) // workers))]
        return Crew(command, workers, elsewhere=bool(launcher))

    def _among_workers(self, crew: Crew, phase: Phase, pending: Sequence[int]) -> Failures:
        notes, folder = self._notes(phase), self.container.work_folder
        known = -1

        def look() -> None:
            nonlocal known
            if self.stop.is_set():
                (folder / "stop").touch()
            done = len(notes.log().read())
            if done != known:
                known = done
                self.progress(done, phase.count, phase.what)

        crew.share(phase.name, phase.count, pending, stop=self.stop, on_poll=look)
        if self.stop.is_set():
            (folder / "stop").touch()
        wait_for_workers(folder)
        done = notes.log().read()
        reasons = {block: notes.failure(block) for block in pending if block not in done}
        return {block: reason for block, reason in reasons.items() if reason is not None}

    def _done(self, phase: Phase) -> set[int]:
        """Return the blocks that are logged as done and of which nothing has been lost since."""
        return {
            block
            for block in self._notes(phase).log().read()
            if block < phase.count and phase.is_there(self.job, self.arrays, block)
        }

    def _notes(self, phase: Phase) -> Notes:
        return Notes(self.container.work_folder, phase.name)

    def _describe(self, phase: Phase, failures: Failures) -> str:
        lines = []
        for block in sorted(failures)[:_LISTED]:
            box = phase.box and phase.box(self.job, block)
            place = f" (voxels {box.offset} to {box.end})" if box else ""
            lines.append(f"\n  block {block}{place}: {failures[block]}")
        if len(failures) > _LISTED:
            lines.append(f"\n  and {len(failures) - _LISTED} more")
        return (
            f"{len(failures)} of {phase.count} blocks could not be done ({phase.what}); the others "
            f"are kept. Mend the cause and continue with {self.again}.{''.join(lines)}"
        )
