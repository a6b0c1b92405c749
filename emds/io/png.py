"""Reading a greyscale PNG file."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import Any

import imagecodecs
import numpy as np
from numpy.typing import NDArray

from emds.errors import VolumeError

_MAGIC = b"\x89PNG\r\n\x1a\n"
# Greyscale is colour type 0; the number is the third byte field of a PNG header.
_COLOURS = {2: "RGB", 3: "palette", 4: "grey with alpha", 6: "RGB with alpha"}


def png_header(file: Path) -> tuple[tuple[int, int], np.dtype[Any]]:
    """Return the shape (y, x) and type of an image.

    Raises
    ------
    VolumeError
        If it is not greyscale of 8 or 16 bits, or holds several images.
    ValueError
        If it is damaged.
    """
    with file.open("rb") as stream:
        start = stream.read(33)
        if len(start) < 33 or start[:8] != _MAGIC or start[12:16] != b"IHDR":
            raise ValueError("it does not start like a PNG file")
        frames = _frames(stream)
    width, height, bits, colour = struct.unpack(">IIBB", start[16:26])
    reason = None
    if colour in _COLOURS:
        reason = f"it is a colour image ({_COLOURS[colour]}); save it as greyscale"
    elif colour != 0 or bits not in (8, 16):
        reason = f"PNG slices must be greyscale of 8 or 16 bits, not {bits}"
    elif frames > 1:
        reason = f"it is an animated PNG of {frames} images; save each in a file of its own"
    if reason is not None:
        raise VolumeError(f"cannot read {str(file)!r} as a slice: {reason}.")
    return (height, width), np.dtype(f"u{bits // 8}")


def _frames(stream: Any) -> int:
    """Return how many images there are, which stands before the first one's pixels."""
    while len(head := stream.read(8)) == 8:
        size, kind = struct.unpack(">I4s", head)
        if kind == b"acTL":
            return int.from_bytes(stream.read(4))
        if kind == b"IDAT":
            break
        stream.seek(size + 4, 1)
    return 1


def decode_png(file: Path) -> NDArray[Any]:
    """Return the grey values, (Y, X).

    A grey level that is marked as transparent (chunk tRNS) stays what it is.
    """
    image = np.asarray(imagecodecs.png_decode(file.read_bytes()))
    return image[..., 0] if image.ndim == 3 and image.shape[2] == 2 else image
