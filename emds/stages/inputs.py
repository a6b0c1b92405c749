"""Whether all blocks of a run were made from the same input.

A line of a log says what its block read of the inputs, and which sizes and times their files had
when the process began that made it. As long as the files have these, nothing is read again. Blocks
that were made when the files were others (a copy of them, or they were changed since) are: what
they read must be there still.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from emds.errors import DataError
from emds.execution import Done, DoneLog
from emds.io.listing import Listing, list_files, lowest
from emds.io.source_volume import SourceVolume
from emds.progress import Progress
from emds.signals import Stop
from emds.stages.arrays import Arrays
from emds.stages.job import Job, open_inputs
from emds.stages.phases import Phase

logger = logging.getLogger("emds")

VerifyInput = Literal["files", "full"]
OpenLog = Callable[..., DoneLog]

_WHAT = "blocks of the input read again"


@dataclass(frozen=True, slots=True)
class Inputs:
    """The inputs of a run as this process found them when it began.

    Attributes
    ----------
    job : Job
        Whose they are.
    began : Listing
        Their files then.
    folder : Path
        Where listings are kept, to name what has changed.
    """

    job: Job
    began: Listing
    folder: Path

    def seen_by(self, arrays: Arrays) -> Callable[[int], tuple[str, str]]:
        """Return what tells a log what a block was made from, as the blocks' work told it."""
        self.began.save(self.folder)
        files = self.began.digest
        return lambda block: (arrays.witness.told(block), files)

    def verify(
        self,
        notes: Iterable[tuple[Phase, OpenLog]],
        how: VerifyInput,
        stop: Stop,
        progress: Progress,
    ) -> None:
        """Raise if blocks were made from another input than is there now.

        Parameters
        ----------
        notes : iterable of (Phase, callable)
            The phases and what opens their logs. What was read again, and is as it was, is noted
            once more.
        how : {"files", "full"}
            Which blocks to read again: those that were made when the files had other sizes or
            times, or all.
        stop : Stop
            When set, this ends.
        progress : callable
            Told (blocks done, blocks, what).

        Raises
        ------
        DataError
            With the block, and if that is known a file that has changed.
        InterruptedRunError
            If a stop was asked for.
        """
        now = list_files(self.job.source, self.job.mask)
        files = now.digest
        suspect = {
            (phase, open_log): entries
            for phase, open_log in notes
            if phase.seen is not None
            and (entries := _to_be_read(open_log().entries(), files, how, phase.count))
        }
        count = sum(map(len, suspect.values()))
        if count == 0:
            return
        others = {entry.files for entries in suspect.values() for entry in entries} - {files}
        if others:
            now.save(self.folder)
            logger.warning(
                "%s was changed or copied since blocks were made from it%s; reading again what "
                "%d blocks read",
                self.job.source.location,
                self._named(now, others),
                count,
            )
        done = 0
        with _opened_again(self.job) as job:
            for (phase, open_log), entries in suspect.items():
                read = {entry.block: entry.read for entry in entries}
                with open_log(lambda block, read=read: (read[block], files)) as log:
                    for entry in entries:
                        progress(done, count, _WHAT)
                        done += 1
                        if stop.is_set():
                            raise stop.error("while the input was read again; all blocks are kept")
                        if not _is_as_it_was(job, phase, entry):
                            raise DataError(self._complaint(phase, entry, now, others))
                        if entry.files != files:
                            log.append(entry.block)
        progress(count, count, _WHAT)

    def _complaint(self, phase: Phase, entry: Done, now: Listing, others: set[str]) -> str:
        box = phase.box and phase.box(self.job, entry.block)
        place = f" (voxels {box.offset} to {box.end} of the output)" if box else ""
        names = [volume.location for volume in (self.job.source, self.job.mask) if volume]
        return (
            f"{' or '.join(names)} is not what it was when block {entry.block}{place} was made "
            f"from it{self._named(now, others)}. An output is made from one input: put back what "
            "was there and continue, or start anew with --overwrite."
        )

    def _named(self, now: Listing, others: set[str]) -> str:
        changed = (now.changed_since(self.folder, digest) for digest in sorted(others))
        name = next((name for name in changed if name), None)
        return f" ({name} is another file now)" if name else ""


@contextmanager
def _opened_again(job: Job) -> Iterator[Job]:
    """Open what now lies where the inputs lay: what is open may be a file that was replaced."""
    if not isinstance(lowest(job.source), SourceVolume):
        yield job  # in memory
        return
    source, mask = open_inputs(job.request)
    with source, closing(mask or source):
        yield job.with_inputs(source, mask)


def _is_as_it_was(job: Job, phase: Phase, entry: Done) -> bool:
    assert phase.seen is not None
    try:
        return phase.seen(job, entry.block) == entry.read
    except ValueError:  # a box that leaves what is there now
        return False


def _to_be_read(entries: list[Done], files: str, how: VerifyInput, count: int) -> list[Done]:
    """Return an entry for each block, and each thing it read, that is to be read again."""
    read = {(entry.block, entry.read): entry for entry in entries if entry.block < count}
    known = {(entry.block, entry.read) for entry in entries if entry.files == files}
    return [entry for key, entry in read.items() if how == "full" or key not in known]
