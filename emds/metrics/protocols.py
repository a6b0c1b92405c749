"""What a segmentation is scored on: the volume, or its sections in one of three ways."""

from __future__ import annotations

from collections.abc import Sequence

from emds.errors import DataError, UsageError
from emds.io.volume import Volume
from emds.metrics.contingency import as_ids
from emds.metrics.report import PROTOCOLS, Protocol, SegmentationReport
from emds.metrics.segmentation import CONVENTIONS, Convention
from emds.metrics.slabs import iter_slabs
from emds.metrics.tallies import TALLIES
from emds.progress import Progress


def evaluate_segmentation(
    seg: Volume,
    gt: Volume,
    protocol: Protocol = "volume",
    convention: Convention = "cremi",
    *,
    progress: Progress | None = None,
) -> SegmentationReport:
    """Score one segmentation under one protocol; see `evaluate_protocols`."""
    return evaluate_protocols(seg, gt, (protocol,), convention, progress=progress)[0]


def evaluate_protocols(
    seg: Volume,
    gt: Volume,
    protocols: Sequence[Protocol],
    convention: Convention = "cremi",
    *,
    progress: Progress | None = None,
) -> tuple[SegmentationReport, ...]:
    """Score a segmentation under several protocols, reading both volumes once, slab by slab.

    Voxels with ground truth 0 are ignored in all of them.

    - ``volume``: ids as they are, one score for the whole volume. What a user of a 3-D
      segmentation wants to know.
    - ``strict``: every section by itself, then the mean. Both sides are relabelled by the
      4-connected components of each section, so neither an object that leaves the plane and
      comes back nor its 3-D id counts as a wrong join or cut, and a perfect 3-D segmentation
      scores 0. 4-connected, because the nearest neighbours that a watershed may link share an
      edge: pieces that touch only at a corner are out of its reach.
    - ``paper``: every section by itself with its 3-D ids, then the mean. (The paper also gave
      the watershed the ground truth's foreground as a mask. That belongs to making the
      segmentation; a score cannot add it.)
    - ``released``: ``paper`` with the ground truth cast to uint8, as the released code does:
      ids that are multiples of 256 turn into background and others fall together, so even a
      perfect segmentation scores above 0 where ids exceed 255.

    The paper used scikit-image: take the convention ``skimage`` beside its figures.

    Parameters
    ----------
    seg, gt : Volume
        Integer ids of one shape.
    protocols : sequence of str
        What to compute, in the order of the result.
    convention : {"cremi", "skimage"}
        See `emds.metrics.segmentation.scores`.
    progress : callable, optional
        Called with (slabs done, slabs in all, what).

    Raises
    ------
    UsageError
        If a protocol or the convention is unknown.
    DataError
        If the shapes differ, a volume does not hold non-negative integer ids, or no voxel of the
        ground truth belongs to an object.

    References
    ----------
    Wang et al., Joint EM Image Denoising and Segmentation with Instance-aware Interaction,
    MICCAI 2024.

    Examples
    --------
    >>> import numpy as np
    >>> from emds.io.volume import MemoryVolume
    >>> truth = MemoryVolume(np.array([[[300, 300, 44, 44]]]))
    >>> for report in evaluate_protocols(truth, truth, ["strict", "released"]):
    ...     print(report.protocol, report.scores.voi)
    strict 0.0
    released 1.0
    """
    _check_names(protocols, convention)
    _check_labels(seg, gt)
    tallies = [TALLIES[protocol]() for protocol in protocols]
    slabs = list(iter_slabs(seg, gt))
    for done, slab in enumerate(slabs, start=1):
        gt_ids = as_ids(gt.read(slab.write_roi), gt.location)
        seg_ids = as_ids(seg.read(slab.write_roi), seg.location)
        first = slab.write_roi.offset[0]
        for tally in tallies:
            for z, (gt_rows, seg_rows) in enumerate(zip(gt_ids, seg_ids, strict=True), first):
                tally.add(z, gt_rows, seg_rows)
            if slab.write_roi.end[1] == gt.shape[1]:
                tally.end_sections(convention)
        if progress:
            progress(done, len(slabs), "evaluate segmentation")
    return tuple(
        tally.report(protocol, convention, gt.location)
        for protocol, tally in zip(protocols, tallies, strict=True)
    )


def _check_names(protocols: Sequence[Protocol], convention: Convention) -> None:
    for protocol in protocols:
        if protocol not in PROTOCOLS:
            raise UsageError(
                f"unknown protocol {protocol!r}; choose from {', '.join(PROTOCOLS)}, or all."
            )
    if convention not in CONVENTIONS:
        raise UsageError(
            f"unknown convention {convention!r}; choose from {', '.join(CONVENTIONS)}."
        )


def _check_labels(seg: Volume, gt: Volume) -> None:
    for volume, name in ((seg, "segmentation"), (gt, "ground truth")):
        if volume.channels is not None or volume.dtype.kind not in "iub":
            held = f"{volume.dtype}"
            if volume.channels is not None:
                held = f"{volume.channels} channels of {held}"
            raise DataError(
                f"{name} {volume.location} must hold integer ids (z, y, x), not {held}. "
                "Name the label array, e.g. seg.zarr/labels/neurons or "
                "gt.h5:volumes/labels/neuron_ids."
            )
    if seg.shape != gt.shape:
        raise DataError(
            f"segmentation {seg.location} of shape {seg.shape} and ground truth {gt.location} of "
            f"shape {gt.shape} must cover the same voxels. Cut the larger one to the other."
        )
