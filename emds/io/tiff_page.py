"""What the tags of a TIFF page say about its values: whether and how they are brightness."""

from __future__ import annotations

import tifffile

# From black to white in steps of 8-bit grey, by bits of a pixel; 1 bit is read as a mask.
_GREY_STEPS = {1: 1, 2: 85, 4: 17}
# By the tag Orientation; beyond 4 rows and columns change places too.
_MIRRORED = {1: "", 2: "X", 3: "YX", 4: "Y"}


def orientation_of(page: tifffile.TiffPage) -> int:
    """Return the number (1 to 8) that says where row 0 and column 0 of a page belong."""
    tag = page.tags.get(274)
    return int(tag.value) if tag is not None and tag.value in range(1, 9) else 1


def why_not_grey(page: tifffile.TiffPage) -> str | None:
    """Say why the numbers of a page cannot be had as brightness, or None where they can."""
    if page.photometric == tifffile.PHOTOMETRIC.PALETTE:
        return "it is a colour image (palette); save it as greyscale"
    if page.photometric == tifffile.PHOTOMETRIC.MINISWHITE:
        return (
            "its contrast is inverted (TIFF photometric MINISWHITE: 0 is white); invert its "
            "values and save it as MINISBLACK"
        )
    if page.photometric in (tifffile.PHOTOMETRIC.CFA, tifffile.PHOTOMETRIC.LINEAR_RAW):
        return "it is the mosaic of a colour camera; save it as greyscale"
    if orientation_of(page) > max(_MIRRORED):
        return (
            f"its sections are stored turned (TIFF orientation {orientation_of(page)}); turn them "
            "upright and save them with orientation 1"
        )
    if page.bitspersample < 8 and page.bitspersample not in _GREY_STEPS:
        return f"its grey values have {page.bitspersample} bits; save it with 8 or 16"
    return _why_not_decoded(page)


def mirrored_axes(page: tifffile.TiffPage) -> str:
    """Return the axes along which a page is to be mirrored to show it upright."""
    return _MIRRORED.get(orientation_of(page), "")


def grey_step(page: tifffile.TiffPage) -> int:
    """Return what the codes of a page are to be multiplied with, so that white is 255."""
    return _GREY_STEPS.get(page.bitspersample, 1)


def _why_not_decoded(page: tifffile.TiffPage) -> str | None:
    try:
        page.decode(None, 0)  # decoders take None for missing data; stand-ins for them raise
    except (ValueError, NotImplementedError) as error:
        return (
            f"it is stored in a way that cannot be unpacked here: {error}. Write it again with "
            "another compression, such as deflate, or with none"
        )
    return None
