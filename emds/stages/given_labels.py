"""Labels that a person gives: ids, not grey values, and 0 where there is no ground truth."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from emds.errors import DataError
from emds.geometry import Roi
from emds.io.volume import LayeredVolume, Volume
from emds.stages.grey_values import sample_boxes

logger = logging.getLogger("emds")

_IMAGE_LIKE = 1 / 3
"""Share of voxels unlike all around them: in EM images, denoised ones too, 0.5 and more; in labels
of neurons below 0.01."""
_RECURRING = 2  # voxels of each value, at least; ids that come once each are no grey values
_FEWEST = 500  # voxels that tell
_COVERING = 0.6  # of the voxels: more than any object has
_RESERVED = 3  # greatest ids of a type: TRANSPARENT, INVALID and OUTSIDE of imglib2


def reserved_ids(dtype: np.dtype[Any]) -> tuple[int, ...]:
    """Return the ids of a type that mark what has no ground truth.

    Paintera, BigCAT and the CREMI files keep the greatest three 64-bit numbers for that; read as
    32 bits, they are the greatest three of those.

    Examples
    --------
    >>> [2**64 - one for one in reserved_ids(np.dtype("u8"))], reserved_ids(np.dtype("u2"))
    ([1, 2, 3], ())
    """
    if dtype.kind != "u" or dtype.itemsize < 4:
        return ()
    greatest = int(np.iinfo(dtype).max)
    return tuple(greatest - n for n in range(_RESERVED))


class GivenLabels(LayeredVolume):
    """Labels with 0 in place of reserved ids.

    Parameters
    ----------
    labels : Volume
        As they are stored.
    name : str
        Name of the labels in messages.
    tell : callable
        Told once of each reserved id that is met.
    """

    def __init__(self, labels: Volume, name: str, tell: Callable[[str], None]) -> None:
        super().__init__(labels)
        self._name = name
        self._tell = tell
        self._reserved = reserved_ids(labels.dtype)
        self._met: set[int] = set()

    @override
    def read(self, roi: Roi | None = None) -> NDArray[Any]:
        ids = self.whole.read(roi)
        if self._reserved:
            special = ids >= self._reserved[-1]
            if special.any():
                self._mention(ids[special])
                ids[special] = 0
        return ids

    def look(self) -> None:
        """Tell of the reserved ids in a sample, before anything is done with the labels."""
        for box in sample_boxes(self, self.roi):
            self.read(box)

    def _mention(self, ids: NDArray[Any]) -> None:
        for one in sorted({int(value) for value in np.unique(ids)} - self._met):
            self._met.add(one)
            self._tell(
                f"id {one} of {self._name} {self.location} is reserved for voxels without ground "
                "truth, and counts as 0"
            )


def given_labels(
    labels: Volume,
    name: str,
    image: Volume | None = None,
    *,
    tell: Callable[[str], None] = logger.warning,
) -> Volume:
    """Return labels as they are to be used.

    Parameters
    ----------
    labels : Volume
        Integers (z, y, x).
    name : str
        What messages call them, e.g. ``ground truth``.
    image : Volume, optional
        What they belong to, and must not be.
    tell : callable
        Told what a reader should know.

    Raises
    ------
    DataError
        If they are grey values, or the very image.
    """
    if image is not None and _same(labels, image):
        raise DataError(
            f"{name} and image are one array, {labels.location}, and an image is no segmentation. "
            "Name the array or the file that holds ids."
        )
    given = GivenLabels(labels, name, tell)
    refuse_image(given, name)
    _mention_cover(given, name, tell)
    return given


def refuse_image(labels: Volume, name: str, truth: Volume | None = None) -> None:
    """Raise `DataError` if values change from voxel to voxel as grey values do.

    An object is larger than a voxel, so hardly any voxel of labels is unlike all four around it in
    its section. In an image most are.

    Parameters
    ----------
    labels : Volume
        Labels of any type; a sample is read.
    name : str
        Name of the value in the message.
    truth : Volume, optional
        Of the same shape; only voxels at which it is not 0 are looked at. Default: `labels`.
    """
    boxes = sample_boxes(labels, labels.roi) if labels.channels is None else []
    lonely, ids = [], []
    for box in boxes:
        values = labels.read(box)
        counted = (values if truth is None else truth.read(box)) != 0
        lonely.append(_unlike_all_around(values)[counted[:, 1:-1, 1:-1]])
        ids.append(values[counted])
    if sum(map(len, lonely)) < _FEWEST:
        return
    share = np.concatenate(lonely).mean()
    values = np.concatenate(ids)
    if share <= _IMAGE_LIKE or values.size < _RECURRING * np.unique(values).size:
        return
    raise DataError(
        f"{name} {labels.location} looks like an image: {share:.0%} of its voxels (in a "
        "sample) have another value than all four around them, as noise has, and no object is a "
        "single voxel. Name the array that holds ids."
    )


def _mention_cover(labels: Volume, name: str, tell: Callable[[str], None]) -> None:
    boxes = sample_boxes(labels, labels.roi) if labels.channels is None else []
    if not boxes:
        return
    values = np.concatenate([labels.read(box).ravel() for box in boxes])
    ids, counts = np.unique(values, return_counts=True)
    most = int(counts.argmax())
    if counts.size > 2 and ids[most] != 0 and counts[most] > _COVERING * values.size:
        tell(
            f"id {ids[most]} covers {counts[most] / values.size:.0%} of {name} {labels.location} "
            "(in a sample); if it marks voxels without ground truth, set them to 0"
        )


def _unlike_all_around(ids: NDArray[Any]) -> NDArray[np.bool_]:
    """Mark the inner voxels of sections that equal no neighbour, and lie on no even slope."""
    inner = ids[:, 1:-1, 1:-1]
    up, down = ids[:, :-2, 1:-1], ids[:, 2:, 1:-1]
    left, right = ids[:, 1:-1, :-2], ids[:, 1:-1, 2:]
    unlike = (inner != up) & (inner != down) & (inner != left) & (inner != right)
    uneven = (left - inner != inner - right) | (up - inner != inner - down)
    marked: NDArray[np.bool_] = unlike & uneven
    return marked


def _same(one: Volume, other: Volume) -> bool:
    if one.location == other.location == "memory":
        return False
    return os.path.realpath(one.location) == os.path.realpath(other.location)
