"""Labels laid over an image in colours that tell right from wrong."""

from __future__ import annotations

import colorsys
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage
from skimage.measure import label as connected_components

_TOLERANCE = 3  # pixels by which a boundary may be off before it counts as wrong
_OPACITY = 0.42
_SCALE = 2  # overlays are drawn larger than the image, so that boundaries are thin
RIGHT, MISSING, FALSE = (255, 255, 255), (255, 48, 48), (255, 196, 0)
"""Colours of boundaries: as in the truth, in the truth alone, in the segmentation alone."""


def match_objects(labels: NDArray[Any], truth: NDArray[Any]) -> dict[int, int]:
    """Pair the objects of one section with true ones, each with at most one.

    Pairs are made in the order of the voxels they share. An id of the truth stands for as many
    objects as it has separate parts in the section.

    Parameters
    ----------
    labels, truth : (Y, X) int
        Ids; 0 is background.

    Returns
    -------
    matched : dict of int to int
        From an id of `labels` to one of `truth`; ids left over have no entry.

    Examples
    --------
    >>> match_objects(np.array([[7, 7, 8, 9]]), np.array([[1, 1, 1, 2]]))
    {7: 1, 9: 2}
    """
    ids, dense = np.unique(labels, return_inverse=True)
    _, dense_truth = np.unique(truth, return_inverse=True)
    parts = connected_components(dense_truth.reshape(truth.shape), background=-1, connectivity=1)
    id_of_part = np.zeros(parts.max() + 1, np.int64)
    id_of_part[parts] = truth
    pair, shared = np.unique(
        dense.ravel() * np.int64(len(id_of_part)) + parts.ravel(), return_counts=True
    )
    matched: dict[int, int] = {}
    taken: set[int] = set()
    for code in pair[np.argsort(-shared, kind="stable")]:
        own, part = int(ids[code // len(id_of_part)]), int(code % len(id_of_part))
        if own and id_of_part[part] and own not in matched and part not in taken:
            matched[own] = int(id_of_part[part])
            taken.add(part)
    return matched


def overlay_truth(image: NDArray[np.uint8], truth: NDArray[Any]) -> NDArray[np.uint8]:
    """Colour an image by true ids.

    Parameters
    ----------
    image : (Y, X) uint8
        Grey values.
    truth : (Y, X) int
        Ids; 0 stays grey.

    Returns
    -------
    painted : (2Y, 2X, 3) uint8
        Red, green, blue, at twice the size.
    """
    image, truth = _enlarged(image), _enlarged(truth)
    ids, dense = np.unique(truth, return_inverse=True)
    colours = np.array([_colour(int(number)) for number in ids])
    painted = _blend(image, colours[dense.reshape(truth.shape)], truth != 0)
    painted[_boundaries(truth)] = RIGHT
    return painted


def overlay_labels(
    image: NDArray[np.uint8], labels: NDArray[Any], truth: NDArray[Any]
) -> NDArray[np.uint8]:
    """Colour an image by labels, showing where they are wrong.

    An object matched to a true one has the colour that `overlay_truth` gives to that; one
    without a partner stays grey. Boundaries are white; amber, if the truth has none there; and
    red are boundaries of the truth that `labels` lack.

    Parameters
    ----------
    image : (Y, X) uint8
        Grey values.
    labels, truth : (Y, X) int
        Ids.

    Returns
    -------
    painted : (2Y, 2X, 3) uint8
        Red, green, blue, at twice the size.
    """
    matched = match_objects(labels, truth)
    image, labels, truth = _enlarged(image), _enlarged(labels), _enlarged(truth)
    ids, dense = np.unique(labels, return_inverse=True)
    dense = dense.reshape(labels.shape)
    colours = np.array([_colour(matched.get(int(number), 0)) for number in ids])
    coloured = np.array([int(number) in matched for number in ids])
    painted = _blend(image, colours[dense], coloured[dense])
    found, real = _boundaries(labels), _boundaries(truth)
    painted[found] = RIGHT
    painted[found & ~_near(real)] = FALSE
    painted[real & ~_near(found)] = MISSING
    return painted


def _colour(number: int) -> tuple[float, float, float]:
    """Return a colour that is far from those of the neighbouring numbers."""
    hue = number * 0.61803399 % 1  # golden ratio: successive hues never crowd
    red, green, blue = colorsys.hls_to_rgb(hue, 0.5 + 0.1 * (number % 3), 0.75)
    return 255 * red, 255 * green, 255 * blue


def _enlarged(values: NDArray[Any]) -> NDArray[Any]:
    return values.repeat(_SCALE, axis=0).repeat(_SCALE, axis=1)


def _blend(
    image: NDArray[np.uint8], colours: NDArray[np.float64], where: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    grey = np.repeat(image[..., None].astype(float), 3, axis=2)
    opacity = _OPACITY * where[..., None]
    painted: NDArray[np.uint8] = np.rint((1 - opacity) * grey + opacity * colours).astype(np.uint8)
    return painted


def _boundaries(labels: NDArray[Any]) -> NDArray[np.bool_]:
    """Mark pixels whose right or lower neighbour has another id: lines one pixel wide."""
    marked = np.zeros(labels.shape, bool)
    marked[:-1] |= labels[:-1] != labels[1:]
    marked[:, :-1] |= labels[:, :-1] != labels[:, 1:]
    return marked


def _near(marked: NDArray[np.bool_]) -> NDArray[np.bool_]:
    if not marked.any():
        return marked
    near: NDArray[np.bool_] = ndimage.distance_transform_edt(~marked) <= _TOLERANCE * _SCALE
    return near
