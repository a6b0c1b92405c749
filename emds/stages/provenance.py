"""How an output came to be: what every command stores with what it writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import emds
from emds.geometry import Roi
from emds.io.identity import volume_identity
from emds.io.volume import Volume


def provenance(command: str, source: Volume, **settings: Any) -> dict[str, Any]:
    """Describe a run: version, command, input with its hash, and all settings.

    Parameters
    ----------
    command : str
        Its name, e.g. ``run``.
    source : Volume
        The input.
    **settings
        JSON values.
    """
    return {
        "emds": emds.__version__,
        "command": command,
        "source": described_input(source),
        **settings,
    }


def described_input(volume: Volume | None) -> dict[str, str] | None:
    """Return where an input was and the hash of what was in it (sampled, see `volume_identity`)."""
    if volume is None:
        return None
    return {"location": volume.location, "identity": volume_identity(volume)}


def described_roi(roi: Roi) -> dict[str, Any]:
    """Return a region of the source as JSON, under the name ``roi``."""
    return {"roi": {"offset": list(roi.offset), "shape": list(roi.shape)}}


def model_provenance(path: Path, recipe: str) -> dict[str, str]:
    """Describe a checkpoint by its file's hash and its recipe."""
    from emds.networks.checkpoint import checkpoint_hash

    return {"sha256": checkpoint_hash(path), "recipe": recipe}
