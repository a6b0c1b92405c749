"""Affinities: the probability that a voxel and its partner are one object (1 = same)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from emds.errors import DataError, UsageError
from emds.geometry import Triple

Offset = Triple
"""Where the partner of a voxel lies, (dz, dy, dx) in voxels."""

PAPER_OFFSETS: tuple[Offset, ...] = tuple(
    offset for reach in (1, 3, 5, 9, 15) for offset in ((0, -reach, 0), (0, 0, -reach))
)
"""The ten partners within a section that the MICCAI 2024 paper predicts."""


@dataclass(frozen=True)
class AffinitySpec:
    """What the channels of an affinity array mean.

    Attributes
    ----------
    offsets : tuple of (dz, dy, dx)
        Channel ``c`` compares voxel ``v`` with its partner ``v + offsets[c]``.
    attractive : tuple of bool
        True where a channel may merge its two voxels, with the affinity as the weight; False
        where it may only keep them apart (a mutex), with one minus the affinity as the weight.

    Raises
    ------
    UsageError
        If the two lengths differ, no channel is attractive, or an offset is zero or repeated.

    Examples
    --------
    >>> AffinitySpec(((0, 0, -1), (0, 0, -9)), (True, False)).planar
    True
    """

    offsets: tuple[Offset, ...]
    attractive: tuple[bool, ...]

    def __post_init__(self) -> None:
        if len(self.offsets) != len(self.attractive):
            raise UsageError(
                f"every offset needs its own attractive flag, but there are {len(self.offsets)} "
                f"offsets and {len(self.attractive)} flags."
            )
        if not any(self.attractive):
            raise UsageError(
                "no offset is attractive, so nothing could ever merge. "
                "Mark the offsets of the nearest neighbours as attractive."
            )
        for channel, offset in enumerate(self.offsets):
            if len(offset) != 3 or not any(offset):
                raise UsageError(
                    f"offset {channel} is {offset}; it must be a (dz, dy, dx) other than zero."
                )
            if offset in self.offsets[:channel]:
                raise UsageError(f"offset {offset} is given twice; remove one of the two.")

    @property
    def channels(self) -> int:
        """Number of channels."""
        return len(self.offsets)

    @property
    def planar(self) -> bool:
        """Whether every partner lies in the section of its voxel."""
        return all(dz == 0 for dz, _, _ in self.offsets)

    @property
    def reach(self) -> Triple:
        """How far the partners lie at most, along z, y and x.

        Examples
        --------
        >>> AffinitySpec(((0, 0, -1), (-2, 5, 0)), (True, False)).reach
        (2, 5, 1)
        """
        z, y, x = (max(map(abs, steps)) for steps in zip(*self.offsets, strict=True))
        return z, y, x

    def to_dict(self) -> dict[str, Any]:
        """Return the spec as JSON primitives, for checkpoints and array attributes.

        Examples
        --------
        >>> AffinitySpec(((0, 0, -1),), (True,)).to_dict()
        {'offsets': [[0, 0, -1]], 'attractive': [True], 'convention': '1 = same'}
        """
        return {
            "offsets": [list(offset) for offset in self.offsets],
            "attractive": list(self.attractive),
            "convention": "1 = same",
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> AffinitySpec:
        """Read what `to_dict` wrote.

        Raises
        ------
        DataError
            If a key is missing, a value is of the wrong kind, or the convention is another one.

        Examples
        --------
        >>> spec = AffinitySpec(((0, 0, -1),), (True,))
        >>> AffinitySpec.from_dict(spec.to_dict()) == spec
        True
        """
        convention = stored.get("convention", "1 = same")
        if convention != "1 = same":
            raise DataError(
                f"affinities must follow the convention '1 = same', not {convention!r}. "
                "Invert them first."
            )
        try:
            offsets = tuple((int(dz), int(dy), int(dx)) for dz, dy, dx in stored["offsets"])
            return cls(offsets, tuple(bool(flag) for flag in stored["attractive"]))
        except (KeyError, TypeError, ValueError, UsageError) as error:
            raise DataError(
                "affinities must be described by a list `offsets` of [dz, dy, dx] and a list "
                f"`attractive` of flags, but the stored description is {dict(stored)}: {error}"
            ) from error


PAPER_SPEC = AffinitySpec(PAPER_OFFSETS, (True, True) + (False,) * 8)
"""The paper's channels: the two nearest neighbours attract, the eight others are mutexes."""


