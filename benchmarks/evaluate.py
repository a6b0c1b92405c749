"""Score 125 sections of 1250×1250 labels: emds, elf and scikit-image, CPU time and memory.

Each run is a process of its own that loads the same two label volumes, does everything once on a
small crop (imports, compiled code), and then measures one evaluation: CPU seconds, and how far
the peak memory rises above what the process held before. The three take turns.

    python benchmarks/evaluate.py [--shape 125 1250 1250] [--repeats 3]

Prints one JSON object.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np


def make_labels(shape: tuple[int, int, int], seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Cells that drift from section to section, and a segmentation with errors of every kind."""
    from scipy.spatial import cKDTree

    rng = np.random.default_rng(seed)
    depth, height, width = shape
    margin = 32
    canvas = height + 2 * margin, width + 2 * margin
    cells = max(20, canvas[0] * canvas[1] // 2500)
    grid = np.stack(np.meshgrid(*(np.arange(size) for size in canvas), indexing="ij"), axis=-1)
    nearest = cKDTree(rng.random((cells, 2)) * canvas).query(grid)[1]

    def window(place: np.ndarray) -> np.ndarray:
        y, x = margin + np.clip(place.round().astype(int), 1 - margin, margin - 1)
        return nearest[y : y + height, x : x + width]

    names = rng.permutation(20 * cells)[:cells].astype(np.uint64) + np.uint64(1)
    pieces = np.arange(cells, dtype=np.uint64) + np.uint64(1)
    gt, seg = np.empty(shape, np.uint64), np.empty(shape, np.uint64)
    place = np.zeros(2)
    for z in range(depth):
        place += rng.normal(0, 1.5, 2)
        reborn = rng.random(cells) < 0.01
        names[reborn] = rng.integers(1, 20 * cells, reborn.sum(), dtype=np.uint64)
        pieces[rng.random(cells) < 0.03] += np.uint64(cells)  # cut along z
        found = window(place + rng.normal(0, 1, 2))
        gt[z] = names[window(place)]
        seg[z] = pieces[found // 2 * 2 if z % 5 == 0 else found]  # joined in every fifth section
        speckle = rng.random((height, width)) < 0.005
        seg[z][speckle] = rng.integers(1, 3 * cells, speckle.sum(), dtype=np.uint64)
        gt[z][rng.random((height, width)) < 0.02] = 0
    return gt, seg


def run_emds(gt: np.ndarray, seg: np.ndarray, protocols: list[str], convention: str) -> dict:
    from emds.io.volume import MemoryVolume
    from emds.metrics import evaluate_protocols

    reports = evaluate_protocols(MemoryVolume(seg), MemoryVolume(gt), protocols, convention)
    result = reports[0].scores
    return {"voi": [result.voi_split, result.voi_merge], "arand": result.arand}


def run_elf(gt: np.ndarray, seg: np.ndarray) -> dict:
    from elf.evaluation import cremi_score

    split, merge, arand, _ = cremi_score(seg, gt, ignore_gt=[0])
    return {"voi": [float(split), float(merge)], "arand": float(arand)}


def run_skimage(gt: np.ndarray, seg: np.ndarray) -> dict:
    from skimage.metrics import adapted_rand_error, variation_of_information

    split, merge = variation_of_information(gt, seg, ignore_labels=(0,))
    arand = adapted_rand_error(gt, seg, ignore_labels=(0,))[0]
    return {"voi": [float(split), float(merge)], "arand": float(arand)}


CONTENDERS: dict[str, Callable[[np.ndarray, np.ndarray], dict]] = {
    "emds": lambda gt, seg: run_emds(gt, seg, ["volume"], "cremi"),
    "elf": run_elf,
    "skimage": run_skimage,
    "emds_skimage": lambda gt, seg: run_emds(gt, seg, ["volume"], "skimage"),
    "emds_volume_and_strict": lambda gt, seg: run_emds(gt, seg, ["volume", "strict"], "cremi"),
}


def measure(name: str, folder: Path) -> dict:
    """Run one contender in this process."""
    gt, seg = np.load(folder / "gt.npy"), np.load(folder / "seg.npy")
    CONTENDERS[name](gt[:2, :64, :64].copy(), seg[:2, :64, :64].copy())
    Path("/proc/self/clear_refs").write_text("5")  # forget the peak so far
    before = memory("VmRSS")
    start = time.process_time()
    scores = CONTENDERS[name](gt, seg)
    seconds = time.process_time() - start
    return {"cpu_s": seconds, "own_bytes": memory("VmHWM") - before, **scores}


def memory(field: str) -> int:
    """Read a size from the kernel's account of this process, bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(field))


def compare(shape: tuple[int, int, int], repeats: int) -> dict:
    """Let the contenders take turns, each in a process of its own, and sum up."""
    runs: dict[str, list[dict]] = {name: [] for name in CONTENDERS}
    with tempfile.TemporaryDirectory() as folder:
        for name, labels in zip(("gt", "seg"), make_labels(shape, seed=0), strict=True):
            np.save(Path(folder) / f"{name}.npy", labels)
        for _ in range(repeats):
            for name in CONTENDERS:
                command = [sys.executable, __file__, "--one", name, "--folder", folder]
                output = subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout
                runs[name].append(json.loads(output))
    cpu = {name: statistics.median(run["cpu_s"] for run in runs[name]) for name in CONTENDERS}
    scores = {name: [*runs[name][0]["voi"], runs[name][0]["arand"]] for name in CONTENDERS}
    return {
        "shape": shape,
        "cpu_s": {name: round(seconds, 2) for name, seconds in cpu.items()},
        "own_gb": {
            name: round(max(run["own_bytes"] for run in runs[name]) / 1e9, 3) for name in CONTENDERS
        },
        "less_cpu_than_elf": round(cpu["elf"] / cpu["emds"], 1),
        "less_cpu_than_skimage": round(cpu["skimage"] / cpu["emds"], 1),
        "largest_difference_to_elf": difference(scores["emds"], scores["elf"]),
        "largest_difference_to_skimage": difference(scores["emds_skimage"], scores["skimage"]),
        "voi_split_voi_merge_arand": scores["emds"],
    }


def difference(one: list[float], other: list[float]) -> float:
    return max(abs(a - b) for a, b in zip(one, other, strict=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs=3, default=(125, 1250, 1250))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--one", choices=CONTENDERS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.one, options.folder)))
    else:
        print(json.dumps(compare(tuple(options.shape), options.repeats), indent=2))


if __name__ == "__main__":
    main()
