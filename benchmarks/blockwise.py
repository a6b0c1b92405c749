"""The blockwise mutex watershed on kept affinities: equality, CPU time, memory, and its peers.

    emds segment noisy.zarr --keep-affinities --out kept.zarr
    python benchmarks/blockwise.py kept.zarr --block-shape 64 256 256 --out result.json

Everything runs in a process of its own, one after the other:

- ``whole``: `mutex_watershed` on the array in memory; the global result;
- ``run``: `emds.segment` from zarr to zarr, block by block, reading, tables and writing included;
- ``memory``: the same phases on arrays and tables in memory;
- ``bioimage``: bioimage-cpp on the array in memory, as float32;
- ``none``: `emds.segment` with blocks left apart;
- ``elf_blockwise``, ``elf_stitch``: elf's `blockwise_mutex_watershed` and `stitch_segmentation`;
- ``workers``: the command ``emds segment`` with one process and with two, by the clock.

CPU seconds are those of the call after a warm-up; for the command, all its processes. VOI is that
between a result and the global one, in 3-D.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from emds.geometry import Roi
from emds.io import MemoryVolume, open_volume
from emds.metrics import evaluate_segmentation
from emds.segmentation.affinities import AffinitySpec
from emds.segmentation.phases import label_affinities
from emds.segmentation.settings import LabelSettings
from emds.segmentation.watershed.mutex_watershed import mutex_watershed
from emds.stages.inference import segment
from emds.stages.plan import InferenceOptions

OURS = ("whole", "run", "memory", "none")
PEERS = ("bioimage", "elf_blockwise", "elf_stitch")
HALO = (4, 32, 32)


def inputs(options):
    volume = open_volume(options.affinities, role="affinities")
    return volume, AffinitySpec.from_dict(volume.attributes), tuple(options.strides)


def run_emds(volume, options, folder: Path, stitch: str = "exact") -> np.ndarray:
    chosen = InferenceOptions(
        label_block_shape=tuple(options.block_shape),
        mutex_strides=tuple(options.strides),
        min_size=0,
        stitch=stitch,
        max_residual=options.max_residual,
    )
    out = segment(volume, None, out=folder / f"{stitch}.zarr", options=chosen, overwrite=True)
    return open_volume(out, role="labels").read()


def float_affinities(values: np.ndarray, spec: AffinitySpec) -> tuple[np.ndarray, list[list[int]]]:
    """As bioimage-cpp wants them: attractive channels first, the others inverted."""
    order = sorted(range(spec.channels), key=lambda c: not spec.attractive[c])
    floats = values[order].astype(np.float32) / 255
    floats[sum(spec.attractive) :] = 1 - floats[sum(spec.attractive) :]
    return floats, [list(spec.offsets[c]) for c in order]


def make(way: str, values, volume, spec, strides, options, folder: Path):
    """Return what to time: a function of no arguments that gives labels."""
    if way == "whole":
        return lambda: mutex_watershed(values, spec, strides=strides)
    if way == "memory":
        return lambda: label_affinities(
            values, spec, LabelSettings(strides), block_shape=tuple(options.block_shape)
        )
    if way in ("run", "none"):
        return lambda: run_emds(volume, options, folder, "exact" if way == "run" else way)
    if way == "bioimage":
        import bioimage_cpp

        floats, offsets = float_affinities(values, spec)
        attractive = sum(spec.attractive)
        return lambda: bioimage_cpp.segmentation.mutex_watershed(
            floats, offsets, attractive, strides=list(strides)
        )
    floats, offsets = float_affinities(values, spec)
    floats[: sum(spec.attractive)] = 1 - floats[: sum(spec.attractive)]
    from elf.segmentation import mutex_watershed as elf
    from elf.segmentation.stitching import stitch_segmentation

    if way == "elf_blockwise":
        return lambda: elf.blockwise_mutex_watershed(
            floats, offsets, list(strides), tuple(options.block_shape), n_threads=1
        )
    channels_last = np.moveaxis(floats, 0, -1)

    def one_tile(tile, _):
        copied = np.ascontiguousarray(np.moveaxis(tile, -1, 0))
        return elf.mutex_watershed(copied, offsets, list(strides))

    return lambda: stitch_segmentation(
        channels_last, one_tile, tuple(options.block_shape), HALO,
        shape=values.shape[1:], with_background=False, n_threads=1, verbose=False,
    )  # fmt: skip


def measure(way: str, options) -> dict:
    """Run one way in this process and keep its labels."""
    volume, spec, strides = inputs(options)
    folder = Path(options.folder)
    small = volume.read(Roi.whole(tuple(min(n, 20) for n in volume.shape)))
    if way in OURS:
        mutex_watershed(small, spec, strides=strides)
        label_affinities(small, spec, LabelSettings(strides), block_shape=(8, 16, 16))
    values = None if way in ("run", "none") else volume.read()
    work = make(way, values, volume, spec, strides, options, folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started, clock = time.process_time(), time.perf_counter()
    labels = work()
    cpu, wall = time.process_time() - started, time.perf_counter() - clock
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    np.save(folder / f"{way}.npy", labels.astype(np.uint64))
    return {
        "cpu_s": round(cpu, 2),
        "wall_s": round(wall, 2),
        "peak_growth_mb": round(peak / 1024),
        "segments": int(labels.max()),
    }


def measure_workers(workers: int, options) -> dict:
    out = Path(options.folder) / f"workers{workers}.zarr"
    words = [sys.executable, "-m", "emds", "-q", "segment", options.affinities]
    words += ["--from-affinities", "--min-size", "0", "--overwrite", "--out", str(out)]
    words += ["--mutex-strides", *map(str, options.strides), "--workers", str(workers)]
    words += ["--label-block-shape", *map(str, options.block_shape)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    started = time.perf_counter()
    subprocess.run(words, check=True)
    wall = time.perf_counter() - started
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_s": round(wall, 2), "cpu_s": round(cpu, 2)}


def compare(options) -> dict:
    volume, spec, strides = inputs(options)
    result: dict = {
        "affinities": os.path.basename(options.affinities),
        "shape": list(volume.shape),
        "channels": spec.channels,
        "mutex_strides": list(strides),
        "block_shape": list(options.block_shape),
    }
    ways = OURS + (PEERS if options.peers else ())
    folder = Path(options.folder)
    for repeat in range(options.repeats):
        for way in ways:
            command = [sys.executable, __file__, *sys.argv[1:], "--way", way]
            command += ["--folder", options.folder]
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            one = json.loads(done.stdout.splitlines()[-1])
            if repeat == 0 or one["cpu_s"] < result[way]["cpu_s"]:
                result[way] = one
            print(way, one, file=sys.stderr, flush=True)
    whole = np.load(folder / "whole.npy")
    for way in ways[1:]:
        labels = np.load(folder / f"{way}.npy")
        same = bool(np.array_equal(labels, whole))
        result[way]["equals_whole"] = same
        scores = evaluate_segmentation(MemoryVolume(labels), MemoryVolume(whole), "volume").scores
        result[way]["voi_to_whole"] = round(scores.voi, 6)
    if options.workers:
        one = [measure_workers(n, options) for n in (1, 2) for _ in range(1)]
        result["workers"] = {"1": one[0], "2": one[1]}
        result["workers"]["speedup"] = round(one[0]["wall_s"] / one[1]["wall_s"], 2)
        labels = open_volume(folder / "workers2.zarr", role="labels").read()
        result["workers"]["equals_whole"] = bool(np.array_equal(labels, whole))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("affinities", help="written with --keep-affinities")
    parser.add_argument("--block-shape", type=int, nargs=3, default=(64, 256, 256))
    parser.add_argument("--strides", type=int, nargs=3, default=(1, 4, 4))
    parser.add_argument("--max-residual", type=int)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--no-peers", dest="peers", action="store_false")
    parser.add_argument("--workers", action="store_true", help="time the command as well")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--way", choices=OURS + PEERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measure(options.way, options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        options.folder = folder
        result = compare(options)
    text = json.dumps(result, indent=2)
    if options.out is not None:
        options.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