def affinities_from_labels(
    labels: NDArray[np.unsignedinteger[Any]],
    offsets: Sequence[Offset],
    *,
    background: Literal["none", "ordinary"] = "none",
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Mark which voxel pairs belong to the same object.

    Channel ``c`` compares voxel ``v`` with its partner ``v + offsets[c]``.

    Parameters
    ----------
    labels : (Z, Y, X) uint
        Instance ids.
    offsets : sequence of (dz, dy, dx) int, length C
        Partner positions, in voxels.
    background : {"none", "ordinary"}
        What id 0 is: with ``"none"`` no object, so that it pairs with nothing, not even with
        itself; with ``"ordinary"`` an object like any other, as in the paper's training targets.

    Returns
    -------
    affinities : (C, Z, Y, X) bool
        True where both voxels belong to the same object.
    valid : (C, Z, Y, X) bool
        False where the partner lies outside the volume; mask the loss with it. The paper instead
        trains on these pairs as if they were the same: ``affinities | ~valid``.

    Raises
    ------
    DataError
        If `labels` is not a 3-D array of unsigned integers.
    UsageError
        If `background` is neither of the two words.

    References
    ----------
    Wolf et al., The Mutex Watershed and its Objective, arXiv:1904.12654.

    Examples
    --------
    >>> row = np.array([[[7, 7, 9, 0, 0]]], dtype=np.uint32)
    >>> same, valid = affinities_from_labels(row, [(0, 0, 1)])
    >>> same[0, 0, 0].tolist()
    [True, False, False, False, False]
    >>> valid[0, 0, 0].tolist()
    [True, True, True, True, False]
    >>> affinities_from_labels(row, [(0, 0, 1)], background="ordinary")[0][0, 0, 0].tolist()
    [True, False, False, True, False]
    """
    if labels.ndim != 3 or labels.dtype.kind != "u":
        raise DataError(
            "labels must be a 3-D array (z, y, x) of unsigned integers, not "
            f"{labels.ndim}-D {labels.dtype}. Convert them first, e.g. labels.astype('uint64')."
        )
    if background not in ("none", "ordinary"):
        raise UsageError(f"background must be 'none' or 'ordinary', not {background!r}.")
    same = np.zeros((len(offsets), *labels.shape), dtype=np.bool_)
    valid = np.zeros_like(same)
    for channel, offset in enumerate(offsets):
        source, partner = _pair_slices(labels.shape, offset)
        equal = labels[source] == labels[partner]
        if background == "none":
            equal &= labels[source] != 0
        same[channel][source] = equal
        valid[channel][source] = True
    return same, valid


def quantize(affinities: NDArray[np.floating[Any]]) -> NDArray[np.uint8]:
    """Round probabilities to the 256 levels that are stored and segmented.

    Parameters
    ----------
    affinities : float
        Probabilities in [0, 1], any shape.

    Returns
    -------
    uint8
        ``round(255 p)``.

    Raises
    ------
    DataError
        If a value is not a number or lies outside [0, 1].

    Examples
    --------
    >>> quantize(np.array([0.0, 0.1, 0.5, 1.0])).tolist()
    [0, 26, 128, 255]
    """
    if affinities.dtype.kind != "f":
        raise DataError(
            f"affinities to quantize must be probabilities (float), not {affinities.dtype}."
        )
    if affinities.size:
        low, high = float(affinities.min()), float(affinities.max())
        if np.isnan(low):
            raise DataError(
                "the affinities contain NaN. Look for NaN in the image or the checkpoint."
            )
        if low < 0 or high > 1:
            raise DataError(
                f"affinities must be probabilities in [0, 1], but range over [{low:g}, {high:g}]. "
                "Apply the sigmoid first."
            )
    levels: NDArray[np.uint8] = np.rint(affinities * 255).astype(np.uint8)
    return levels


def _pair_slices(
    shape: tuple[int, ...], offset: Offset
) -> tuple[tuple[slice, ...], tuple[slice, ...]]:
    source = tuple(
        slice(min(n, max(0, -o)), max(0, n - max(0, o))) for n, o in zip(shape, offset, strict=True)
    )
    partner = tuple(
        slice(min(n, max(0, o)), max(0, n - max(0, -o))) for n, o in zip(shape, offset, strict=True)
    )
    return source, partner
