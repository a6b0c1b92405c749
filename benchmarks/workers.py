"""Two workers against one process: the watershed of stored affinities, and prediction.

    python benchmarks/workers.py --out docs/results/workers.json

One and two take turns, every run a command of its own, start and all:

- ``segment``: affinities of six channels, those of `scale.py`, zarr to zarr (``--shape``);
- ``denoise``: the shipped `section.pt` on sections of ``--data``, one thread a process.

Wall seconds, and CPU seconds of the command with all that it started. In turn with them ``limit``
is taken, what the machine allows: how much more the watershed in memory does in two processes that
share nothing than in one. Of all ratios the median of the turns is told.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scale import ATTRACTIVE, OFFSETS, RepeatedVolume, periodic_affinities

from emds.geometry import iter_blocks
from emds.io import create_volume
from emds.segmentation.affinities import AffinitySpec
from emds.segmentation.watershed.mutex_watershed import mutex_watershed

BLOCK = ["64", "256", "256"]
EMDS = [sys.executable, "-m", "emds", "--quiet"]


def write_affinities(shape: tuple[int, int, int], path: Path) -> None:
    attributes = {
        "offsets": [list(offset) for offset in OFFSETS],
        "attractive": list(ATTRACTIVE),
        "mutex_strides": [1, 4, 4],
    }
    source = RepeatedVolume(periodic_affinities("noisy"), shape)
    with create_volume(
        path,
        shape=shape,
        dtype="uint8",
        channels=len(OFFSETS),
        chunk_shape=(16, 256, 256),
        role="affinities",
        attributes=attributes,
    ) as volume:
        for slab in iter_blocks(volume.roi, (16, *shape[1:])):
            volume.write(slab.write_roi, source.read(slab.write_roi))


def timed(command: list[str], out: Path, workers: int) -> dict[str, float]:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(
        [*EMDS, *command, "--out", str(out), "--overwrite", "--workers", str(workers)],
        check=True,
        stdout=subprocess.DEVNULL,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": round(wall, 1), "cpu_s": round(cpu, 1)}


def compare(command: list[str], out: Path, repeats: int) -> dict:
    runs: dict[int, list[dict[str, float]]] = {1: [], 2: []}
    limits = []
    for _ in range(repeats):
        limits.append(round(2 * kernel_seconds(1) / kernel_seconds(2), 2))
        for workers, results in runs.items():
            results.append(timed(command, out, workers))
            print(command[0], workers, results[-1], file=sys.stderr, flush=True)
    ratios = [one["wall_s"] / two["wall_s"] for one, two in zip(runs[1], runs[2], strict=True)]
    return {
        "one": runs[1],
        "two": runs[2],
        "limits": limits,
        "limit": statistics.median(limits),
        "two_workers_are_faster_by": round(statistics.median(ratios), 2),
    }


def kernel_seconds(processes: int) -> float:
    """Return how long the watershed in memory takes in so many processes at the same time."""
    command = [sys.executable, __file__, "--kernel"]
    running = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(processes)
    ]
    return statistics.mean(float(process.communicate()[0]) for process in running)


def time_kernel() -> float:
    affinities = np.tile(periodic_affinities("noisy"), (1, 1, 2, 2))
    spec = AffinitySpec(OFFSETS, ATTRACTIVE)
    mutex_watershed(affinities[:, :8], spec, strides=(1, 4, 4))
    started = time.perf_counter()
    for _ in range(4):
        mutex_watershed(affinities, spec, strides=(1, 4, 4))
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="../shared/data/flyem_medulla.h5")
    parser.add_argument("--shape", type=int, nargs=3, default=(256, 768, 768))
    parser.add_argument("--repeats", type=int, default=2)
    parser.add_argument("--only", choices=["segment", "denoise"])
    parser.add_argument("--out", type=Path)
    parser.add_argument("--kernel", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.kernel:
        print(time_kernel())
        return
    result: dict = {"shape": list(options.shape)}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if options.only != "denoise":
            kept = folder / "affinities.zarr"
            write_affinities(tuple(options.shape), kept)
            command = ["segment", str(kept), "--from-affinities", "--label-block-shape", *BLOCK]
            result["segment"] = compare(command, folder / "labels.zarr", options.repeats)
        if options.only != "segment":
            checkpoint = Path(__file__).parents[1] / "emds/pretrained/section.pt"
            command = ["denoise", options.data, "--checkpoint", str(checkpoint), "--roi", "0:192"]
            result["denoise"] = compare(command, folder / "image.zarr", options.repeats)
    text = json.dumps(result, indent=2)
    if options.out is not None:
        options.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
