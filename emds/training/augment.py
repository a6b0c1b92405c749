"""Changes of a sample that leave the task the same."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def dihedral(section: NDArray[Any], element: int) -> NDArray[Any]:
    """Apply one of the eight flips and quarter turns of the plane.

    Parameters
    ----------
    section : (..., Y, X)
        Image or labels; the same `element` must be given for both.
    element : int
        0 to 7: quarter turns in the low two bits, then a flip of x.

    Returns
    -------
    (..., Y, X) or (..., X, Y)
        A C-contiguous copy.

    Examples
    --------
    >>> dihedral(np.array([[1, 2], [3, 4]]), 5).tolist()
    [[4, 2], [3, 1]]
    """
    turned = np.rot90(section, element & 3, axes=(-2, -1))
    return np.ascontiguousarray(turned[..., ::-1] if element & 4 else turned)
