"""Memory and time against the size of the volume: 0.06, 0.5 and 4 Gvoxel.

    python benchmarks/scale.py --out docs/results/scale.json [--sizes 0 1 2] [--only segment]

- ``denoise``: tiles, blending, blocks and log, with a network that returns its input;
- ``segment``: the real watershed on affinities of six channels, three of them mutexes, that
  repeat every 64 x 128 x 128 voxels, made as they are read; with and without a smallest segment.
  They are ``noisy``, as of noisy EM, or ``clean``: what is held beside a block depends on how many
  fragments blocks leave, which is told;
- ``evaluate``: labels enlarged as they are read (``--labels``), against themselves shifted;
- ``simulate-noise``: Gaussian-Poisson.

Each is a process of its own; its peak memory is the kernel's account of it (VmHWM). What ``--out``
has already is not measured again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

import numpy as np

from emds.geometry import Roi
from emds.io import open_volume
from emds.io.volume import Volume

SHAPES = [(250, 500, 500), (500, 1000, 1000), (1000, 2000, 2000)]
PERIOD = (64, 128, 128)
OFFSETS = ((-1, 0, 0), (0, -1, 0), (0, 0, -1), (-3, 0, 0), (0, -9, 0), (0, 0, -9))
ATTRACTIVE = (True,) * 3 + (False,) * 3
LOGITS = {"clean": (5.0, 1.0), "noisy": (3.0, 2.5)}
"""How sure of an affinity, and the deviation of that."""


class RepeatedVolume(Volume):
    """An array that goes on and on, `zoom` voxels of the volume to one of its own."""

    def __init__(self, values, shape, *, zoom=1, shift=0, attributes=None, location="repeated"):
        self.values, self.zoom, self.shift = values, zoom, shift
        self.location, self.shape = location, shape
        self.channels = len(values) if values.ndim == 4 else None
        self.dtype, self.chunk_shape = values.dtype, (16, 256, 256)
        self.voxel_size, self.offset = (10.0, 10.0, 10.0), (0.0, 0.0, 0.0)
        self.attributes = attributes or {}

    def read(self, roi=None):
        box = roi or self.roi
        found = self.values
        for axis, (b, e) in enumerate(zip(box.offset, box.end, strict=True), start=-3):
            places = (np.arange(b, e) + self.shift) // self.zoom % found.shape[axis]
            found = found.take(places, axis=axis)
        return np.ascontiguousarray(found)


def periodic_affinities(kind: str) -> np.ndarray:
    """Soft affinities of cells that fit together at the ends."""
    from scipy.ndimage import gaussian_filter
    from scipy.spatial import cKDTree

    rng = np.random.default_rng(0)
    centres = rng.random((40, 3)) * PERIOD
    grid = np.stack(np.meshgrid(*map(np.arange, PERIOD), indexing="ij"), axis=-1)
    cells = cKDTree(centres, boxsize=PERIOD).query(grid)[1]
    channels = []
    for offset in OFFSETS:
        partner = np.roll(cells, [-d for d in offset], axis=(0, 1, 2))
        noise = gaussian_filter(rng.standard_normal(PERIOD), 1, mode="wrap")
        sure, deviation = LOGITS[kind]
        value = sure * (2.0 * (cells == partner) - 1) + deviation * noise / noise.std()
        channels.append(np.rint(255 / (1 + np.exp(-value))).astype(np.uint8))
    return np.stack(channels)


def denoise_it(shape, folder: Path, labels: str) -> dict:
    import torch

    from emds.networks.checkpoint import Checkpoint, save_checkpoint
    from emds.networks.joint import Architecture
    from emds.stages import predict
    from emds.stages.inference import denoise

    class Identity:
        channels, batch_size, halo = 1, 4, 0

        def __call__(self, tiles):
            return tiles[:, np.newaxis].astype(np.float32)

    torch.manual_seed(0)
    network = Architecture(networks=("denoiser",), width="tiny", window=128).build()
    path = folder / "stub.pt"
    save_checkpoint(
        Checkpoint(
            architecture=network.architecture.to_dict(),
            weights=network.state_dict(),
            crop=128,
            recipe="dn_only",
        ),
        path,
    )
    predict.make_predictor = lambda job, worker: Identity()
    grey = np.random.default_rng(0).integers(0, 256, PERIOD).astype(np.uint8)
    denoise(RepeatedVolume(grey, shape), path, out=folder / "out.zarr")
    return {}


def segment_it(shape, folder: Path, labels: str, kind: str = "noisy", min_size: int = 0) -> dict:
    from emds.stages.inference import segment
    from emds.stages.plan import InferenceOptions
    from emds.stages.tables import Tables

    found = {}

    def look(done, total, what):
        """Count what the blocks left, before it is solved."""
        if (what, done) == ("graph solved", 0):
            tables = Tables(folder / "out.zarr.partial" / ".emds" / "tables")
            blocks = range(len(list(tables.folder.glob("contract/*.npz"))))
            flags = [tables.load("contract", block)["is_open"] for block in blocks]
            size = np.prod(shape, dtype=np.int64) / 1e6
            found["blocks"] = len(blocks)
            found["fragments_per_mvoxel"] = round(sum(f.size for f in flags) / size)
            found["open_per_mvoxel"] = round(sum(int(f.sum()) for f in flags) / size)
            found["edges_gb"] = round(sum(tables.size("connect", b) for b in blocks) / 1e9, 2)

    attributes = {
        "offsets": [list(o) for o in OFFSETS],
        "attractive": list(ATTRACTIVE),
        "mutex_strides": [1, 4, 4],
    }
    source = RepeatedVolume(periodic_affinities(kind), shape, attributes=attributes)
    options = InferenceOptions(min_size=min_size, max_memory=2**30)
    segment(source, None, out=folder / "out.zarr", options=options, progress=look)
    return found


def evaluate_it(shape, folder: Path, labels: str) -> dict:
    from emds.stages.evaluate import evaluate

    with open_volume(labels, role="labels") as volume:
        values = volume.read(Roi.whole((125, 250, 250)))
    zoom = -(-shape[0] // values.shape[0])
    truth = RepeatedVolume(values, shape, zoom=zoom)
    evaluate(RepeatedVolume(values, shape, zoom=zoom, shift=3), truth)
    return {}


def simulate_it(shape, folder: Path, labels: str) -> dict:
    from emds.noise import make_noise_model
    from emds.stages.simulate_noise import simulate_noise

    grey = np.random.default_rng(0).integers(0, 256, PERIOD).astype(np.uint8)
    model = make_noise_model("gaussian-poisson")
    simulate_noise(RepeatedVolume(grey, shape), model, out=folder / "out.zarr")
    return {}


WORK = {
    "denoise": denoise_it,
    "segment": segment_it,
    "segment, smallest 200": partial(segment_it, min_size=200),
    "segment clean": partial(segment_it, kind="clean"),
    "segment clean, smallest 200": partial(segment_it, kind="clean", min_size=200),
    "evaluate": evaluate_it,
    "simulate-noise": simulate_it,
}


def memory(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", default="../shared/data/pinky40_labels_512.h5")
    parser.add_argument("--sizes", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--only", nargs="+", choices=WORK, default=list(WORK))
    parser.add_argument("--scratch", help="folder for outputs")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, size = options.one[0], int(options.one[1])
        with tempfile.TemporaryDirectory(dir=options.scratch) as folder:
            started, clock = time.process_time(), time.perf_counter()
            found = WORK[name](SHAPES[size], Path(folder), options.labels)
            cpu, wall = time.process_time() - started, time.perf_counter() - clock
        print(json.dumps({"peak_mb": round(memory("VmHWM") / 2**20), "cpu_s": round(cpu, 1),
                          "wall_s": round(wall, 1), **found}))  # fmt: skip
        return
    result: dict = {}
    if options.out is not None and options.out.exists():
        result = json.loads(options.out.read_text())
    for name in options.only:
        for size in options.sizes:
            gigavoxels = float(np.prod(SHAPES[size], dtype=np.int64) / 1e9)
            if any(one["gigavoxels"] == gigavoxels for one in result.get(name, ())):
                continue
            command = [sys.executable, __file__, *sys.argv[1:], "--one", name, str(size)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            one = {"gigavoxels": gigavoxels, **json.loads(done.stdout.splitlines()[-1])}
            result.setdefault(name, []).append(one)
            print(name, one, file=sys.stderr, flush=True)
            if options.out is not None:
                options.out.write_text(json.dumps(result, indent=2) + "\n")
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
