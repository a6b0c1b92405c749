"""Changes of a sample that leave the task the same."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emds.config import AugmentConfig
from emds.symmetry import SYMMETRIES


def dihedral(stack: NDArray[Any], element: int) -> NDArray[Any]:
    """Apply one of the sixteen symmetries of a square prism, eight of which are of its plane.

    Parameters
    ----------
    stack : (Z, Y, X)
        Image or labels; the same `element` must be given for both.
    element : int
        0 to 15, its number in `emds.symmetry.SYMMETRIES`.

    Returns
    -------
    (Z, Y, X) or (Z, X, Y)
        A C-contiguous copy.

    Examples
    --------
    >>> dihedral(np.array([[[1, 2], [3, 4]]]), 5).tolist()
    [[[4, 2], [3, 1]]]
    >>> dihedral(np.array([[[1]], [[2]]]), 8).ravel().tolist()
    [2, 1]
    """
    return np.ascontiguousarray(SYMMETRIES[element].apply(stack))


def change_intensity(
    image: NDArray[np.uint8], config: AugmentConfig, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """Stretch the contrast around mid-grey and shift the brightness, by amounts drawn here.

    Examples
    --------
    >>> config = AugmentConfig(contrast=(0.5, 0.5), brightness=(10, 10))
    >>> change_intensity(np.array([[0, 127, 255]], np.uint8), config, np.random.default_rng())
    array([[ 74, 137, 201]], dtype=uint8)
    """
    if config.contrast == (1, 1) and config.brightness == (0, 0):
        return image
    factor, shift = rng.uniform(*config.contrast), rng.uniform(*config.brightness)
    changed: NDArray[np.float32] = (image.astype(np.float32) - 127.5) * factor + 127.5 + shift
    return np.clip(np.rint(changed), 0, 255).astype(np.uint8)
