"""The command ``tune``: how affinities become labels, chosen on a volume with ground truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emds.errors import BlockError, DataError, OutputExistsError, UsageError
from emds.files import reading, refuse_inputs
from emds.geometry import Block
from emds.io.identity import volume_identity
from emds.io.volume import MemoryVolume, Volume
from emds.memory import memory_limit
from emds.metrics.alignment import common_region
from emds.metrics.contingency import as_ids
from emds.networks.checkpoint import Checkpoint, save_checkpoint
from emds.progress import Progress
from emds.segmentation.plan import bytes_per_voxel
from emds.stages.given_labels import given_labels
from emds.stages.job import Job, Request, prepare
from emds.stages.ladders import Ladders, Point, descend
from emds.stages.plan import InferenceOptions
from emds.stages.predict import make_predictor, predict_blocks
from emds.stages.provenance import described_roi
from emds.stages.trials import Judge, Metric, Trial, part_interval
from emds.stages.tuning_report import TuningReport
from emds.stages.unfamiliar import warn_of_grey_values


def tune(
    checkpoint: Path,
    source: Volume,
    labels: Volume,
    *,
    also: Sequence[Volume] = (),
    out: Path | None = None,
    options: InferenceOptions | None = None,
    metric: Metric = "voi",
    overwrite: bool = False,
    progress: Progress | None = None,
) -> TuningReport:
    """Choose mutex strides, smallest segment and biases, and write a checkpoint that has them.

    Affinities are predicted once and held in memory; every setting makes labels of them. The walk
    (`emds.stages.ladders.descend`) begins with what the checkpoint has, and takes a step if the
    score is better and the 95 % interval of the mean gain over the parts of the volume lies above
    0. Its end is kept if the cross-validated gain (`emds.metrics.selection`) is beyond chance by
    the same measure. Otherwise the checkpoint keeps its settings, and the new file says so.

    Parameters
    ----------
    checkpoint : Path
        A model that segments.
    source : Volume
        What the network will see: noise and all. No part of it may have been trained on.
    labels : Volume
        Its ground truth; it may be the larger or the smaller of the two, where their positions say
        how they lie.
    also : sequence of Volume
        More images of the same voxels with other noise, such as `emds.simulate_noise` makes with
        other seeds; settings are judged by their mean over all images. One image makes it easy to
        choose what suits its noise: a single wrong join of two large objects moves a score more
        than most settings do.
    out : Path, optional
        The new checkpoint; default `default_output`.
    options : InferenceOptions, optional
        Region, tiles, device, memory and the like. What is being chosen is not asked here.
    metric : {"voi", "arand"}
        Metric to minimise: the mean over sections (protocol ``strict``) where no offset leaves the
        section, else that of the volume.
    overwrite : bool
        An existing `out` may be replaced.
    progress : callable, optional
        Told (done, total, text).

    Raises
    ------
    OutputExistsError
        If `out` exists and `overwrite` is false.
    UsageError
        If the region has no labels, or is too large for the memory.
    DataError, CheckpointError
        Whatever is wrong with the inputs or the model.
    """
    with reading(checkpoint):
        return _tune(checkpoint, source, labels, also, out, options, metric, overwrite, progress)


def _tune(
    checkpoint: Path,
    source: Volume,
    labels: Volume,
    also: Sequence[Volume],
    out: Path | None,
    options: InferenceOptions | None,
    metric: Metric,
    overwrite: bool,
    progress: Progress | None,
) -> TuningReport:
    told = progress or (lambda *_: None)
    target = out or default_output(checkpoint)
    if target.exists() and not overwrite:
        raise OutputExistsError(f"{target} exists. Choose another --out, or add --overwrite.")
    refuse_inputs(target)
    asked = options or InferenceOptions()
    for image in also:
        if image.shape != source.shape:
            raise DataError(
                f"--also {image.location} is {image.shape}, {source.location} is {source.shape} "
                "(z, y, x); both must be images of the same voxels."
            )
    labels = given_labels(labels, "ground truth", source)
    region, truth, notes = common_region(source, labels, asked.roi, "ground truth")
    chosen = replace(asked, roi=region)
    jobs = [
        prepare(Request("segment", image.location, str(checkpoint), None, chosen), image, None)
        for image in (source, *also)
    ]
    for each in jobs:
        warn_of_grey_values(each)
    job = jobs[0]
    assert job.model is not None
    assert job.labels is not None
    model, spec = job.model.checkpoint, job.labels.scheme.spec
    _refuse_too_large(job, len(jobs))
    ids = MemoryVolume(as_ids(truth.read(), labels.location), location=labels.location)
    affinities = [_predict(each, told) for each in jobs]
    judge = Judge(affinities, spec, ids, region.offset, metric)
    bias = model.labels.bias or (0.0,) * spec.channels
    ladders = Ladders.around(replace(model.labels, bias=bias), spec)
    trials: dict[Point, Trial] = {}

    def trial(point: Point) -> Trial:
        if point not in trials:
            trials[point] = judge(ladders.setting(point))
        return trials[point]

    def better(one: Point, other: Point) -> bool:
        new, old = trial(one), trial(other)
        ahead = getattr(new.scores, metric) < getattr(old.scores, metric)
        gains = [before - now for before, now in zip(old.parts, new.parts, strict=True)]
        return bool(ahead and part_interval(gains, judge.part_name)[0] > 0)

    def told_of(turn: int, ladder: int) -> None:
        told(ladder, len(ladders.heights), f"round {turn}, {len(trials)} settings tried")

    trial(ladders.bottom)
    best = descend(ladders.bottom, ladders.heights, better, told_of)
    report = TuningReport(
        judge.protocol,
        metric,
        judge.part_name,
        ladders.groups,
        tuple(trials.values()),
        trials[best],
        str(target),
        notes,
    )
    save_checkpoint(_tuned(jobs, report, ids), target)
    return report


def default_output(checkpoint: Path) -> Path:
    """Return the path beside a checkpoint where the tuned one goes.

    Examples
    --------
    >>> default_output(Path("runs/best.pt")).as_posix()
    'runs/best_tuned.pt'
    """
    return checkpoint.with_name(f"{checkpoint.stem}_tuned{checkpoint.suffix}")


def _refuse_too_large(job: Job, images: int) -> None:
    """Refuse a region whose affinities and watershed do not fit in memory at once."""
    assert job.labels is not None
    spec, limit = job.labels.scheme.spec, memory_limit(job.request.options.max_memory)
    # Of each image affinities, as they are and quantized, and ids; of one, what a run needs, too.
    kept = images * (5 * spec.channels + 8)
    on_the_way = 4 * spec.channels + bytes_per_voxel(spec, job.region.shape[0])
    needed = job.region.size * (kept + on_the_way)
    if needed > limit:
        raise UsageError(
            f"tuning holds all affinities in memory: the region {job.region.shape} (z, y, x) takes "
            f"{needed / 1e9:.1f} GB, and {limit / 1e9:.1f} may be used. Name a part with --roi "
            "(some ten million voxels are plenty), or allow more with --max-memory."
        )


def _predict(job: Job, told: Progress) -> NDArray[np.float32]:
    """Return the affinities of the region, (C, Z, Y, X), as the network gives them."""
    assert job.model is not None
    plan, predictor = job.model.plan, make_predictor(job, worker=0)
    affinities = np.empty((predictor.channels, *plan.roi.shape), dtype=np.float32)
    blocks = plan.blocks()

    def write(block: Block, values: NDArray[np.float32]) -> None:
        affinities[(..., *block.write_roi.relative_to(plan.roi.offset).slices())] = values
        told(block.index + 1, len(blocks), "blocks predicted")

    told(0, len(blocks), "blocks predicted")
    try:
        predict_blocks(job, predictor, blocks, write)
    except BlockError as failed:
        raise failed.__cause__ or failed from None
    return affinities


def _tuned(jobs: Sequence[Job], report: TuningReport, truth: Volume) -> Checkpoint:
    """Return the checkpoint with what was chosen, and a record of why."""
    model = jobs[0].model
    assert model is not None
    described = report.to_dict()
    record: dict[str, Any] = {
        "volumes": [job.history["source"]["identity"] for job in jobs],
        "labels": volume_identity(truth),
        **described_roi(jobs[0].region),
        **{name: described[name] for name in ("protocol", "metric", "parts")},
        "tried": len(report.trials),
        "start": described["start"],
        "best": described["best"],
        "held_out_gain": described["held_out_gain"],
        "kept_start": not report.is_gain,
    }
    labels = report.chosen.setting
    if not any(labels.bias):
        labels = replace(labels, bias=())
    metrics = model.checkpoint.metrics | {"tuning": record}
    return model.checkpoint.model_copy(update={"labels": labels, "metrics": metrics})
