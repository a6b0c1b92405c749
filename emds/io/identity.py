"""Which data was it? A hash of a volume's metadata and of voxels sampled from it."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from emds.geometry import Roi
from emds.io.volume import Volume

_SAMPLES = 16
_EDGE = 64


def volume_identity(volume: Volume) -> str:
    """Return a hash that changes with shape, dtype, voxel size, and (sampled) content.

    Sixteen boxes on the volume's diagonal are read, so the cost does not grow with the volume.
    A change elsewhere goes unseen; it is an identity, not a checksum.

    Parameters
    ----------
    volume : Volume
        Any size.

    Returns
    -------
    str
        64 hexadecimal digits.
    """
    described = {
        "shape": volume.shape,
        "channels": volume.channels,
        "dtype": volume.dtype.str,
        "voxel_size": volume.voxel_size,
        "offset": volume.offset,
    }
    digest = hashlib.sha256(json.dumps(described).encode())
    z, y, x = (min(_EDGE, n) if i else 1 for i, n in enumerate(volume.shape))
    starts = [
        np.linspace(0, n - m, _SAMPLES).astype(int)
        for n, m in zip(volume.shape, (z, y, x), strict=True)
    ]
    corners = dict.fromkeys((int(a), int(b), int(c)) for a, b, c in zip(*starts, strict=True))
    for corner in corners:
        digest.update(volume.read(Roi(corner, (z, y, x))).tobytes())
    return digest.hexdigest()
