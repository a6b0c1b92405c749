"""Adaptation to noise that a checkpoint never saw: image and labels before and after.

    python benchmarks/adapt.py --checkpoint emds/pretrained/stack.pt --out docs/results/adapt.json

Test sections 0-31 of FlyEM get the noise; `adapt` sees them alone, learns from the first of them,
and judges by the last ten. Those are scored here against the clean image and the labels, which it
does not see.

- ``blurred``: sd 40 grey levels, a Gaussian of one voxel wide in the section;
- ``dim``: Gaussian-Poisson, sigma 120, 0.4 electrons a grey level: stronger than in training;
- ``known``: as in training, where there is nothing to gain.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from conditions import judge, with_noise
from flyem import TEST, crop
from scipy.ndimage import gaussian_filter

from emds.errors import NoGainError
from emds.io import open_volume
from emds.io.volume import MemoryVolume
from emds.stages.adapt import adapt
from emds.stages.adapt_plan import AdaptOptions

HELD_OUT = (22, 32)
NOISES = ("blurred", "dim", "known")


def make_noisy(noise: str, source, folder: Path):
    """Return the test sections with a noise."""
    if noise == "blurred":
        clean = crop(source, TEST).read()
        grain = np.random.default_rng(0).standard_normal(clean.shape)
        grain = gaussian_filter(grain, (0, 1, 1))
        noisy = np.rint(clean + 40 * grain / grain.std())
        return MemoryVolume(np.clip(noisy, 0, 255).astype(np.uint8), voxel_size=source.voxel_size)
    sigma, lam = {"dim": (120, 0.4), "known": ((55, 85), (0.6, 0.8))}[noise]
    return with_noise(source, "gaussian-poisson", folder, sigma=sigma, lam=lam)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="../shared/data/flyem_medulla.h5")
    parser.add_argument("--checkpoint", type=Path, default=Path("emds/pretrained/stack.pt"))
    parser.add_argument("--noise", choices=NOISES, action="append")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="emds-adapt-"))
    source, labels = (open_volume(arguments.data, role=role) for role in ("raw", "labels"))
    clean, truth = crop(source, HELD_OUT), crop(labels, HELD_OUT)
    results = {}
    for noise in arguments.noise or NOISES:
        noisy = make_noisy(noise, source, folder)
        seen = crop(noisy, HELD_OUT)
        found = {"before": judge(seen, arguments.checkpoint, folder, clean=clean, truth=truth)}
        adapted = folder / f"{noise}.pt"
        options = AdaptOptions(steps=arguments.steps, held_out=HELD_OUT)
        try:
            judgement = adapt(arguments.checkpoint, noisy, out=adapted, options=options)
        except NoGainError as error:
            found["refused"] = str(error)
        else:
            found["hidden"] = {
                "before": round(float(judgement.before.mean()), 1),
                "after": round(float(judgement.after.mean()), 1),
                "interval_of_difference": [round(bound, 1) for bound in judgement.interval],
            }
            found["after"] = judge(seen, adapted, folder, clean=clean, truth=truth)
        results[noise] = found
        print(noise, json.dumps(found), flush=True)
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(results, indent=2) + "\n")


if __name__ == "__main__":
    main()
