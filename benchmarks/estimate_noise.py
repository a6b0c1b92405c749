"""How well `estimate_noise` finds the parameters that `add_noise` was given.

Run ``python benchmarks/estimate_noise.py --out docs/results/estimate_noise.json``. The clean image
is a real one: blurred, so that it has no noise of its own, and as it came from the microscope,
whose own noise then is part of what is found. An error is that of one volume; each setting is
repeated with several seeds.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from emds import add_noise, estimate_noise, make_noise_model, open_volume
from emds.io import MemoryVolume
from emds.noise.estimate import Measured

SETTINGS = ((5, 4.0), (10, 1.0), (20, 0.5), (30, 0.4), (40, 0.3), (70, 0.7))
"""Readout noise in grey levels, electrons per grey level."""

FILM = ((5, "unitmean", 1.5, 0.25), (3, "minmax", 1.5, 1 / 5.4))
"""Kernel, mode, maximum, and the deviation over the grey level that they amount to."""


def measure(clean: NDArray[np.uint8], sigma: float, lam: float, seeds: int) -> dict:
    truth = {"sigma": sigma, "gain": 1 / lam}
    found: dict[str, list[Measured]] = {"sigma": [], "gain": []}
    model = make_noise_model("gaussian-poisson", sigma=sigma, lam=lam)
    seconds, clipped = [], 0.0
    for seed in range(seeds):
        noisy = MemoryVolume(add_noise(clean, model, seed=seed))
        start = time.process_time()
        estimate = estimate_noise(noisy, seed=seed).estimate
        seconds.append(time.process_time() - start)
        found["sigma"].append(estimate.sigma)
        found["gain"].append(estimate.gain)
        clipped = estimate.levels.clipped
    result: dict = {"sigma": sigma, "lam": lam, "clipped": round(clipped, 4)}
    for name, values in found.items():
        errors = [one.value / truth[name] - 1 for one in values]
        result[name + "_found"] = {
            "true": round(truth[name], 4),
            "estimates": [round(one.value, 4) for one in values],
            "stated_errors": [round(one.error, 4) for one in values],
            "mean_error_percent": round(100 * statistics.mean(errors), 2),
            "worst_error_percent": round(100 * max(errors, key=abs), 2),
        }
    lams = [1 / one.value for one in found["gain"]]
    result["worst_lam_error_percent"] = round(100 * max(abs(one / lam - 1) for one in lams), 2)
    return result | {"cpu_s": round(statistics.median(seconds), 1)}


def measure_film(
    clean: NDArray[np.uint8], kernel: int, mode: str, maximum: float, grain: float
) -> dict:
    model = make_noise_model("film", kernel=kernel, mode=mode, maximum=maximum)
    report = estimate_noise(MemoryVolume(add_noise(clean, model, seed=0)))
    found = report.estimate
    return {
        "kernel": kernel,
        "mode": mode,
        "lengths_zyx": [round(length, 2) for length in found.lengths if length is not None],
        "grain": round(grain, 4),
        "grain_found": round(found.grain.value, 4),
        "recognised": found.is_film,
        "options": " ".join(report.options),
    }


def table(rows: list[dict]) -> None:
    print(" sigma    found    worst   lambda    found    worst   clipped")
    for row in rows:
        sigma, gain = row["sigma_found"], row["gain_found"]
        print(
            f"{row['sigma']:6g} {sigma['estimates'][0]:8.3f} {sigma['worst_error_percent']:7.1f}% "
            f"{row['lam']:8g} {1 / gain['estimates'][0]:8.3f} "
            f"{row['worst_lam_error_percent']:7.1f}% {row['clipped']:9.1%}",
            flush=True,
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/flyem_medulla.h5"))
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    with open_volume(arguments.data, role="raw") as volume:
        raw = volume.read()
    blurred = np.rint(ndimage.gaussian_filter(raw.astype(np.float32), 1)).astype(np.uint8)
    results: dict = {"data": arguments.data.name, "shape": raw.shape, "seeds": arguments.seeds}
    own = estimate_noise(MemoryVolume(raw)).estimate
    results["own_noise"] = {"total": own.total.value, "lengths_zyx": own.lengths}
    for name, clean in (("blurred", blurred), ("raw", raw)):
        seeds = arguments.seeds if name == "blurred" else 1
        print(name)
        results[name] = [measure(clean, *setting, seeds) for setting in SETTINGS]
        table(results[name])
    results["film"] = [measure_film(raw, *setting) for setting in FILM]
    for row in results["film"]:
        print(row)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
