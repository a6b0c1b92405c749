"""Neurites that fill a box: where they run, and which voxel belongs to which.

A neurite is a capsule (a segment with a radius) with an elliptic cross-section, laid into
space that a smooth field has bent. Capsules are placed one after the other, large ones first,
each in a gap the earlier ones left; what is left between them goes to the nearest surface.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from emds.demo.texture import Floats, Lengths, smooth_noise
from emds.geometry import Triple

_REACH = 24.0
"""How far a neurite may grow beyond its capsule to fill a gap, in tens of nanometres."""

_BENDS = ((34.0, 9.0), (9.0, 2.2))
"""Correlation length and amplitude of the fields that bend space, in tens of nanometres."""

_CALIBRES = (
    # smallest and largest radius, length, tries per (100 units)^3
    (36.0, 62.0, 130.0, 25),
    (14.0, 26.0, 260.0, 60),
    (6.0, 11.0, 260.0, 400),
    (3.2, 5.5, 140.0, 1100),
)


@dataclass(frozen=True, slots=True)
class Neurite:
    """A capsule in unbent space; all lengths in tens of nanometres.

    Attributes
    ----------
    start : (3,) float
        One end of its axis (z, y, x).
    direction : (3, 3) float
        Unit vectors: along the axis, across the flat side, across the narrow side.
    length, radius : float
        Of the axis, and of a circular cross-section of the same area.
    flatness : float
        Width over thickness of the cross-section, square-rooted; 1 is round.
    """

    start: NDArray[np.float64]
    direction: NDArray[np.float64]
    length: float
    radius: float
    flatness: float

    def at(self, along: NDArray[np.float64], across: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return points (N, 3) given as distance along the axis (N,) and across it (N, 2).

        `across` is in units of the cross-section: length 1 lies on the surface.
        """
        half = self.radius * np.array([self.flatness, 1 / self.flatness])
        points: NDArray[np.float64] = (
            self.start + along[:, None] * self.direction[0] + (across * half) @ self.direction[1:]
        )
        return points

    def coordinates_of(self, points: Floats) -> tuple[Floats, Floats, Floats]:
        """Return distances along the axis, and across it on the flat and the narrow side.

        `points` is (3, ...): z, y and x of unbent space.
        """
        # Written out: a matrix product would bring in threads that fight for the cores.
        z, y, x = (points[axis] - np.float32(self.start[axis]) for axis in range(3))
        along, flat, narrow = (
            np.float32(unit[0]) * z + np.float32(unit[1]) * y + np.float32(unit[2]) * x
            for unit in self.direction
        )
        return along, flat, narrow


