"""Peak memory against ``--max-memory``, for three sizes of volume: what the option bounds.

    python benchmarks/memory.py --out docs/results/memory.json [--only segment] [--sizes 0 1]

- ``denoise`` and ``run``: tiles, blending, blocks and labels with a network that takes no memory:
  the image is its input, and affinities within sections are told by differences of grey values;
- ``segment``: affinities of six channels within and across sections, made as they are read (those
  of `scale.py`).

Each is a process of its own. Told are the memory of the process once all is loaded and planned
(``before``), at its peak, and the difference, MiB; peaks are the kernel's account (VmHWM). What
``--out`` has already is not measured again.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from scale import ATTRACTIVE, OFFSETS, RepeatedVolume, periodic_affinities

SHAPES = [(125, 250, 250), (250, 500, 500), (300, 1000, 1000)]
LIMITS = (2**29, 2**30, 2**31)
PLANAR = ((0, -1, 0), (0, 0, -1), (0, -9, 0), (0, 0, -9))


class Stub:
    """A network of one output or of an image and planar affinities, without a network."""

    batch_size, halo = 4, 0

    def __init__(self, affinities: bool) -> None:
        self.offsets = PLANAR if affinities else ()
        self.channels = 1 + len(self.offsets)

    def __call__(self, tiles):
        values = tiles.astype(np.float32)
        channels = [values]
        for _, dy, dx in self.offsets:
            other = np.roll(values, (-dy, -dx), (-2, -1))
            channels.append(np.where(np.abs(values - other) < 8, 0.9, 0.1).astype(np.float32))
        return np.stack(channels, axis=1)


def memory(name: str) -> float:
    """Return a figure of this process's memory, MiB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(name):
            return int(line.split()[1]) / 1024
    raise SystemExit(f"no {name} on this machine")


def checkpoint_of(command: str, folder: Path) -> Path:
    """Write a model whose weights are never used."""
    import torch

    from emds.networks.checkpoint import Checkpoint, save_checkpoint
    from emds.networks.joint import Architecture

    torch.manual_seed(0)
    parts = ("denoiser",) if command == "denoise" else ("denoiser", "segmenter", "fusion")
    network = Architecture(
        networks=parts, width="tiny", window=128, affinity_channels=len(PLANAR)
    ).build()
    path = folder / "stub.pt"
    save_checkpoint(
        Checkpoint(
            architecture=network.architecture.to_dict(),
            weights=network.state_dict(),
            offsets=PLANAR if "segmenter" in parts else (),
            attractive=(True, True, False, False) if "segmenter" in parts else (),
            crop=128,
            recipe="dn_only" if command == "denoise" else "joint",
        ),
        path,
    )
    return path


def measure(command: str, shape: tuple[int, int, int], limit: int) -> dict:
    """Do a run in this process."""
    from emds.io.volume import MemoryVolume  # noqa: F401  (loaded before the count begins)
    from emds.stages import predict
    from emds.stages.inference import denoise, run, segment
    from emds.stages.plan import InferenceOptions

    os.fsync = lambda handle: None  # what waits for a disk takes no memory
    options = InferenceOptions(max_memory=limit)
    found: dict[str, float] = {}

    def look(done: int, total: int, what: str) -> None:
        found.setdefault("before", memory("VmRSS"))
        found[what] = memory("VmHWM")

    with tempfile.TemporaryDirectory(prefix="emds-memory-") as name:
        folder = Path(name)
        out = folder / "out.zarr"
        if command == "segment":
            affinities = periodic_affinities("noisy")
            attributes = {"offsets": OFFSETS, "attractive": ATTRACTIVE}
            volume = RepeatedVolume(affinities, shape, attributes=attributes)
            segment(volume, None, out=out, options=options, progress=look)
        else:
            cells = periodic_affinities("clean")[0]
            grey = np.where(cells > 128, 180, 40).astype(np.uint8)
            predict.make_predictor = lambda job, worker: Stub(command == "run")
            stage = run if command == "run" else denoise
            model = checkpoint_of(command, folder)
            stage(RepeatedVolume(grey, shape), model, out=out, options=options, progress=look)
    before = found.pop("before")
    peak = memory("VmHWM")
    return {
        "before_mib": round(before),
        "peak_mib": round(peak),
        "difference_mib": round(peak - before),
        "peak_after_phase_mib": {what: round(value) for what, value in found.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", nargs="+", default=["denoise", "run", "segment"])
    parser.add_argument("--sizes", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--limits", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        command, size, limit = arguments.one
        print(json.dumps(measure(command, SHAPES[int(size)], int(limit))))
        return
    known = json.loads(arguments.out.read_text()) if arguments.out.exists() else []
    done = {(row["command"], row["mvoxel"], row["max_memory_mib"]) for row in known}
    for size in arguments.sizes:
        for command in arguments.only:
            for limit in (LIMITS[number] for number in arguments.limits):
                mvoxel = round(float(np.prod(SHAPES[size])) / 1e6, 1)
                row = {"command": command, "mvoxel": mvoxel, "max_memory_mib": limit // 2**20}
                if tuple(row.values()) in done:
                    continue
                words = [sys.executable, __file__, "--one", command, str(size), str(limit)]
                said = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
                known.append(row | json.loads(said.stdout))
                print(known[-1], flush=True)
                arguments.out.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
