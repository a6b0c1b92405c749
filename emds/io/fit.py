"""Whether the images of a container are all there and lie on one grid."""

from __future__ import annotations

from pathlib import Path

from emds.io.location import Location
from emds.io.mark import attributes_of, is_written_by_emds
from emds.io.multiscale import ome_attributes
from emds.io.seal import broken_seals
from emds.io.source import layout_of, why_not


def misfits(location: Location) -> list[str]:
    """Say what in a container of emds does not fit together; nothing of any other file.

    All images of a container are results for one region: the labels, the affinities and the
    image they belong to have the same extent.

    Returns
    -------
    list of str
        A sentence each.
    """
    if location.kind != "zarr":
        return []
    broken = broken_seals(location.path)
    if not is_written_by_emds(location.path):
        return broken
    from emds.io.zarr_volume import find_zarr_arrays

    found = find_zarr_arrays(location)
    images = [
        (source.location, layout_of(source, None).spatial_shape(source.values.shape))
        for source in found.sources
        if why_not(source, None, explicit=True) is None
    ]
    found.close()
    unlike = [
        f"{place} is {shape}, {images[0][0]} is {images[0][1]} (z, y, x)"
        for place, shape in images
        if shape != images[0][1]
    ]
    return broken + _lost_labels(location.path) + unlike


def _lost_labels(root: Path) -> list[str]:
    folder = root / "labels"
    listed = ome_attributes(attributes_of(folder)).get("labels") or []
    return [
        f"{folder / name} is not there, and the metadata of {folder} name it"
        for name in map(str, listed)
        if not (folder / name).is_dir()
    ]
