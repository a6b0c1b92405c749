"""What lies inside neurites: mitochondria, vesicles, microtubules."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from emds.demo.cells import Neurite, Tissue
from emds.demo.texture import Floats, smooth_noise, stamp


def mitochondria(
    rng: np.random.Generator, tissue: Tissue, depth: Floats
) -> tuple[Floats, Floats, Floats]:
    """Lay mitochondria along the axes of neurites that are thick enough.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of positions and sizes.
    tissue : Tissue
        The neurites.
    depth : (Z, Y, X) float32
        Distance below the neurite's surface, tens of nanometres; mitochondria keep clear of it.

    Returns
    -------
    inside, wall : (Z, Y, X) float32
        How far a voxel lies inside a mitochondrion, or on its bounding membrane: 0 to 1.
    cristae : (Z, Y, X) float32
        Folds of the inner membrane, between -1 and 1; meaningful inside only.
    """
    # Signed height above the nearest mitochondrion's surface.
    above = np.full(tissue.shape, 9.0, np.float32)
    boxes = ndimage.find_objects(tissue.labels, max_label=len(tissue.neurites))
    for number, (neurite, box) in enumerate(zip(tissue.neurites, boxes, strict=True), start=1):
        if neurite.radius < 6 or rng.random() < 0.25 or box is None:
            continue
        own = tissue.labels[box] == number
        for centre in np.arange(rng.uniform(-40, 40), neurite.length, rng.uniform(40, 110)):
            height = _mitochondrion(rng, tissue, neurite, float(centre), box)
            above[box] = np.where(own, np.minimum(above[box], height), above[box])
    above += 0.5 * smooth_noise(rng, tissue.shape, tissue.in_voxels(8))
    above = np.maximum(above, 3.5 - depth)  # cytoplasm all round
    inside = _step(-above / 0.5)
    wall = np.exp(-((above + 0.4) ** 2) / 0.9).astype(np.float32) * (above < 6)
    folds = tissue.coordinates + 3 * np.stack(
        [smooth_noise(rng, tissue.shape, tissue.in_voxels(12)) for _ in range(3)]
    )
    cristae = np.sin(folds.sum(axis=0) * np.float32(0.75))
    return inside, wall, cristae.astype(np.float32)


def vesicles(rng: np.random.Generator, tissue: Tissue, depth: Floats) -> Floats:
    """Scatter clouds of vesicles, 40 nm rings, near the membranes of some neurites.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of positions.
    tissue : Tissue
        The neurites.
    depth : (Z, Y, X) float32
        Distance below the neurite's surface, tens of nanometres.

    Returns
    -------
    darkness : (Z, Y, X) float32
        About 1 at a vesicle, 0 elsewhere; more where several overlap.
    """
    presynaptic = np.array([False] + [n.radius > 8 and rng.random() < 0.7 for n in tissue.neurites])
    clouds = smooth_noise(rng, tissue.shape, tissue.in_voxels(25)) + 0.3
    density = np.where(presynaptic[tissue.labels], np.clip(clouds, 0, 1.5), 0)
    density *= (depth > 3.5) * np.exp(-depth / 40)
    per_unit = 0.016 * float(np.prod(tissue.unit))
    drawn = rng.random(tissue.shape, dtype=np.float32) < per_unit * density
    centres = np.argwhere(drawn)
    dense_core = rng.random(len(centres)) < 0.03
    ring = stamp(centres, tissue.shape, tissue.in_voxels(1.7))
    lumen = stamp(centres[~dense_core], tissue.shape, tissue.in_voxels(0.7))
    core = stamp(centres[dense_core], tissue.shape, tissue.in_voxels(2.0))
    return ring - 0.35 * lumen + core


def microtubules(rng: np.random.Generator, tissue: Tissue) -> Floats:
    """Draw bundles of thin dark lines along the axes of neurites: dots where cut across.

    Parameters
    ----------
    rng : numpy.random.Generator
        Source of positions.
    tissue : Tissue
        The neurites.

    Returns
    -------
    darkness : (Z, Y, X) float32
        About 1 on a microtubule, 0 elsewhere.
    """
    lines = []
    for neurite in tissue.neurites:
        if neurite.radius < 5 or rng.random() < 0.35:
            continue
        along = np.arange(0, neurite.length, 0.7)
        count = int(rng.integers(2, 4 + int(neurite.radius / 4)))
        for _ in range(count):
            across = 0.6 * np.sqrt(rng.random()) * _on_circle(rng)
            lines.append(neurite.at(along, np.tile(across, (len(along), 1))))
    if not lines:
        return np.zeros(tissue.shape, np.float32)
    points = tissue.to_voxels(np.concatenate(lines))
    # Points of a line lie closer than a dot is wide, so their sum is scaled back.
    return 0.35 * stamp(points, tissue.shape, tissue.in_voxels(0.9))


def _mitochondrion(
    rng: np.random.Generator,
    tissue: Tissue,
    neurite: Neurite,
    centre: float,
    box: tuple[slice, ...],
) -> Floats:
    """Return the signed height of a box's voxels above an ellipsoid around the axis."""
    radius = min(neurite.radius * rng.uniform(0.5, 0.9), rng.uniform(12, 32))
    half_length = radius * rng.uniform(1.5, 3.5)
    shift = rng.uniform(0, 0.35) * neurite.radius * _on_circle(rng)
    flatness = rng.uniform(0.75, 1.3)
    scales = (half_length, radius * flatness, radius / flatness)
    middle = (centre, *shift)
    relative = np.sqrt(
        sum(
            np.square((distance - np.float32(of)) / np.float32(scale))
            for distance, of, scale in zip(
                neurite.coordinates_of(tissue.coordinates[(slice(None), *box)]),
                middle,
                scales,
                strict=True,
            )
        )
    )
    height: Floats = (relative - 1) * np.float32(min(scales))
    return height


def _on_circle(rng: np.random.Generator) -> NDArray[np.float64]:
    angle = rng.uniform(0, 2 * np.pi)
    return np.array([np.cos(angle), np.sin(angle)])


def _step(x: Floats) -> Floats:
    return (1 / (1 + np.exp(-np.clip(x, -30, 30)))).astype(np.float32)
