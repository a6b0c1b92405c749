"""The network over all blocks: from grey values to the denoised image and affinities."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emds.errors import DataError
from emds.execution import BlockWork
from emds.geometry import Block, Roi
from emds.io import read_padded
from emds.networks.device import choose_device
from emds.segmentation.affinities import quantize
from emds.segmentation.bias import add_to_logits
from emds.stages.arrays import Arrays
from emds.stages.job import Job
from emds.stages.witness import hash_of
from emds.symmetry import SYMMETRIES
from emds.tiling.average import IMAGE, AveragedPredictor
from emds.tiling.predict import NetworkPredictor
from emds.tiling.stream import hull_of, stream_blocks


def predicting(job: Job, arrays: Arrays, worker: int) -> BlockWork:
    """Set up the work of predicting blocks: their numbers are those of ``job.model.plan``.

    Parameters
    ----------
    job : Job
        With a model.
    arrays : Arrays
        Receive the image, the affinities and the uncertainty.
    worker : int
        Number of this process; chooses among several GPUs.
    """
    model = job.model
    assert model is not None
    plan = model.plan
    predictor = make_predictor(job, worker)
    bias = model.checkpoint.labels.bias
    every = plan.blocks()

    def store(block: Block, values: NDArray[np.float32]) -> None:
        inside = block.write_roi.relative_to(plan.roi.offset)
        first = 0
        for array in arrays.predictions:
            if array.channels is None:
                array.write(inside, cast_grey(values[first], array.dtype))
            else:
                affinities = values[first : first + array.channels]
                array.write(inside, quantize(add_to_logits(affinities, bias)))
            array.sync(inside)
            first += array.channels or 1

    def work(blocks: Iterator[int], done: Callable[[int], None]) -> None:
        read: deque[NDArray[Any]] = deque()  # in the order in which blocks are written

        def write(block: Block, values: NDArray[np.float32]) -> None:
            arrays.witness.saw(block.index, read.popleft())
            store(block, values)
            done(block.index)

        predict_blocks(job, predictor, (every[n] for n in blocks), write, read.append)

    return work


def seen_of_block(job: Job, number: int) -> str:
    """Return the hash of what the input holds now where a block is predicted from it."""
    assert job.model is not None
    plan, halo = job.model.plan, int(job.model.checkpoint.architecture.get("in_slices", 1)) // 2
    return hash_of(read_padded(job.source, hull_of(plan.grid, plan.blocks()[number], halo)))


def predict_blocks(
    job: Job,
    predictor: AveragedPredictor,
    blocks: Iterable[Block],
    write: Callable[[Block, NDArray[np.float32]], None],
    seen: Callable[[NDArray[Any]], None] = lambda grey: None,
) -> None:
    """Apply the network of a job to blocks of ``job.model.plan``.

    Parameters
    ----------
    job : Job
        With a model.
    predictor : AveragedPredictor
        From `make_predictor`.
    blocks : iterable of Block
        What to predict, in order.
    write : callable
        Takes a block and its (channels, z, y, x) values, the affinities still as the network gave
        them, without the bias of the checkpoint; see `emds.tiling.stream.stream_blocks`.
    seen : callable
        Told the grey values that are read for each block, in order.

    Raises
    ------
    DataError
        If the network gives values that are not finite.
    """
    assert job.model is not None

    def read(roi: Roi) -> NDArray[Any]:
        grey = read_padded(job.source, roi)
        seen(grey)
        return grey

    def check(block: Block, values: NDArray[np.float32]) -> None:
        roi = block.write_roi
        if not np.isfinite(values).all():
            raise DataError(
                f"the network gave values that are not finite at {roi.offset} to {roi.end}: the "
                "checkpoint is broken, or --precision bf16 is too coarse for it."
            )
        write(block, values)

    stream_blocks(read, check, predictor, job.model.plan.grid, blocks)


def make_predictor(job: Job, worker: int) -> AveragedPredictor:
    """Load the network of a job onto the device of a worker."""
    model, options = job.model, job.request.options
    assert model is not None
    predictor = NetworkPredictor(
        model.checkpoint.build().keep_only(model.outputs),
        model.outputs,
        intensity=model.plan.intensity,
        device=choose_device(options.device, worker),
        batch_size=model.plan.batch_size,
        precision=options.precision,
    )
    affinities = model.checkpoint.offsets
    parts = [affinities if name == "affinities" else (IMAGE,) for name in model.outputs]
    # A single section has no symmetry along z.
    count = 1 if not options.tta else 16 if predictor.halo else 8
    return AveragedPredictor(
        predictor,
        [offset for part in parts for offset in part],
        SYMMETRIES[:count],
        uncertainty=options.uncertainty,
    )


def cast_grey(values: NDArray[np.float32], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return grey values in another type, rounded and clipped to its range if it has integers."""
    if np.issubdtype(dtype, np.floating):
        return values.astype(dtype)
    limits = np.iinfo(dtype)
    return np.clip(np.rint(values), limits.min, limits.max).astype(dtype)
