"""Throughput of `add_noise` beside numpy's own generator, on one core.

Run ``python benchmarks/noise.py``. The two take turns and the best of several rounds counts,
in CPU time, so that a busy machine slows both alike.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

import emds
from emds.noise import Film, Gaussian, GaussianPoisson, NoiseModel, Poisson, add_noise

Image = NDArray[np.uint8]


def add_noise_with_numpy(image: Image, sigma: float, lam: float) -> Image:
    """Shot and readout noise the usual way: whole, in order, from one stateful generator."""
    rng = np.random.default_rng(0)
    noisy = rng.poisson(lam * image) / lam + rng.normal(0.0, sigma, image.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def best_seconds(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    best = dict.fromkeys(runs, float("inf"))
    for run in runs.values():
        run()
    for _ in range(rounds):
        for name, run in runs.items():
            start = time.process_time()
            run()
            best[name] = min(best[name], time.process_time() - start)
    return best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shape", type=int, nargs=3, default=(4, 1024, 1024))
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()

    # EM-like grey levels: mean 131, standard deviation 40.
    grey = np.random.default_rng(1).normal(131, 40, options.shape)
    image = np.clip(grey, 0, 255).astype(np.uint8)
    models: dict[str, NoiseModel] = {
        "gaussian-poisson": GaussianPoisson(sigma=70, lam=0.7),
        "gaussian-poisson, lam 3": GaussianPoisson(sigma=70, lam=3),
        "gaussian": Gaussian(sigma=70),
        "poisson": Poisson(lam=0.7),
        "film": Film(),
    }
    runs: dict[str, Callable[[], object]] = {
        name: lambda model=model: add_noise(image, model, seed=0)  # type: ignore[misc]
        for name, model in models.items()
    }
    runs["numpy Generator.poisson + normal"] = lambda: add_noise_with_numpy(image, 70, 0.7)
    seconds = best_seconds(runs, options.rounds)

    print(f"emds {emds.__version__}, numpy {np.__version__}, {platform.processor()}, one core")
    for name, value in seconds.items():
        print(f"{name:34s} {image.size / value / 1e6:7.1f} Mvoxel/s")
    ratio = seconds["numpy Generator.poisson + normal"] / seconds["gaussian-poisson"]
    print(f"gaussian-poisson, numpy / emds     {ratio:7.2f} times as long")

    crop = image[:1, :128, :128]
    runs = {"crop": lambda: add_noise(crop, models["gaussian-poisson"], seed=0)}
    milliseconds = 1e3 * best_seconds(runs, 50)["crop"]
    compute = 1e3 * seconds["gaussian-poisson"] * crop.size / image.size
    print(
        f"one 128 x 128 crop {milliseconds:.2f} ms, of which overhead {milliseconds - compute:.2f}"
    )


if __name__ == "__main__":
    main()
