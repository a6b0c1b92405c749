"""CPU time and memory of the mutex watershed, beside bioimage-cpp and elf.

Run ``python benchmarks/mutex_watershed.py``; it prints one JSON object. The affinities are those
of real or synthetic labels, made soft and noisy: 30 x 512 x 512 voxels, three attractive and nine
mutex channels. Every measurement runs in a process of its own, in turn with the others:

- ``emds``: uint8 affinities;
- ``bioimage_float``: bioimage-cpp on the float32 affinities from which those were rounded;
- ``bioimage_same``: bioimage-cpp on the same 256 levels, as float32; must give our partition;
- ``elf``: our elf backend on the uint8 affinities.

CPU time is that of the call alone, after a warm-up on a small array. Peak memory is the growth
of the largest resident size over that before the call, so without the input, whose size stands
beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from emds.segmentation.affinities import AffinitySpec, affinities_from_labels, quantize
from emds.segmentation.relabel import relabel_by_first_voxel
from emds.segmentation.watershed.mutex_watershed import mutex_watershed

SPEC = AffinitySpec(
    ((-1, 0, 0), (0, -1, 0), (0, 0, -1), (-2, 0, 0), (-3, 0, 0), (0, -5, 0), (0, 0, -5),
     (0, -9, 0), (0, 0, -9), (0, -9, -9), (0, 9, -9), (0, -15, 0)),
    (True,) * 3 + (False,) * 9,
)  # fmt: skip
ATTRACTIVE = sum(SPEC.attractive)
WAYS = ("emds", "bioimage_float", "bioimage_same", "elf")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--labels", help="HDF5 file with volumes/labels/neuron_ids; else cells")
    parser.add_argument("--shape", type=int, nargs=3, default=(30, 512, 512))
    parser.add_argument("--strides", type=int, nargs=3, default=(1, 4, 4))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--worker", choices=WAYS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        print(json.dumps(measure(options.worker, options.folder, tuple(options.strides))))
        return
    with tempfile.TemporaryDirectory() as folder:
        labels = load_labels(options.labels, tuple(options.shape))
        np.save(Path(folder) / "affinities.npy", soft_affinities(labels))
        print(json.dumps(compare(options, Path(folder)), indent=2))


def compare(options: argparse.Namespace, folder: Path) -> dict[str, Any]:
    runs: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    for _ in range(options.repeats):
        for way in WAYS:
            strides = [str(stride) for stride in options.strides]
            arguments = ["--worker", way, "--folder", str(folder), "--strides", *strides]
            environment = os.environ | {"OMP_NUM_THREADS": "1", "NUMBA_NUM_THREADS": "1"}
            done = subprocess.run(
                [sys.executable, __file__, *arguments],
                check=True,
                stdout=subprocess.PIPE,
                env=environment,
            )
            runs[way].append(json.loads(done.stdout))
            print(way, runs[way][-1], file=sys.stderr)
    results = {
        way: {name: statistics.median(run[name] for run in found) for name in found[0]}
        for way, found in runs.items()
    }
    ours = results["emds"]
    partitions = {way: np.load(folder / f"{way}.npy") for way in WAYS}
    return {
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "shape": options.shape,
        "channels": SPEC.channels,
        "strides": options.strides,
        "labels": options.labels or "synthetic cells",
        "results": results,
        "cpu_ratio": {way: round(results[way]["cpu_s"] / ours["cpu_s"], 2) for way in WAYS},
        "same_partition": {
            way: bool(np.array_equal(partitions[way], partitions["emds"])) for way in WAYS
        },
    }


def measure(way: str, folder: Path, strides: tuple[int, int, int]) -> dict[str, float]:
    if way != "emds":
        import elf.segmentation  # noqa: F401  (its import is not what is measured)
    affinities = np.load(folder / "affinities.npy")
    if way != "bioimage_float":
        affinities = quantize(affinities)
    inputs = affinities if way in ("emds", "elf") else weights_for_bioimage(affinities)
    del affinities
    segment(way, np.ascontiguousarray(inputs[:, :4, :40, :40]), strides)
    before = reset_peak()
    start = time.process_time()
    labels = segment(way, inputs, strides)
    cpu = time.process_time() - start
    peak = peak_bytes() - before
    np.save(folder / f"{way}.npy", relabel_by_first_voxel(labels))
    return {
        "cpu_s": round(cpu, 3),
        "peak_mb": round(peak / 1e6, 1),
        "input_mb": round(inputs.nbytes / 1e6, 1),
        "bytes_per_voxel_with_input": round((peak + inputs.nbytes) / labels.size, 1),
        "segments": int(labels.max()),
    }


def segment(way: str, inputs: NDArray[Any], strides: tuple[int, int, int]) -> NDArray[np.uint64]:
    if way in ("emds", "elf"):
        backend = "numba" if way == "emds" else "elf"
        return mutex_watershed(inputs, SPEC, strides=strides, backend=backend)
    from bioimage_cpp.segmentation import mutex_watershed as bioimage

    return bioimage(inputs, list(SPEC.offsets), ATTRACTIVE, strides=list(strides))


def weights_for_bioimage(affinities: NDArray[Any]) -> NDArray[np.float32]:
    top = np.float32(255 if affinities.dtype == np.uint8 else 1)
    weights = affinities.astype(np.float32)
    weights[ATTRACTIVE:] = top - weights[ATTRACTIVE:]
    return weights


def reset_peak() -> int:
    """Forget the largest resident size so far (Linux) and return the present one."""
    clear = Path("/proc/self/clear_refs")
    if clear.exists():
        clear.write_text("5")
    return peak_bytes()


def peak_bytes() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        (line,) = [line for line in status.read_text().splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def load_labels(location: str | None, shape: tuple[int, int, int]) -> NDArray[np.uint64]:
    if location:
        import h5py

        with h5py.File(location) as file:
            box = tuple(slice(0, n) for n in shape)
            return np.asarray(file["volumes/labels/neuron_ids"][box], dtype=np.uint64)
    rng = np.random.default_rng(0)
    seeds = rng.random((np.prod(shape) // 20000, 3)) * shape
    stretch = np.array([4, 1, 1])  # thick sections
    from scipy.spatial import cKDTree

    voxels = np.indices(shape).reshape(3, -1).T
    _, nearest = cKDTree(seeds * stretch).query(voxels * stretch)
    return (1 + nearest).astype(np.uint64).reshape(shape)


def soft_affinities(labels: NDArray[np.uint64]) -> NDArray[np.float32]:
    """Return float affinities with blurred boundaries and errors of a few voxels' extent."""
    rng = np.random.default_rng(0)
    same, valid = affinities_from_labels(labels, SPEC.offsets, background="ordinary")
    soft = np.empty(same.shape, dtype=np.float32)
    for channel in range(SPEC.channels):
        ideal = (same[channel] | ~valid[channel]).astype(np.float32)
        blurred = ndimage.gaussian_filter(ideal, (0, 1, 1))
        fine = rng.standard_normal(ideal.shape, dtype=np.float32)
        errors = ndimage.gaussian_filter(
            rng.standard_normal(ideal.shape, np.float32), (0, 1.5, 1.5)
        )
        logits = 8 * (blurred - 0.5) + 1.5 * errors / errors.std() + 0.3 * fine
        soft[channel] = 1 / (1 + np.exp(-logits))
    return soft


if __name__ == "__main__":
    main()
