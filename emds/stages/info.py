"""``emds info``: what a file is, told by what it holds and not by its name."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

_PICKLE_MAGIC = b"\x80"


def info(location: str | Path) -> dict[str, Any]:
    """Describe a checkpoint or a volume.

    Parameters
    ----------
    location : path
        A model file, or what `emds.open_volume` takes.

    Returns
    -------
    dict
        JSON primitives. For a checkpoint ``kind`` is ``checkpoint`` and the rest is
        `Checkpoint.summary`; for a volume see `emds.io.describe`.

    Raises
    ------
    CheckpointError, VolumeError
        If it is neither, damaged, or holds anything but data.
    """
    if _is_model_file(Path(location)):
        from emds.networks.checkpoint import load_checkpoint

        summary = load_checkpoint(Path(location)).summary()
        return {"location": str(location), "kind": "checkpoint", **summary}
    from emds.io import describe

    return describe(location)


def _is_model_file(path: Path) -> bool:
    """Say whether this is what `torch.save` writes: a zip with a pickle, or a bare pickle."""
    if not path.is_file():
        return False
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                return any(name.endswith("data.pkl") for name in archive.namelist())
        except zipfile.BadZipFile:
            return True  # no volume is a zip: let the checkpoint's reader say what is wrong
    with path.open("rb") as file:
        return file.read(1) == _PICKLE_MAGIC
