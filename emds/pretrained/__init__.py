"""The shipped checkpoints, so that every command works without a model of one's own."""

from __future__ import annotations

import logging
from importlib.resources import files
from pathlib import Path

from emds.errors import CheckpointError
from emds.geometry import Triple

logger = logging.getLogger("emds")

_CONTEXT = 7
_LONGEST_CUBE = 2.0  # as `emds.segmentation.offset_sets` has it


def shipped_checkpoint(shape: Triple, voxel_size: tuple[float, float, float] | None) -> Path:
    """Return the path of the checkpoint that comes with emds and suits a volume.

    ``stack.pt`` sees seven sections at once and labels in 3-D; it was trained on cubes. A volume
    with fewer sections, longer voxels or voxels of unknown size gets ``section.pt``, which takes
    the sections one by one.

    Parameters
    ----------
    shape : (Z, Y, X)
        In voxels.
    voxel_size : (z, y, x) or None
        Nanometres.

    Raises
    ------
    CheckpointError
        If this copy of emds came without it.

    Examples
    --------
    >>> shipped_checkpoint((200, 250, 250), (10.0, 10.0, 10.0)).name
    'stack.pt'
    >>> shipped_checkpoint((100, 1024, 1024), (40.0, 4.0, 4.0)).name
    'section.pt'
    """
    deep = shape[0] >= _CONTEXT
    cubes = voxel_size is not None and voxel_size[0] <= _LONGEST_CUBE * max(voxel_size[1:])
    if deep and voxel_size is None:
        logger.warning(
            "the voxel size is not known, so sections are taken one by one and ids do not continue "
            "from one to the next. If the voxels are cubes, say so with --voxel-size."
        )
    name = "stack.pt" if deep and cubes else "section.pt"
    path = Path(str(files(__package__).joinpath(name)))
    if not path.is_file():
        raise CheckpointError(
            f"this copy of emds holds no checkpoint ({path} is missing). Name one with "
            "--checkpoint, or train one with `emds train`."
        )
    logger.info("the shipped checkpoint %s is used", name)
    return path
