"""Training samples, each a function of (seed, step, index) alone.

No state is carried from one step to the next, so a resumed run draws the very samples that
the uninterrupted one would have drawn, and a prefetching thread changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from emds.config import NoiseConfig, TrainConfig
from emds.errors import DataError
from emds.geometry import Roi, Triple, middle
from emds.io.volume import Volume
from emds.noise import NoiseModel, add_noise, make_noise_model
from emds.training.augment import change_intensity, dihedral
from emds.training.planes import draw_stack, sample_image, sample_labels

Drawn = TypeVar("Drawn", covariant=True)

_MARGIN = 64
_THREADS_BESIDE_A_GPU = 8


class Sampler(Protocol[Drawn]):
    """What gives the batch of a step; it may be asked for any step, from any thread."""

    def batch(self, step: int) -> Drawn:
        """Return the samples of one step."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples of one step, grey values as in the file.

    Attributes
    ----------
    noisy : (n, K, y, x) uint8
        Network input: adjacent sections, each with noise of its own.
    clean : (n, M, y, x) uint8
        Target: the sections in the middle of the input.
    labels : (n, 2 R + 1, y, x) int64 or None
        Instance ids of the section in the middle and of R on either side; None where the recipe
        needs none.
    """

    noisy: NDArray[np.uint8]
    clean: NDArray[np.uint8]
    labels: NDArray[np.int64] | None


class PatchSampler:
    """Draws stacks of square sections from the training sections, which they never leave.

    Parameters
    ----------
    raw : Volume
        Clean images, uint8.
    labels : Volume or None
        Instance ids on the same grid.
    sections : (int, int)
        Half-open range of sections to draw from.
    config : TrainConfig
        Crop, sections in and out, batch size, seed, noise and augmentation.
    reach : int
        Sections that offsets reach above or below: R of `Batch`.

    Raises
    ------
    DataError
        If raw and labels differ in shape, or the training sections are smaller than a sample.
    """

    def __init__(
        self,
        raw: Volume,
        labels: Volume | None,
        sections: tuple[int, int],
        config: TrainConfig,
        *,
        reach: int = 0,
    ) -> None:
        if labels is not None and labels.shape != raw.shape:
            raise DataError(
                f"raw and labels must have one shape: {raw.location} is {raw.shape}, "
                f"{labels.location} is {labels.shape} (z, y, x)."
            )
        self.raw = raw
        self.labels = labels
        self.config = config
        self.region = config.data.box(sections, raw.shape)
        self.noise = NoiseDrawer(config.noise)
        self.label_depth = 2 * reach + 1
        crop, depth = config.crop, config.in_slices
        assert self.label_depth <= depth, "offsets reach further than the network sees"
        box = {0: (depth, crop, crop), 1: (crop, depth, crop), 2: (crop, crop, depth)}
        normals = (0, 1, 2) if config.augment.planes in ("all", "mixed") else (0,)
        if not all(_fits(box[axis], self.region.shape) for axis in normals):
            raise DataError(
                f"training sections of {raw.location} are {self.region.shape} (z, y, x) and must "
                f"hold a stack of {depth} crops of {crop} × {crop} in every plane of "
                f"augment.planes={config.augment.planes}. Lower it with --set crop=N (a multiple "
                "of 8) or --set in_slices=N (odd)."
            )
        self.boxes: tuple[tuple[int, Triple], ...] = tuple((axis, box[axis]) for axis in normals)

    def batch(self, step: int) -> Batch:
        """Return the samples of one step."""
        drawn = [self._sample(step, index) for index in range(self.config.batch_size)]
        noisy, clean, labels = zip(*drawn, strict=True)
        ids = None if self.labels is None else np.stack(labels)
        return Batch(np.stack(noisy), np.stack(clean), ids)

    def _sample(
        self, step: int, index: int
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int64] | None]:
        config = self.config
        rng = np.random.default_rng(np.random.SeedSequence([config.seed, step, index]))
        planes = config.augment.planes
        if planes == "oblique" or (planes == "mixed" and rng.integers(2)):
            return self._oblique_sample(rng)
        across, shape = self.boxes[rng.integers(len(self.boxes))]
        z, y, x = (
            int(rng.integers(begin, end - n + 1))
            for begin, end, n in zip(self.region.offset, self.region.end, shape, strict=True)
        )
        roi = Roi((z, y, x), shape)
        symmetries = 8 if config.in_slices == 1 else 16
        element = int(rng.integers(symmetries)) if config.augment.dihedral else 0

        def cut(values: NDArray[Any]) -> NDArray[Any]:
            return dihedral(np.moveaxis(values, across, 0), element)

        raw = self.raw.read(roi)
        if config.noise.online:
            clean = change_intensity(cut(raw), config.augment, rng)
            noisy = self.noise.online(clean, rng)
        else:
            clean = cut(raw)
            noisy = cut(self.noise.fixed(raw, roi.offset, self.raw.shape, config.seed))
        ids = None
        if self.labels is not None:
            marked = _thinned(roi, across, self.label_depth)
            ids = cut(self.labels.read(marked).astype(np.int64))
        return noisy, self._target(clean), ids

    def _oblique_sample(
        self, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int64] | None]:
        config, augment = self.config, self.config.augment
        depth = config.in_slices
        box, points = draw_stack(rng, depth, config.crop, augment.zoom, self.region)
        if depth > 1 and augment.dihedral and rng.integers(2):
            points = points[:, ::-1]  # a mirror image, which no rotation gives
        clean = change_intensity(sample_image(self.raw.read(box), points), augment, rng)
        noisy = self.noise.online(clean, rng)
        ids = None
        if self.labels is not None:
            marked = points[:, middle(depth, self.label_depth)]
            ids = sample_labels(self.labels.read(box), marked).astype(np.int64)
        return noisy, self._target(clean), ids

    def _target(self, clean: NDArray[np.uint8]) -> NDArray[np.uint8]:
        return clean[middle(self.config.in_slices, self.config.out_slices)]


class NoiseDrawer:
    """Adds the configured noise, anew for every sample or fixed by place."""

    def __init__(self, config: NoiseConfig) -> None:
        self.models: list[NoiseModel] = [
            make_noise_model(model.kind, **model.options()) for model in config.models
        ]
        shares = np.array([model.share for model in config.models])
        self.shares = shares / shares.sum()

    def online(self, clean: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return (z, y, x) with noise of a model drawn from `rng`, new for every section."""
        model = self.models[rng.choice(len(self.models), p=self.shares)]
        # Placed well inside a section, for film noise is stronger along a section's edge.
        _, height, width = clean.shape
        return add_noise(
            clean,
            model,
            seed=int(rng.integers(2**63)),
            origin=(0, _MARGIN, _MARGIN),
            section_shape=(height + 2 * _MARGIN, width + 2 * _MARGIN),
        )

    def fixed(
        self, clean: NDArray[np.uint8], origin: Triple, shape: Triple, seed: int
    ) -> NDArray[np.uint8]:
        """Return (z, y, x) with the noise that `emds simulate-noise` gives this place."""
        return add_noise(
            clean, self.models[0], seed=seed, origin=origin, section_shape=(shape[1], shape[2])
        )


