"""Put two volumes of one place on the same voxels."""

from __future__ import annotations

from emds.errors import DataError, UsageError
from emds.geometry import Roi, Triple
from emds.io.volume import CroppedVolume, Nanometres, Volume

_TOLERANCE = 0.05  # voxels: positions pass through text and float32 in some formats


def align(
    volume: Volume, reference: Volume, names: tuple[str, str] = ("segmentation", "ground truth")
) -> tuple[Volume, Volume, tuple[str, ...]]:
    """Cut the larger of two volumes to the smaller, where their positions say how.

    A result made from a region of interest carries that region's offset, so it can be compared
    with ground truth of the whole volume as it is; likewise ground truth of a small box with a
    result for everything.

    Parameters
    ----------
    volume, reference : Volume
        The volume to score, and its reference.
    names : (str, str)
        Names of the two in messages.

    Returns
    -------
    volume, reference : Volume
        The same, or one of them cropped; of one shape.
    notes : tuple of str
        What was cut, and what about the positions looks odd.

    Raises
    ------
    DataError
        If the shapes differ and the positions do not put one inside the other.

    Examples
    --------
    >>> import numpy as np
    >>> from emds.io.volume import MemoryVolume
    >>> truth = MemoryVolume(np.zeros((9, 9, 9)), voxel_size=(40, 4, 4))
    >>> part = MemoryVolume(np.zeros((2, 5, 5)), voxel_size=(40, 4, 4), offset=(80, 0, 12))
    >>> align(part, truth)[2]
    ('ground truth cut to z 2:4, y 0:5, x 3:8, the place of the segmentation',)
    """
    if volume.shape == reference.shape:
        return volume, reference, _oddities(volume, reference, names)
    step = _voxel_size(volume, reference)
    if step is not None:
        begin = _steps(reference.offset, volume.offset, step)
        if begin and reference.roi.contains(Roi(begin, volume.shape)):
            box = Roi(begin, volume.shape)
            note = f"{names[1]} cut to {_text(box)}, the place of the {names[0]}"
            return volume, CroppedVolume(reference, box), (note,)
        begin = _steps(volume.offset, reference.offset, step)
        if begin and volume.roi.contains(Roi(begin, reference.shape)):
            box = Roi(begin, reference.shape)
            note = f"{names[0]} cut to {_text(box)}, the place of the {names[1]}"
            return CroppedVolume(volume, box), reference, (note,)
    raise DataError(
        f"{names[0]} {volume.location} has shape {volume.shape} (z, y, x) and {names[1]} "
        f"{reference.location} has {reference.shape}; they must cover the same voxels, and their "
        f"positions ({_position(volume)}; {_position(reference)}) do not put one inside the "
        "other. If one is a part of the other, name that part with --roi z0:z1,y0:y1,x0:x1."
    )


def common_region(
    source: Volume, labels: Volume, roi: Roi | None, name: str
) -> tuple[Roi, Volume, tuple[str, ...]]:
    """Find the labels of a region of a volume; they may cover more or less than the volume.

    Parameters
    ----------
    source, labels : Volume
        The image, and its labels.
    roi : Roi or None
        The region, in voxels of `source`; None for all that has labels.
    name : str
        Name of the labels in messages.

    Returns
    -------
    region : Roi
        In voxels of `source`.
    labels : Volume
        Of that region.
    notes : tuple of str
        As in `align`.

    Raises
    ------
    UsageError
        If a part of the region has no labels.
    DataError
        As `align`.
    """
    cropped, inside, notes = align(source, labels, ("volume", name))
    labelled = source.roi
    if cropped is not source:
        assert isinstance(cropped, CroppedVolume)
        labelled = Roi(cropped.origin, cropped.shape)
    if roi is None:
        return labelled, inside, notes
    if not labelled.contains(roi):
        raise UsageError(
            f"the region from {roi.offset} to {roi.end} must lie where {source.location} has "
            f"{name}, {labelled.offset} to {labelled.end} (z, y, x, voxels). Name a part with "
            "--roi."
        )
    return roi, CroppedVolume(inside, roi.relative_to(labelled.offset)), notes


def _voxel_size(volume: Volume, reference: Volume) -> Nanometres | None:
    """Return the grid both lie on, or None where their positions say nothing."""
    mine, theirs = volume.voxel_size, reference.voxel_size
    if mine and theirs and not _same_size(mine, theirs):
        return None
    if mine or theirs:
        return mine or theirs
    # Without a voxel size offsets count voxels; equal ones are just the defaults.
    return (1.0, 1.0, 1.0) if volume.offset != reference.offset else None


def _steps(origin: Nanometres, position: Nanometres, step: Nanometres) -> Triple | None:
    exact = [(p - o) / s for o, p, s in zip(origin, position, step, strict=True)]
    z, y, x = (round(value) for value in exact)
    if any(abs(a - b) > _TOLERANCE for a, b in zip(exact, (z, y, x), strict=True)):
        return None
    return z, y, x


def _oddities(volume: Volume, reference: Volume, names: tuple[str, str]) -> tuple[str, ...]:
    notes = []
    mine, theirs = volume.voxel_size, reference.voxel_size
    if mine and theirs and not _same_size(mine, theirs):
        notes.append(f"voxel sizes differ: {names[0]} {mine} nm, {names[1]} {theirs} nm")
    if volume.offset != reference.offset:
        notes.append(
            f"offsets differ ({names[0]} {volume.offset}, {names[1]} {reference.offset}), "
            "shapes are equal: taken voxel by voxel"
        )
    return tuple(notes)


def _same_size(one: Nanometres, other: Nanometres) -> bool:
    return all(abs(a - b) <= 1e-3 * max(a, b) for a, b in zip(one, other, strict=True))


def _text(box: Roi) -> str:
    axes = zip("zyx", box.offset, box.end, strict=True)
    return ", ".join(f"{axis} {begin}:{end}" for axis, begin, end in axes)


def _position(volume: Volume) -> str:
    size = f"voxels of {volume.voxel_size} nm" if volume.voxel_size else "voxel size unknown"
    return f"offset {volume.offset}, {size}"
