"""The mutex watershed: affinities to labels, without a threshold and without seeds."""

from __future__ import annotations

import logging
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from emds.errors import DataError, UsageError
from emds.geometry import Roi, Triple
from emds.segmentation.affinities import AffinitySpec
from emds.segmentation.contraction import check_block, contract_into

__all__ = ["check_arguments", "check_block", "cut", "mutex_watershed", "warn_if_inverted"]

logger = logging.getLogger("emds")


def mutex_watershed(
    affinities: NDArray[np.uint8] | NDArray[np.uint16],
    spec: AffinitySpec,
    *,
    strides: Triple = (1, 1, 1),
    mask: NDArray[np.bool_] | None = None,
    origin: Triple = (0, 0, 0),
    backend: Literal["numba", "elf"] = "numba",
) -> NDArray[np.uint64]:
    """Cut a volume into segments by its affinities.

    All edges are taken from the strongest to the weakest. An attractive edge merges the clusters
    of its two voxels unless they must stay apart; a mutex edge between two clusters makes sure
    that they stay apart. Among equal weights the lower channel comes first, then the source voxel
    in row-major order, so that the result is the same on every machine.

    Parameters
    ----------
    affinities : (C, Z, Y, X) uint8 or uint16
        Probability that a voxel and its partner are one object, scaled to the range of the type:
        0 = different, 255 or 65535 = same. See `quantize`.
    spec : AffinitySpec
        What the C channels mean. If all partners lie in the section of their voxel, the sections
        are segmented one by one.
    strides : (z, y, x)
        Mutex edges exist only where the position of the source voxel in the volume is a multiple
        of this on every axis. Attractive edges always exist.
    mask : (Z, Y, X) bool, optional
        True where to segment. Edges that touch a False voxel do not exist.
    origin : (z, y, x)
        Position of the array in the volume, in voxels; only `strides` look at it.
    backend : {"numba", "elf"}
        Whose implementation runs.

    Returns
    -------
    (Z, Y, X) uint64
        Ids 1..n in order of first voxel; 0 where `mask` is False.

    Raises
    ------
    DataError
        If the affinities are of another type or shape, or too large for one block.
    UsageError
        If an argument does not fit the affinities, or elf cannot do what `spec` asks for.

    Warns
    -----
    A warning is logged when the nearest neighbours are on average more different than same: then
    the affinities most likely follow the opposite convention.

    References
    ----------
    Wolf et al., The Mutex Watershed and its Objective: Efficient, Parameter-Free Image
    Partitioning, arXiv:1904.12654.

    Examples
    --------
    Three voxels in a row. The mutex edge between the first and the last (255 - 50 = 205) is
    stronger than the attraction of the last two (200), so the last voxel stays apart:

    >>> spec = AffinitySpec(((0, 0, 1), (0, 0, 2)), (True, False))
    >>> affinities = np.array([[[[250, 200, 0]]], [[[50, 0, 0]]]], dtype=np.uint8)
    >>> mutex_watershed(affinities, spec).tolist()
    [[[1, 1, 2]]]
    """
    check_arguments(affinities, spec, strides, mask)
    warn_if_inverted(affinities, spec, mask)
    return cut(affinities, spec, strides, mask, origin, backend)


def cut(
    affinities: NDArray[np.uint8] | NDArray[np.uint16],
    spec: AffinitySpec,
    strides: Triple,
    mask: NDArray[np.bool_] | None,
    origin: Triple,
    backend: Literal["numba", "elf"],
) -> NDArray[np.uint64]:
    """Do what `mutex_watershed` does, without a look at the arguments.

    For affinities of a network of emds: that most voxels are boundary may be so, early in a
    training.
    """
    if backend == "elf":
        from emds.segmentation.elf_backend import elf_mutex_watershed

        return elf_mutex_watershed(affinities, spec, strides=strides, mask=mask, origin=origin)
    if backend != "numba":
        raise UsageError(f"backend must be 'numba' or 'elf', not {backend!r}.")

    _, depth, height, width = affinities.shape
    everything = Roi(origin, (depth, height, width))
    labels = np.empty(everything.shape, dtype=np.uint64)
    contract_into(labels, affinities, spec, strides, origin, everything, mask)
    return labels


def check_arguments(
    affinities: NDArray[Any], spec: AffinitySpec, strides: Triple, mask: NDArray[np.bool_] | None
) -> None:
    """Refuse affinities and a mask that are no such things.

    Raises
    ------
    DataError
        If the affinities are of another type or shape, or the mask is.
    UsageError
        If the strides are not three numbers from 1 up.
    """
    if affinities.dtype not in (np.uint8, np.uint16):
        raise DataError(
            f"the mutex watershed needs affinities of type uint8 or uint16, not "
            f"{affinities.dtype}. Turn probabilities into uint8 with `quantize`."
        )
    if affinities.ndim != 4 or affinities.shape[0] != spec.channels:
        raise DataError(
            f"affinities must have the shape (channels, z, y, x) with one channel for each of the "
            f"{spec.channels} offsets, not {affinities.shape}."
        )
    shape = affinities.shape[1:]
    if mask is not None and (mask.shape != shape or mask.dtype != np.bool_):
        raise DataError(
            f"the mask must be a bool array of shape {shape} like the affinities, not "
            f"{mask.dtype} of shape {mask.shape}."
        )
    check_block(shape, spec, strides)


def warn_if_inverted(
    affinities: NDArray[Any], spec: AffinitySpec, mask: NDArray[np.bool_] | None
) -> None:
    """Log a warning if affinities look as if they meant the opposite."""
    nearest = [
        channel
        for channel, offset in enumerate(spec.offsets)
        if spec.attractive[channel] and sum(map(abs, offset)) == 1
    ]
    where: Any = True if mask is None else mask
    if not nearest or affinities[0].size == 0 or not np.any(where):
        return
    top = np.iinfo(affinities.dtype).max
    mean = sum(affinities[c].mean(where=where) for c in nearest) / len(nearest) / top
    if mean < 0.5:
        logger.warning(
            "the affinities of nearest neighbours are %.2f on average, so most voxels would be "
            "boundary. Here 1 means same object; if yours mean the opposite, invert them.",
            mean,
        )