def iter_batches(
    sampler: Sampler[Drawn], start: int, stop: int, device: torch.device
) -> Iterator[Drawn]:
    """Yield the batches of steps `start` to `stop`, made ahead of time in threads.

    One thread keeps up with a network on the CPU. Beside a GPU, drawing noise is what takes long.
    """
    threads = 1 if device.type == "cpu" else _THREADS_BESIDE_A_GPU
    ahead = threads + 2
    with ThreadPoolExecutor(threads, thread_name_prefix="patches") as pool:
        waiting: list[Future[Drawn]] = []
        try:
            for step in range(start, stop):
                waiting.append(pool.submit(sampler.batch, step))
                if len(waiting) > ahead:
                    yield waiting.pop(0).result()
            while waiting:
                yield waiting.pop(0).result()
        finally:
            for future in waiting:
                future.cancel()


def _fits(box: Triple, shape: Triple) -> bool:
    return all(a <= b for a, b in zip(box, shape, strict=True))


def _thinned(roi: Roi, axis: int, depth: int) -> Roi:
    """Return the `depth` sections in the middle of a stack along `axis`."""
    offset, shape = list(roi.offset), list(roi.shape)
    offset[axis] += middle(shape[axis], depth).start
    shape[axis] = depth
    return Roi((offset[0], offset[1], offset[2]), (shape[0], shape[1], shape[2]))
