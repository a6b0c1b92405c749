"""Small runs of several blocks in every phase, and what to compare of their outputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from emds.io import create_volume
from emds.networks.checkpoint import Checkpoint, save_checkpoint
from emds.networks.joint import Architecture
from emds.stages.execute import execute
from emds.stages.job import Request, open_inputs
from emds.stages.plan import InferenceOptions

# Chunks are 16 deep and as wide as so small a volume: three blocks along z.
SHAPE = (36, 24, 16)
BLOCK = (16, 24, 16)

# Attractive and mutex edges across sections, so that segments and mutexes cross the blocks.
OFFSETS = ((-1, 0, 0), (0, -1, 0), (0, 0, -1), (-3, 0, 0), (0, -4, 0), (0, 0, -4))
ATTRACTIVE = (True, True, True, False, False, False)

PREDICTING = InferenceOptions(
    tile=(1, 16, 16),
    overlap=(0, 8, 0),
    batch_size=4,
    block_shape=BLOCK,
    label_block_shape=BLOCK,
    device="cpu",
    mutex_strides=(1, 2, 2),
    min_size=12,
)
LABELLING = InferenceOptions(label_block_shape=BLOCK, min_size=12, max_residual=1)


def write_grey(
    path: Path, seed: int = 0, voxel_size=(40.0, 10.0, 10.0), shape=SHAPE, changed=None
) -> Path:
    values = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
    if changed is not None:
        values[changed] ^= 1
    return _write(path, values, role="raw", voxel_size=voxel_size)


def write_mask(path: Path) -> Path:
    values = np.ones(SHAPE, np.uint8)
    values[5:30, 3:9] = 0
    return _write(path, values, role="labels", voxel_size=(40.0, 10.0, 10.0))


def write_affinities(path: Path, seed: int = 0, shape=SHAPE, attractive=ATTRACTIVE) -> Path:
    """Affinities of cells of about five voxels, with noise: many segments, some of them small."""
    rng = np.random.default_rng(seed)
    cells = rng.uniform(0, shape, (np.prod(shape) // 300, 3))
    voxels = np.stack(np.mgrid[tuple(map(slice, shape))], axis=-1).reshape(-1, 3)
    distance = np.stack([np.linalg.norm(voxels - cell, axis=1) for cell in cells])
    ids = distance.argmin(axis=0).reshape(shape)
    values = np.zeros((len(OFFSETS), *shape))
    for channel, (dz, dy, dx) in enumerate(OFFSETS):
        values[channel] = ids == np.roll(ids, (-dz, -dy, -dx), (0, 1, 2))
    noisy = 255 * np.clip(0.15 + 0.7 * values + rng.normal(0, 0.12, values.shape), 0, 1)
    attributes = {"offsets": OFFSETS, "attractive": attractive}
    return _write(path, noisy.astype(np.uint8), role="affinities", attributes=attributes)


def _write(path: Path, values: np.ndarray, **options: Any) -> Path:
    channels = len(values) if values.ndim == 4 else None
    shape = values.shape[-3:]
    with create_volume(
        path, shape=shape, dtype=values.dtype, channels=channels, **options
    ) as volume:
        volume.write(volume.roi, values)
    return path


def write_checkpoint(path: Path, seed: int = 0, recipe: str = "joint") -> Path:
    """A network with random weights that has affinities across sections, too."""
    torch.manual_seed(seed)
    network = Architecture(width="tiny", window=8, affinity_channels=len(OFFSETS)).build()
    network(torch.randn(4, 1, 16, 16))  # running statistics that are not the initial ones
    checkpoint = Checkpoint(
        architecture=network.architecture.to_dict(),
        weights=network.state_dict(),
        offsets=OFFSETS,
        attractive=ATTRACTIVE,
        crop=8,
        recipe=recipe,
    )
    save_checkpoint(checkpoint, path)
    return path


@dataclass(frozen=True)
class Example:
    """A command with its inputs; each run of it writes ``out.zarr`` in a folder of its own."""

    request: Request

    def but(self, **changes: Any) -> Example:
        """The same with other fields of the request."""
        return Example(replace(self.request, **changes))

    def with_options(self, **changes: Any) -> Example:
        return self.but(options=replace(self.request.options, **changes))

    def run(self, folder: Path, **how: Any) -> Path:
        folder.mkdir(exist_ok=True)
        source, mask = open_inputs(self.request)
        return Path(execute(self.request, source, mask, folder / "out.zarr", **how))


def make_examples(folder: Path) -> dict[str, Example]:
    """``run`` is quick enough for a few runs, ``segment`` for many."""
    grey = write_grey(folder / "grey.zarr")
    checkpoint = write_checkpoint(folder / "model.pt")
    affinities = write_affinities(folder / "affinities.zarr")
    return {
        "run": Example(Request("run", str(grey), str(checkpoint), None, PREDICTING)),
        "segment": Example(Request("segment", str(affinities), None, None, LABELLING)),
    }


def contents(out: Path) -> dict[str, bytes]:
    """Every file of an output, by its path."""
    return {
        str(path.relative_to(out)): path.read_bytes() for path in out.rglob("*") if path.is_file()
    }


class InterruptedHereError(Exception):
    """What `interrupt_after` raises."""


def interrupt_after(calls: int) -> Callable[[int, int, str], None]:
    """A progress callable that ends the run, as a bug would, with one of its calls."""
    count = 0

    def progress(done: int, total: int, what: str) -> None:
        nonlocal count
        count += 1
        if count > calls:
            raise InterruptedHereError

    return progress
