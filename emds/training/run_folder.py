"""The folder of a training: which files in it are the run's own, and may be replaced or removed.

A mark names them. Whatever else lies in the folder, such as the data it was trained on or notes,
belongs to somebody else and stays.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import emds
from emds.files import write_text

_MARK = "train.json"
_KIND = "emds-training"
_FILES = ("state.pt", "metrics.jsonl", "last.pt", "best.pt")
"""In the order in which they are removed: without its state, nothing passes for a run."""


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where a run keeps its files: ``state.pt``, ``metrics.jsonl``, ``best.pt``, ``last.pt``.

    The state is written last of all that a step writes, so it is what decides how far a run is:
    what the other files hold beyond it is made again.
    """

    path: Path

    @property
    def state(self) -> Path:
        """The resumable state."""
        return self.path / "state.pt"

    @property
    def log(self) -> Path:
        """The loss curve, one JSON object a line."""
        return self.path / "metrics.jsonl"

    @property
    def best(self) -> Path:
        """The checkpoint that was best in validation."""
        return self.path / "best.pt"

    @property
    def last(self) -> Path:
        """The checkpoint of the step of the state."""
        return self.path / "last.pt"

    @property
    def mark(self) -> Path:
        """The file that says that the folder is a run's."""
        return self.path / _MARK

    def is_marked(self) -> bool:
        """Whether `begin` was called here, by this or another process."""
        if self.mark.is_symlink() or not self.mark.is_file():
            return False
        try:
            content = json.loads(self.mark.read_bytes())
        except (OSError, ValueError, RecursionError):
            return False
        return isinstance(content, dict) and content.get("kind") == _KIND

    def is_begun(self) -> bool:
        """Whether there is a run to go on with, be it one that was killed before its first state.

        A run that was begun before there were marks has a state alone.
        """
        return self.state.is_file() or self.is_marked()

    def is_free(self) -> bool:
        """Whether nothing is there but what a write that was killed has left."""
        if not self.path.exists():
            return True
        return {path.name for path in self.path.iterdir()} <= set(map(_unfinished, _names()))

    def in_the_way(self) -> Path | None:
        """Return a link or a folder that has the name of a file of a run; None if there is none."""
        for name in (*_names(), *map(_unfinished, _names())):
            path = self.path / name
            if path.is_symlink() or (path.exists() and not path.is_file()):
                return path
        return None

    def begin(self) -> None:
        """Make the folder a new run's: mark it, and remove what an earlier run wrote, no more.

        The mark comes first, so that a folder without one holds nothing of a run.
        """
        self.adopt()
        for name in (*_FILES, *map(_unfinished, _names())):
            (self.path / name).unlink(missing_ok=True)

    def adopt(self) -> None:
        """Mark the folder, if it is not: of a run that was begun before there were marks."""
        if not self.is_marked():
            content = {"kind": _KIND, "emds": emds.__version__, "files": _FILES}
            write_text(self.mark, json.dumps(content) + "\n")


def _names() -> tuple[str, ...]:
    return (*_FILES, _MARK)


def _unfinished(name: str) -> str:
    """Name what `emds.files.write_whole` writes before it gets its name."""
    return f".{name}.emds"
