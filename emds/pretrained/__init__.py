"""The shipped checkpoint, so that every command works without a model of one's own."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from emds.errors import CheckpointError


def shipped_checkpoint() -> Path:
    """Return the path of the checkpoint that comes with emds.

    Raises
    ------
    CheckpointError
        If this copy of emds came without it.
    """
    path = Path(str(files(__package__).joinpath("model.pt")))
    if not path.is_file():
        raise CheckpointError(
            f"this copy of emds holds no checkpoint ({path} is missing). Name one with "
            "--checkpoint, or train one with `emds train`."
        )
    return path
