"""The arrays a run writes: results, and what one phase leaves for the next."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from emds.io import Container, Volume
from emds.segmentation.store import Store
from emds.stages.job import Job
from emds.stages.tables import Tables
from emds.stages.witness import Witness

if TYPE_CHECKING:
    from emds.io.zarr_image import ZarrImage

AFFINITIES = "affinities"
UNCERTAINTY = "uncertainty"
FRAGMENTS = "fragments"
LABELS = "neurons"


@dataclass(frozen=True, slots=True)
class Arrays:
    """What a run reads and writes, block by block.

    Attributes
    ----------
    predictions : list of ZarrImage
        What the network's values go to, as they come: the denoised image, the affinities, the
        uncertainty of the image, as far as they are asked for.
    affinities : Volume or None
        (C, Z, Y, X) uint8 on the region: written by the network, or the source.
    fragments : ZarrImage or None
        Labels of each block for itself, uint32; gone when the run ends.
    labels : ZarrImage or None
        The neurons.
    tables : Tables
        Gone when the run ends.
    witness : Witness
        Told what each block reads of the inputs.
    """

    predictions: list[ZarrImage]
    affinities: Volume | None
    fragments: ZarrImage | None
    labels: ZarrImage | None
    tables: Tables
    witness: Witness = field(default_factory=Witness)

    def store(self, job: Job) -> Store:
        """Return what the phases of labelling work on."""
        assert self.affinities is not None
        assert self.fragments is not None
        assert self.labels is not None
        return Store(self.affinities, job.mask, self.fragments, self.labels, self.tables)


def create_arrays(container: Container, job: Job) -> Arrays:
    """Make the arrays of a run, or find them where an earlier part of the run made them."""
    predictions: list[ZarrImage] = []
    affinities: Volume | None = job.source if job.model is None else None
    if job.model is not None:
        add = partial(
            container.create_image,
            shape=job.region.shape,
            chunk_shape=job.model.plan.chunk_shape,
            voxel_size=job.voxel_size,
            offset=job.offset,
        )
        if job.image is not None:
            history = job.history | {"image": job.image}
            predictions.append(add(None, dtype=job.source.dtype, attributes=history))
        if "affinities" in job.model.outputs:
            checkpoint = job.model.checkpoint
            history = job.history | {
                "offsets": [list(offset) for offset in checkpoint.offsets],
                "attractive": list(checkpoint.attractive),
                "labels": replace(checkpoint.labels, bias=()).described(),  # it is in the values
            }
            channels = len(checkpoint.offsets)
            stored = add(AFFINITIES, dtype=np.uint8, channels=channels, attributes=history)
            predictions.append(stored)
            affinities = stored
        if job.request.options.uncertainty:
            predictions.append(add(UNCERTAINTY, dtype=np.float32, attributes=job.history))
    fragments = labels = None
    if job.labels is not None:
        fragments = container.create_image(
            FRAGMENTS, job.region.shape, np.uint32, chunk_shape=job.labels.chunk_shape
        )
        labels = container.create_labels(
            LABELS,
            job.region.shape,
            np.uint64,
            chunk_shape=job.labels.chunk_shape,
            voxel_size=job.voxel_size,
            offset=job.offset,
            attributes=job.history | {"mutex_watershed": job.labels.described()},
        )
    tables = Tables(container.work_folder / "tables")
    return Arrays(predictions, affinities, fragments, labels, tables)


def temporary_images(job: Job) -> list[str]:
    """Return the names of the images that are only needed on the way."""
    if job.model is not None and job.labels is not None and not job.request.keep_affinities:
        return [FRAGMENTS, AFFINITIES]
    return [FRAGMENTS]
