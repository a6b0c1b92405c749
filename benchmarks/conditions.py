"""A checkpoint under other conditions: levels of noise, film, another microscope, noise alone.

    python benchmarks/conditions.py --data ../shared/data --checkpoint emds/pretrained/stack.pt \
        --out docs/results/conditions.json --picture docs/results/noise_levels.svg

FlyEM is judged on its test sections 0-31; noise has the seed 0. The labels that Google's
flood-filling network made of the clean images are judged on the same sections, and so is the ground
truth where it hangs together within them: a neuron that enters them twice is one id of the truth,
which nothing in those sections says, so no segmentation can be expected to score less. The gala
volume is another run of the microscope, with its own noise and nothing added, so it has no clean
image.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
from flyem import TEST, crop, image_scores, label_scores
from skimage.measure import label

from emds.geometry import Roi
from emds.io import open_volume
from emds.io.volume import MemoryVolume
from emds.noise import make_noise_model
from emds.stages.inference import run
from emds.stages.plan import InferenceOptions
from emds.stages.simulate_noise import simulate_noise

LEVELS = (None, 0, 20, 40, 60, 85)
"""Readout noise, grey levels; None is the clean image, all others have shot noise."""

LAM = 0.7
LARGE = 1000  # voxels of a segment that is no crumb


def judge(noisy, checkpoint: Path, folder: Path, *, clean=None, truth=None) -> dict:
    """Run the checkpoint and score what can be scored."""
    out = run(
        noisy, checkpoint, out=folder / "seg.zarr", options=InferenceOptions(), overwrite=True
    )
    labels = open_volume(out, role="labels")
    found = {} if truth is None else label_scores(labels, truth)
    if clean is not None:
        found |= image_scores(open_volume(out, role="raw"), clean)
    _, counts = np.unique(labels.read(), return_counts=True)
    found["large_share"] = round(float(counts[counts > LARGE].sum() / counts.sum()), 4)
    return found


def with_noise(source, kind: str, folder: Path, **options) -> MemoryVolume:
    """Return the test sections with noise."""
    roi = Roi((TEST[0], 0, 0), (TEST[1] - TEST[0], *source.shape[1:]))
    model = make_noise_model(kind, **options)
    path = simulate_noise(source, model, out=folder / "noisy.zarr", seed=0, roi=roi, overwrite=True)
    return open_volume(path, role="raw")


def draw(levels: dict, path: Path) -> None:
    """Draw PSNR and VOI over the level of noise."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    names = list(levels)
    figure, axes = plt.subplots(1, 2, figsize=(9, 3.6), layout="constrained")
    axes[0].plot(names, [levels[n]["input_psnr"] or np.nan for n in names], "o--", label="input")
    axes[0].plot(names, [levels[n]["psnr"] for n in names], "o-", label="final image")
    axes[0].set_ylabel("PSNR, dB")
    axes[1].plot(names, [levels[n]["voi"] for n in names], "o-", label="per section")
    axes[1].plot(names, [levels[n]["volume"]["voi"] for n in names], "s-", label="in 3-D")
    axes[1].set_ylabel("VOI, bits")
    axes[1].set_ylim(0)
    for axis in axes:
        axis.set_xlabel(f"σ of the readout noise, grey levels (λ = {LAM})")
        axis.grid(alpha=0.3)
        axis.legend()
    figure.savefig(path, metadata={"Date": None})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    parser.add_argument("--checkpoint", type=Path, default=Path("emds/pretrained/stack.pt"))
    parser.add_argument("--out", type=Path)
    parser.add_argument("--picture", type=Path)
    arguments = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="emds-conditions-"))
    flyem = arguments.data / "flyem_medulla.h5"
    source, labels = open_volume(flyem, role="raw"), open_volume(flyem, role="labels")
    clean, truth = crop(source, TEST), crop(labels, TEST)
    results: dict = {"levels": {}}

    def note(place: dict, name: str, found: dict) -> None:
        place[name] = found
        print(name, json.dumps(found), flush=True)

    for sigma in LEVELS:
        name = "clean" if sigma is None else str(sigma)
        options = {"sigma": sigma, "lam": LAM}
        noisy = (
            clean if sigma is None else with_noise(source, "gaussian-poisson", folder, **options)
        )
        given = {} if sigma is None else image_scores(noisy, clean)
        found = judge(noisy, arguments.checkpoint, folder, clean=clean, truth=truth)
        note(results["levels"], name, {"input_psnr": given.get("psnr"), **found})
    film = with_noise(source, "film", folder)
    found = judge(film, arguments.checkpoint, folder, clean=clean, truth=truth)
    note(results, "film", {"input_psnr": image_scores(film, clean)["psnr"], **found})
    ffn = crop(open_volume(f"{flyem}:volumes/labels/ffn_segmentation", role="labels"), TEST)
    note(results, "ffn, from the clean image", label_scores(ffn, truth))
    pieces = MemoryVolume(label(truth.read(), connectivity=1).astype(np.uint64))
    note(results, "truth, in connected pieces", label_scores(pieces, truth))
    gala = arguments.data / "gala_fib_medulla_example.h5"
    found = judge(
        open_volume(gala, role="raw"),
        arguments.checkpoint,
        folder,
        truth=open_volume(gala, role="labels"),
    )
    note(results, "gala", found)
    grey = MemoryVolume(np.full(clean.shape, 127, np.uint8), voxel_size=clean.voxel_size)
    alone = simulate_noise(
        grey,
        make_noise_model("gaussian-poisson", sigma=70, lam=LAM),
        out=folder / "alone.zarr",
        seed=0,
    )
    note(results, "noise alone", judge(open_volume(alone), arguments.checkpoint, folder))
    if arguments.out is not None:
        arguments.out.write_text(json.dumps(results, indent=2) + "\n")
    if arguments.picture is not None:
        draw(results["levels"], arguments.picture)


if __name__ == "__main__":
    main()
