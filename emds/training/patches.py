"""Training samples, each a function of (seed, step, index) alone.

No state is carried from one step to the next, so a resumed run draws the very samples that
the uninterrupted one would have drawn, and a prefetching thread changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emds.config import NoiseConfig, TrainConfig
from emds.errors import DataError
from emds.geometry import Roi, Triple
from emds.io.volume import Volume
from emds.noise import NoiseModel, add_noise, make_noise_model
from emds.training.augment import change_intensity, dihedral
from emds.training.planes import draw_plane, sample_image, sample_labels

_MARGIN = 64


@dataclass(frozen=True, slots=True)
class Batch:
    """Samples of one step, grey values as in the file.

    Attributes
    ----------
    noisy, clean : (n, y, x) uint8
        Network input and its target.
    labels : (n, y, x) int64 or None
        Instance ids; None where the recipe needs none.
    """

    noisy: NDArray[np.uint8]
    clean: NDArray[np.uint8]
    labels: NDArray[np.int64] | None


class PatchSampler:
    """Draws square samples from the training sections.

    Parameters
    ----------
    raw : Volume
        Clean images, uint8.
    labels : Volume or None
        Instance ids on the same grid.
    sections : (int, int)
        Half-open range of sections to draw from.
    config : TrainConfig
        Crop, batch size, seed, noise and augmentation.

    Raises
    ------
    DataError
        If raw and labels differ in shape, or the training sections are smaller than a crop.
    """

    def __init__(
        self, raw: Volume, labels: Volume | None, sections: tuple[int, int], config: TrainConfig
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
        crop = config.crop
        box = {"z": (1, crop, crop), "y": (crop, 1, crop), "x": (crop, crop, 1)}
        normals = "zyx" if config.augment.planes == "all" else "z"
        fitting = {n: box[n] for n in normals if _fits(box[n], self.region.shape)}
        if fitting.keys() != set(normals):
            raise DataError(
                f"training sections of {raw.location} are {self.region.shape} (z, y, x) and must "
                f"hold a crop of {crop} × {crop} in every plane of augment.planes="
                f"{config.augment.planes}. Lower it with --set crop=N (a multiple of 8)."
            )
        self.boxes: tuple[Triple, ...] = tuple(fitting.values())

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
        if config.augment.planes == "oblique":
            return self._oblique_sample(rng)
        shape = self.boxes[rng.integers(len(self.boxes))]
        z, y, x = (
            int(rng.integers(begin, end - n + 1))
            for begin, end, n in zip(self.region.offset, self.region.end, shape, strict=True)
        )
        roi = Roi((z, y, x), shape)
        flat = shape.index(1)
        element = int(rng.integers(8)) if config.augment.dihedral else 0

        def cut(values: NDArray[Any]) -> NDArray[Any]:
            return dihedral(np.moveaxis(values, flat, 0), element)

        raw = self.raw.read(roi)
        if config.noise.online:
            clean = change_intensity(cut(raw), config.augment, rng)
            noisy = self.noise.online(clean, rng)
        else:
            clean = cut(raw)
            noisy = cut(self.noise.fixed(raw, roi.offset, self.raw.shape, config.seed))
        ids = None if self.labels is None else cut(self.labels.read(roi).astype(np.int64))[0]
        return noisy[0], clean[0], ids

    def _oblique_sample(
        self, rng: np.random.Generator
    ) -> tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int64] | None]:
        augment = self.config.augment
        box, points = draw_plane(rng, self.config.crop, augment.zoom, self.region)
        clean = sample_image(self.raw.read(box), points)
        clean = change_intensity(clean, augment, rng)
        noisy = self.noise.online(clean[None], rng)
        ids = None
        if self.labels is not None:
            ids = sample_labels(self.labels.read(box), points).astype(np.int64)
        return noisy[0], clean, ids


class NoiseDrawer:
    """Adds the configured noise, anew for every sample or fixed by place."""

    def __init__(self, config: NoiseConfig) -> None:
        self.models: list[NoiseModel] = [
            make_noise_model(model.kind, **model.options()) for model in config.models
        ]
        shares = np.array([model.share for model in config.models])
        self.shares = shares / shares.sum()

    def online(self, clean: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return (1, y, x) with noise of a model, parameters and field drawn from `rng`."""
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


def iter_batches(sampler: PatchSampler, start: int, stop: int, ahead: int = 3) -> Iterator[Batch]:
    """Yield the batches of steps `start` to `stop`, made `ahead` of time in a thread."""
    with ThreadPoolExecutor(1, thread_name_prefix="patches") as pool:
        waiting: list[Future[Batch]] = []
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
