"""A small EM-like volume whose ground truth is known exactly.

It imitates isotropic FIB-SEM of insect neuropil at 10 nm (the FlyEM medulla, on which the
shipped checkpoint was trained): grain, contrast, calibre of neurites, width of membranes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from emds.demo.cells import Tissue, as_connected_labels, depth_below_surface, grow_tissue
from emds.demo.organelles import microtubules, mitochondria, vesicles
from emds.demo.texture import Floats, Lengths, smooth_noise
from emds.errors import UsageError
from emds.geometry import Triple

_MARGIN = 8.0  # tens of nanometres of tissue around the box, so that its faces are not membranes
_MEMBRANE = 90.0  # grey level of an average membrane
_HALF_MEMBRANE = 1.7  # tens of nanometres, before blurring
_BLUR = (0.6, 1.0, 1.0)  # tens of nanometres
_GRAIN = 6.2  # standard deviation of the pixel noise, grey levels
_GRAIN_BLUR = (0.41, 0.43, 0.57)  # voxels: neighbours correlate, most along a scan line


def make_phantom(
    shape: Triple = (16, 256, 256),
    *,
    seed: int = 0,
    voxel_size: Lengths = (10.0, 10.0, 10.0),
) -> tuple[NDArray[np.uint8], NDArray[np.uint32]]:
    """Draw neurites with membranes, mitochondria, vesicles and microtubules, and image them.

    Parameters
    ----------
    shape : (Z, Y, X)
        Extent in voxels.
    seed : int
        Same seed, same bytes.
    voxel_size : (z, y, x) float
        Nanometres. The tissue keeps its physical size: smaller voxels show less of it.

    Returns
    -------
    raw : (Z, Y, X) uint8
        The image, membranes dark, with the grain of a good microscope but no added noise.
    labels : (Z, Y, X) uint32
        The neurite of every voxel: dense ids 1..n, each one 6-connected component. A membrane
        is divided between the two neurites it separates.

    Raises
    ------
    UsageError
        If an extent is not at least 1 voxel, or a voxel size is not positive.

    Examples
    --------
    >>> raw, labels = make_phantom((4, 48, 48), seed=3)
    >>> raw.dtype, labels.dtype, bool(labels.min() == 1)
    (dtype('uint8'), dtype('uint32'), True)
    """
    if len(shape) != 3 or min(shape) < 1:
        raise UsageError(f"a phantom's shape must be three extents (z, y, x) >= 1, not {shape}.")
    if len(voxel_size) != 3 or not all(0 < size < float("inf") for size in voxel_size):
        raise UsageError(f"voxel_size must be three positive lengths in nm, not {voxel_size}.")
    geometry, paint, imaging = np.random.default_rng(seed).spawn(3)
    z, y, x = (size / 10 for size in voxel_size)
    unit = (z, y, x)
    margin = [int(np.ceil(_MARGIN / size)) for size in unit]
    padded = (shape[0] + 2 * margin[0], shape[1] + 2 * margin[1], shape[2] + 2 * margin[2])
    box = tuple(slice(m, m + n) for m, n in zip(margin, shape, strict=True))

    tissue = grow_tissue(geometry, padded, unit)
    scene = _paint(paint, tissue)[box]
    return _image(imaging, scene, unit), as_connected_labels(tissue.labels[box])


def _paint(rng: np.random.Generator, tissue: Tissue) -> Floats:
    """Return the grey levels of the tissue as an ideal microscope would see them."""
    depth = depth_below_surface(tissue.labels, tissue.unit)

    def noise(length: float) -> Floats:
        return smooth_noise(rng, tissue.shape, tissue.in_voxels(length))

    level, roughness = _cytoplasm(rng, tissue)
    scene = level[tissue.labels] + roughness[tissue.labels] * (0.8 * noise(2.6) + 0.5 * noise(7))
    for darkness in (microtubules(rng, tissue), vesicles(rng, tissue, depth)):
        scene -= 0.55 * np.minimum(darkness, 1.2) * (scene - 70)

    inside, wall, cristae = mitochondria(rng, tissue, depth)
    matrix = 80 + 2.5 * noise(3) + 4 * cristae
    scene += inside * (matrix - scene)
    scene += wall * (76 - scene)

    # Membranes differ in contrast from place to place; synaptic ones are darkest and thick.
    patches = noise(14)
    dark = _MEMBRANE + 9 * noise(30) - 24 * np.clip(patches - 1.5, 0, 1)
    half = _HALF_MEMBRANE * (1 + 0.12 * noise(20) + 1.1 * np.clip(patches - 1.6, 0, 1))
    membrane = 1 / (1 + np.exp(np.clip((depth - half) / 0.35, -30, 30)))
    scene += membrane * (np.minimum(dark, scene) - scene)
    return scene.astype(np.float32)


def _cytoplasm(rng: np.random.Generator, tissue: Tissue) -> tuple[Floats, Floats]:
    """Draw the grey level and the roughness of every neurite's cytoplasm.

    Thin profiles, glia among them, are darker than thick ones.
    """
    radius = np.array([1.0] + [neurite.radius for neurite in tissue.neurites])
    thick = np.clip((np.log(radius) - np.log(4)) / np.log(8), 0, 1)
    level = 126 + 38 * thick + rng.normal(0, 14, len(radius))
    glia = (rng.random(len(radius)) < 0.12) & (radius < 27)
    level = np.where(glia, rng.uniform(102, 118, len(radius)), np.clip(level, 112, 182))
    roughness = rng.uniform(9, 18, len(radius))
    return level.astype(np.float32), roughness.astype(np.float32)


def _image(rng: np.random.Generator, scene: Floats, unit: Lengths) -> NDArray[np.uint8]:
    """Blur, let every section have its own brightness and contrast, add grain, and digitise."""
    seen = ndimage.gaussian_filter(scene, [b / u for b, u in zip(_BLUR, unit, strict=True)])
    per_section = (len(seen), 1, 1)
    contrast = 1 + 0.01 * rng.standard_normal(per_section, dtype=np.float32)
    brightness = 0.6 * rng.standard_normal(per_section, dtype=np.float32)
    seen = 130 + contrast * (seen - 130) + brightness
    seen += _GRAIN * _grain(rng, seen.shape)
    pixels: NDArray[np.uint8] = np.clip(np.rint(seen), 0, 255).astype(np.uint8)
    return pixels


def _grain(rng: np.random.Generator, shape: tuple[int, ...]) -> Floats:
    """Draw noise of deviation 1 whose neighbours correlate."""
    white = rng.standard_normal(shape, dtype=np.float32)
    blurred: Floats = ndimage.gaussian_filter(white, _GRAIN_BLUR, mode="wrap")
    impulse = np.zeros((9, 9, 9), np.float32)
    impulse[4, 4, 4] = 1
    left = float(np.sqrt(np.square(ndimage.gaussian_filter(impulse, _GRAIN_BLUR)).sum()))
    return blurred / np.float32(left)
