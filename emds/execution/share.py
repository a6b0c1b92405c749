"""Who does what: one process, several workers, or shards that know of nothing but a folder."""

from __future__ import annotations

import os
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass

from emds.errors import UsageError
from emds.numbers import Checked, Processes


@dataclass(frozen=True, slots=True)
class Shard:
    """One of `count` parts of the blocks, from 0.

    Examples
    --------
    >>> [block for block in range(7) if Shard(1, 3).owns(block)]
    [1, 4]
    """

    index: int
    count: int

    def owns(self, block: int) -> bool:
        """Say whether a block is this shard's."""
        return block % self.count == self.index

    def __str__(self) -> str:
        return f"{self.index + 1}/{self.count}"


@dataclass(frozen=True, slots=True)
class Execution(Checked):
    """How work is spread.

    Attributes
    ----------
    workers : int
        Processes on this machine, or wherever `launcher` puts them.
    launcher : tuple of str
        Words put before a worker's command, such as ``srun --exact -n1 -c4``.
    shard : Shard or None
        The part to do; None does all.
    """

    workers: Processes = 1
    launcher: tuple[str, ...] = ()
    shard: Shard | None = None

    def __post_init__(self) -> None:
        Checked.__post_init__(self)  # by name: slots made another class of this one
        if self.shard is not None and (self.workers > 1 or self.launcher):
            raise UsageError(
                "--shard is a part that one process does by itself: leave out --workers and "
                "--launcher, or leave out --shard."
            )

    @property
    def distributed(self) -> bool:
        """Whether other processes do the work."""
        return self.workers > 1 or bool(self.launcher)


def parse_launcher(text: str) -> tuple[str, ...]:
    """Cut the words of ``--launcher`` apart, as a shell would.

    Raises
    ------
    UsageError
        If a quote is not closed.

    Examples
    --------
    >>> parse_launcher("srun -n1 --comment 'two words'")
    ('srun', '-n1', '--comment', 'two words')
    """
    try:
        return tuple(shlex.split(text))
    except ValueError as error:
        reason = str(error).lower()
        raise UsageError(
            f"--launcher {text!r} cannot be cut into words: {reason}. Close every quote."
        ) from None


def parse_shard(text: str, environment: Mapping[str, str] = os.environ) -> Shard:
    """Read ``K/N``, or ``slurm`` for what a job array's variables say.

    Raises
    ------
    UsageError
        If `text` is neither, or the variables are not set, or do not count in steps of one.

    Examples
    --------
    >>> parse_shard("2/7")
    Shard(index=1, count=7)
    >>> task = {"SLURM_ARRAY_TASK_ID": "5", "SLURM_ARRAY_TASK_MIN": "5",
    ...         "SLURM_ARRAY_TASK_MAX": "8", "SLURM_ARRAY_TASK_COUNT": "4"}
    >>> parse_shard("slurm", task)
    Shard(index=0, count=4)
    """
    if text == "slurm":
        return _slurm_shard(environment)
    match = re.fullmatch(r"(\d{1,9})/(\d{1,9})", text)
    if match is None or not 1 <= int(match[1]) <= int(match[2]):
        raise UsageError(f"--shard must be K/N with K from 1 to N, or slurm, not {text!r}.")
    return Shard(int(match[1]) - 1, int(match[2]))


def _slurm_shard(environment: Mapping[str, str]) -> Shard:
    names = [f"SLURM_ARRAY_TASK_{name}" for name in ("ID", "MIN", "MAX", "COUNT")]
    try:
        task, least, most, count = (int(environment[name]) for name in names)
    except (KeyError, ValueError):
        raise UsageError(
            f"--shard slurm reads {', '.join(names)}, and they are not all set to numbers. Use it "
            "in a job submitted with sbatch --array, or give K/N."
        ) from None
    if most - least + 1 != count or not least <= task <= most:
        raise UsageError(
            f"--shard slurm needs an array without gaps, such as --array=1-{count}; this is task "
            f"{task} of {count} from {least} to {most}."
        )
    return Shard(task - least, count)
