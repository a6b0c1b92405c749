"""From an affinity volume to labels on disk."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from emds.errors import UsageError
from emds.geometry import Roi, Triple, iter_blocks
from emds.io import Container, Volume
from emds.segmentation.affinities import AffinitySpec
from emds.segmentation.mutex_watershed import check_block, mutex_watershed
from emds.segmentation.small_segments import absorb_small_segments

LABELS = "neurons"

_CHUNK = (16, 256, 256)
_SLAB_BYTES = 2**28


@dataclass(frozen=True, slots=True)
class LabelSettings:
    """How affinities become labels.

    Attributes
    ----------
    mutex_strides : (z, y, x)
        On which voxels mutex edges are used.
    min_size : int
        Segments smaller than this, in voxels, join a neighbour; 0 keeps all.
    backend : {"numba", "elf"}
        Of the mutex watershed.
    """

    mutex_strides: Triple = (1, 1, 1)
    min_size: int = 0
    backend: Literal["numba", "elf"] = "numba"


def check_settings(shape: Triple, spec: AffinitySpec, settings: LabelSettings) -> None:
    """Refuse what cannot be labelled, before affinities are computed for it.

    Raises
    ------
    UsageError, DataError
        If the strides do not fit the offsets, or a section has too many edges.
    """
    strides = settings.mutex_strides
    if spec.planar and strides[0] != 1:
        raise UsageError(
            f"--mutex-strides {strides} must be 1 along z: no offset leaves the section, so a "
            "section that is skipped would have no mutex edge and fall into one segment."
        )
    check_block(shape, spec, strides)


def write_labels(
    container: Container,
    affinities: Volume,
    spec: AffinitySpec,
    settings: LabelSettings,
    mask: Volume | None,
    origin: Triple,
    provenance: dict[str, Any],
    progress: Callable[[int, int, str], None],
) -> None:
    """Run the mutex watershed and store ``labels/neurons``, ids dense in order of first voxel.

    Sections are independent of each other where no offset leaves the section, so the volume is
    then read slab by slab; otherwise it is segmented in one piece.

    Parameters
    ----------
    container : Container
        Receives the labels.
    affinities : Volume
        (C, Z, Y, X) uint8, 1 = same object as 255.
    spec : AffinitySpec
        What the channels mean.
    settings : LabelSettings
        How.
    mask : Volume or None
        Where it is 0, labels are 0; on the grid of the affinities.
    origin : (z, y, x)
        Place of the affinities in the volume whose coordinates the mutex strides count in.
    provenance : dict
        Stored with the labels.
    progress : callable
        Told (sections done, sections, "sections").
    """
    depth = _sections_at_once(affinities) if spec.planar else affinities.shape[0]
    labels = container.create_labels(
        LABELS,
        shape=affinities.shape,
        dtype=np.uint64,
        chunk_shape=(min(depth, _CHUNK[0]), *_CHUNK[1:]),
        voxel_size=affinities.voxel_size,
        offset=affinities.offset,
        attributes=provenance | {"mutex_watershed": asdict(settings) | spec.to_dict()},
    )
    last = 0
    for block in iter_blocks(affinities.roi, (depth, *affinities.shape[1:])):
        roi = block.write_roi
        ids = _segment(affinities.read(roi), roi, spec, settings, mask, origin)
        count = int(ids.max())
        np.add(ids, np.uint64(last), out=ids, where=ids > 0)
        labels.write(roi, ids)
        last += count
        progress(roi.end[0], affinities.shape[0], "sections segmented")


def _sections_at_once(affinities: Volume) -> int:
    _, height, width = affinities.shape
    section_bytes = height * width * (affinities.channels or 1)
    return max(1, min(_CHUNK[0], _SLAB_BYTES // section_bytes))


def _segment(
    values: NDArray[np.uint8],
    roi: Roi,
    spec: AffinitySpec,
    settings: LabelSettings,
    mask: Volume | None,
    origin: Triple,
) -> NDArray[np.uint64]:
    inside = None if mask is None else mask.read(roi) != 0
    place = roi.shift(origin).offset
    return label_affinities(values, spec, settings, mask=inside, origin=place)


def label_affinities(
    values: NDArray[np.uint8],
    spec: AffinitySpec,
    settings: LabelSettings,
    *,
    mask: NDArray[np.bool_] | None = None,
    origin: Triple = (0, 0, 0),
) -> NDArray[np.uint64]:
    """Return the labels of a box of affinities, (C, Z, Y, X) to (Z, Y, X), in memory."""
    ids = mutex_watershed(
        values,
        spec,
        strides=settings.mutex_strides,
        mask=mask,
        origin=origin,
        backend=settings.backend,
    )
    if settings.min_size > 1:
        ids = absorb_small_segments(ids, values, spec, settings.min_size)
    return ids