@dataclass(frozen=True, slots=True)
class Tissue:
    """A box full of neurites.

    Attributes
    ----------
    labels : (Z, Y, X) int32
        Voxels of ``neurites[i]`` carry ``i + 1``; every voxel belongs to one.
    neurites : list of Neurite
    coordinates : (3, Z, Y, X) float32
        Where every voxel lies in unbent space, in tens of nanometres.
    unit : (z, y, x) float
        Voxel size in tens of nanometres.
    """

    labels: NDArray[np.int32]
    neurites: list[Neurite]
    coordinates: Floats
    unit: Lengths

    @property
    def shape(self) -> Triple:
        """Extent in voxels."""
        z, y, x = self.labels.shape
        return z, y, x

    def in_voxels(self, length: float) -> Lengths:
        """Convert tens of nanometres to voxels, for every axis."""
        return length / self.unit[0], length / self.unit[1], length / self.unit[2]

    def to_voxels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Carry points (N, 3) of unbent space to voxel positions, to about a voxel."""
        upper = np.array(self.labels.shape) - 1
        voxels = points / self.unit
        for _ in range(4):  # fixed point of p = q - bend(p); the bend is mild
            index = tuple(np.clip(np.rint(voxels).astype(np.int64), 0, upper).T)
            bent = self.coordinates[(slice(None), *index)].T
            nearest = np.stack(index, axis=1)
            voxels = nearest + (points - bent) / self.unit
        return voxels


def grow_tissue(rng: np.random.Generator, shape: Triple, unit: Lengths) -> Tissue:
    """Fill a box with neurites of very different calibre.

    Parameters
    ----------
    rng : numpy.random.Generator
        Every choice comes from it.
    shape : (Z, Y, X)
        The box, in voxels.
    unit : (z, y, x) float
        Voxel size in tens of nanometres.

    Returns
    -------
    tissue : Tissue
        Its labels may fall apart into several pieces; see `as_connected_labels`.
    """
    coordinates = _bent_coordinates(rng, shape, unit)
    extent = np.array(shape) * unit
    # Height of every voxel above the nearest surface so far, and whose surface that is.
    height = np.full(shape, np.inf, np.float32)
    owner = np.zeros(shape, np.int32)
    neurites: list[Neurite] = []
    for smallest, largest, length, density in _CALIBRES:
        room = np.prod((extent + 2 * smallest) / 100)
        for _ in range(int(np.ceil(room * density))):
            candidate = _draw_neurite(rng, extent, (smallest, largest), length)
            if not _fits(candidate, height, unit):
                continue
            neurites.append(candidate)
            _claim(candidate, len(neurites), height, owner, coordinates, unit)
    return Tissue(_spread(owner), neurites, coordinates, unit)


def as_connected_labels(owner: NDArray[np.int32], smallest: int = 40) -> NDArray[np.uint32]:
    """Give every connected piece its own id 1..n; scraps go to a neighbour.

    Parameters
    ----------
    owner : (Z, Y, X) int32
        Positive ids, whose voxels may lie in several pieces.
    smallest : int
        Pieces of fewer voxels are scraps.

    Returns
    -------
    labels : (Z, Y, X) uint32
        Dense, each id one 6-connected component, in order of first voxel.

    Examples
    --------
    >>> as_connected_labels(np.array([[[4, 4, 2, 4, 4]]], dtype=np.int32), smallest=2).tolist()
    [[[1, 1, 1, 2, 2]]]
    """
    pieces = connected_pieces(owner)
    size = np.bincount(pieces.ravel())
    if np.count_nonzero(size >= smallest) == 0:
        smallest = int(size.max())
    kept = np.where(size[pieces] >= smallest, pieces, 0)
    whole = _spread(kept)
    _, first, dense = np.unique(whole, return_index=True, return_inverse=True)
    rank = np.empty(len(first), np.uint32)
    rank[np.argsort(first)] = np.arange(1, len(first) + 1, dtype=np.uint32)
    labels: NDArray[np.uint32] = rank[dense].reshape(owner.shape)
    return labels


def connected_pieces(labels: NDArray[np.signedinteger]) -> NDArray[np.int32]:
    """Give every piece of a label that touches no other of its pieces a number of its own.

    Parameters
    ----------
    labels : (Z, Y, X) int
        Ids; 0 stays 0.

    Returns
    -------
    pieces : (Z, Y, X) int32
        Numbers from 1; voxels are connected through their faces.

    Examples
    --------
    >>> connected_pieces(np.array([[[5, 5, 2, 5]]])).tolist()
    [[[2, 2, 1, 3]]]
    """
    pieces = np.zeros(labels.shape, np.int32)
    count = 0
    for number, box in enumerate(ndimage.find_objects(labels), start=1):
        if box is not None:
            own = labels[box] == number
            found, new = ndimage.label(own)
            pieces[box][own] = found[own] + count
            count += new
    return pieces


def depth_below_surface(labels: NDArray[np.int32], unit: Lengths) -> Floats:
    """Return how far every voxel lies from the nearest other neurite, in tens of nanometres.

    Examples
    --------
    >>> row = np.array([[[1, 1, 1, 2, 2]]], dtype=np.int32)
    >>> depth_below_surface(row, (1.0, 1.0, 1.0)).tolist()
    [[[2.5, 1.5, 0.5, 0.5, 1.5]]]
    """
    surface = np.zeros(labels.shape, bool)
    for axis in range(3):
        lower = [slice(None)] * 3
        upper = [slice(None)] * 3
        lower[axis], upper[axis] = slice(None, -1), slice(1, None)
        differs = labels[tuple(lower)] != labels[tuple(upper)]
        surface[tuple(lower)] |= differs
        surface[tuple(upper)] |= differs
    distance = ndimage.distance_transform_edt(~surface, sampling=unit)
    depth: Floats = (distance + 0.5 * min(unit)).astype(np.float32)
    return depth


def _spread(labels: NDArray[np.int32]) -> NDArray[np.int32]:
    """Let labels grow into the zeros, one face-neighbour at a time: pieces stay connected."""
    grown = np.pad(labels, 1)
    steps = [sign * stride for stride in _strides(grown) for sign in (-1, 1)]
    flat = grown.ravel()
    inner = np.pad(np.ones(labels.shape, bool), 1).ravel()
    empty = np.flatnonzero((flat == 0) & inner)
    while len(empty):
        found = np.zeros(len(empty), flat.dtype)
        for step in steps:
            found = np.where(found, found, flat[empty + step])
        if not found.any():
            break
        flat[empty] = found
        empty = empty[found == 0]
    return grown[1:-1, 1:-1, 1:-1].copy()


def _strides(array: NDArray[np.int32]) -> list[int]:
    return [stride // array.itemsize for stride in array.strides]


def _bent_coordinates(rng: np.random.Generator, shape: Triple, unit: Lengths) -> Floats:
    coordinates = np.empty((3, *shape), np.float32)
    for axis, grid in enumerate(np.ogrid[tuple(slice(n) for n in shape)]):
        coordinates[axis] = grid * unit[axis]
        for correlation, amplitude in _BENDS:
            z, y, x = (correlation / size for size in unit)
            coordinates[axis] += amplitude * smooth_noise(rng, shape, (z, y, x))
    return coordinates


def _draw_neurite(
    rng: np.random.Generator,
    extent: NDArray[np.float64],
    radii: tuple[float, float],
    length: float,
) -> Neurite:
    radius = float(np.exp(rng.uniform(*np.log(radii))))
    frame, _ = np.linalg.qr(rng.standard_normal((3, 3)))
    length *= float(rng.uniform(0.5, 1.0))
    middle = rng.uniform(-radius, extent + radius)
    flatness = float(rng.uniform(1.0, 1.7))
    return Neurite(middle - frame[:, 0] * length / 2, frame.T, length, radius, flatness)


def _fits(candidate: Neurite, height: Floats, unit: Lengths) -> bool:
    """Say whether the axis runs through free space with room for most of the radius."""
    along = np.linspace(0, candidate.length, max(2, int(candidate.length / 4)))
    axis = np.rint(candidate.at(along, np.zeros((len(along), 2))) / unit).astype(np.int64)
    inside = np.all((axis >= 0) & (axis < height.shape), axis=1)
    if not inside.any():
        return False
    return bool(height[tuple(axis[inside].T)].min() >= 0.85 * candidate.radius)


def _claim(
    neurite: Neurite,
    number: int,
    height: Floats,
    owner: NDArray[np.int32],
    coordinates: Floats,
    unit: Lengths,
) -> None:
    """Lower `height` to the neurite's surface and take over the voxels nearest to it."""
    reach = max(_REACH, neurite.radius)  # so that later, thinner ones see how near this one is
    span = neurite.radius * neurite.flatness + reach + 2.5 * sum(a for _, a in _BENDS)
    ends = np.stack([neurite.start, neurite.start + neurite.length * neurite.direction[0]])
    low = np.maximum(np.floor((ends.min(0) - span) / unit), 0).astype(int)
    high = np.minimum(np.ceil((ends.max(0) + span) / unit) + 1, height.shape).astype(int)
    if np.any(low >= high):
        return
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    along, flat, narrow = neurite.coordinates_of(coordinates[(slice(None), *box)])
    beyond = along - np.clip(along, 0, np.float32(neurite.length))
    stretch = np.float32(neurite.flatness)
    distance = np.sqrt(beyond**2 + (flat / stretch) ** 2 + (narrow * stretch) ** 2)
    above = distance - np.float32(neurite.radius)
    nearer = above < height[box]
    height[box][nearer] = above[nearer]
    owner[box][nearer] = number
