"""The mutex watershed of python-elf under our conventions: a second opinion.

elf (with bioimage-cpp underneath) expects one minus the affinity in all channels, exactly as
many attractive channels as the array has axes and these first, and floats; it counts strides
from the corner of the array, and it changes the array it is given.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from emds.errors import UsageError
from emds.geometry import Triple
from emds.segmentation.affinities import AffinitySpec
from emds.segmentation.relabel import relabel_by_first_voxel


def elf_mutex_watershed(
    affinities: NDArray[np.uint8] | NDArray[np.uint16],
    spec: AffinitySpec,
    *,
    strides: Triple,
    mask: NDArray[np.bool_] | None,
    origin: Triple,
) -> NDArray[np.uint64]:
    """Segment affinities with elf; parameters and result as in `mutex_watershed`.

    Where weights are tied, the result may differ from the numba backend if an attractive channel
    comes after a mutex one, since elf needs the attractive ones first.

    Raises
    ------
    UsageError
        If `spec` has more attractive channels than elf can take: 3, or 2 within sections.
    """
    if spec.planar and sum(spec.attractive) <= 2:
        labels = _by_section(affinities, spec, strides, mask, origin)
    else:
        offsets = [list(offset) for offset in spec.offsets]
        labels = _call_elf(affinities, offsets, spec.attractive, strides, mask, origin)
    return relabel_by_first_voxel(labels)


def _by_section(
    affinities: NDArray[Any],
    spec: AffinitySpec,
    strides: Triple,
    mask: NDArray[np.bool_] | None,
    origin: Triple,
) -> NDArray[np.uint64]:
    labels = np.zeros(affinities.shape[1:], dtype=np.uint64)
    last = 0
    for z in range(len(labels)):
        has_mutexes = (z + origin[0]) % strides[0] == 0
        channels = [c for c, pulls in enumerate(spec.attractive) if pulls or has_mutexes]
        section = _call_elf(
            affinities[channels, z],
            [list(spec.offsets[c][1:]) for c in channels],
            tuple(spec.attractive[c] for c in channels),
            strides[1:],
            None if mask is None else mask[z],
            origin[1:],
        )
        labels[z] = np.where(section > 0, section + np.uint64(last), 0)
        last += int(section.max(initial=0))
    return labels


def _call_elf(
    affinities: NDArray[Any],
    offsets: list[list[int]],
    attractive: tuple[bool, ...],
    strides: tuple[int, ...],
    mask: NDArray[np.bool_] | None,
    origin: tuple[int, ...],
) -> NDArray[np.uint64]:
    from elf.segmentation.mutex_watershed import mutex_watershed

    shape = affinities.shape[1:]
    missing = len(shape) - sum(attractive)
    if missing < 0:
        raise UsageError(
            f"the elf backend takes at most {len(shape)} attractive channels here, not "
            f"{sum(attractive)}. Use the numba backend."
        )
    order = sorted(range(len(offsets)), key=lambda channel: not attractive[channel])
    # A channel whose partners all lie outside has no edges: it only makes up the number.
    away = [shape[0]] + [0] * (len(shape) - 1)
    elf_offsets = [away] * missing + [offsets[channel] for channel in order]

    # Voxels before the corner, masked out, put the array onto the global grid of the strides.
    front = tuple(o % s for o, s in zip(origin, strides, strict=True))
    inside: tuple[Any, ...] = tuple(slice(f, None) for f in front)
    padded = tuple(f + n for f, n in zip(front, shape, strict=True))
    elf_mask = None
    if mask is not None or any(front):
        elf_mask = np.zeros(padded, dtype=np.bool_)
        elf_mask[inside] = True if mask is None else mask

    # Multiples of a power of two: float32 keeps every weight, and every tie, exactly.
    top = np.iinfo(affinities.dtype).max
    scale = np.float32(1 / (top + 1))
    dissimilar = np.zeros((len(elf_offsets), *padded), dtype=np.float32)
    for position, channel in enumerate(order, start=missing):
        one = top + 1 if attractive[channel] else top  # elf turns attractive x into 1 - x again
        dissimilar[(position, *inside)] = (one - affinities[channel].astype(np.float32)) * scale
    labels = mutex_watershed(dissimilar, elf_offsets, list(strides), mask=elf_mask)
    return np.ascontiguousarray(labels[inside], dtype=np.uint64)
