"""The command ``demo``: the whole pipeline on a synthetic volume, shown on one page."""

from __future__ import annotations

import json
import os
import platform
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import emds
from emds.demo.page import TITLE, Account, Measure, Panels, Step, write_page
from emds.demo.phantom import make_phantom
from emds.errors import OutputExistsError, UsageError
from emds.files import write_text
from emds.geometry import Roi, Triple
from emds.io import create_volume, open_volume
from emds.networks.checkpoint import Checkpoint, checkpoint_hash, load_checkpoint
from emds.noise import NoiseModel, make_noise_model
from emds.numbers import Seed, checked
from emds.pretrained import shipped_checkpoint
from emds.progress import Progress
from emds.stages.evaluate import EvaluationReport, evaluate
from emds.stages.inference import run
from emds.stages.simulate_noise import simulate_noise

SHAPE: Triple = (16, 256, 256)
VOXEL_SIZE = (10.0, 10.0, 10.0)
PAGE, NUMBERS = "index.html", "numbers.json"
_VOLUMES = ("raw.zarr", "truth.zarr", "noisy.zarr", "seg.zarr")
_SHOWN = (0.2, 0.5, 0.8)  # which sections the page shows, as fractions of the depth


@checked
def demo(
    out: Path,
    *,
    checkpoint: Path | None = None,
    seed: Seed = 0,
    shape: Triple = SHAPE,
    overwrite: bool = False,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Make a volume with ground truth, add noise, run a checkpoint, score, and write a page.

    Every step is the stage behind a command, with that command's defaults.

    Parameters
    ----------
    out : Path
        Folder for ``raw.zarr``, ``truth.zarr``, ``noisy.zarr``, ``seg.zarr``, ``index.html`` and
        ``numbers.json``; made if it is not there.
    checkpoint : Path, optional
        A model with denoiser and segmenter; default: the one that comes with emds.
    seed : int
        Random seed for the volume and the noise.
    shape : (Z, Y, X)
        Shape of the volume, in voxels of 10 nm.
    overwrite : bool
        Results of an earlier demo in `out` may be replaced.
    progress : callable, optional
        Told (done, total, text).

    Returns
    -------
    dict
        ``page``, where it is, and the ``numbers`` on it.

    Raises
    ------
    OutputExistsError
        If `out` holds results of a demo and `overwrite` is false.
    CheckpointError
        If the checkpoint cannot be used for both denoising and segmenting.
    UsageError
        If `out` is a file, or the seed is negative.
    """
    if seed < 0:
        raise UsageError(f"the seed must be a whole number from 0 on, not {seed}.")
    model_path = checkpoint or shipped_checkpoint(shape, VOXEL_SIZE)
    model = load_checkpoint(model_path)
    _claim(out, overwrite)
    noise = make_noise_model("gaussian-poisson")
    clock = _Clock()

    if progress:
        progress(0, 1, "drawing a volume")
    raw, truth = make_phantom(shape, seed=seed, voxel_size=VOXEL_SIZE)
    _write(out / "raw.zarr", raw, "raw", overwrite)
    _write(out / "truth.zarr", truth, "labels", overwrite)
    seeded = f" --seed {seed}" if seed else ""
    clock.lap(
        "Draw a volume and its truth", f"emds.demo.phantom.make_phantom({shape}, seed={seed})"
    )
    with open_volume(out / "raw.zarr", role="raw") as source:
        simulate_noise(
            source,
            noise,
            out=out / "noisy.zarr",
            seed=seed,
            overwrite=overwrite,
            progress=progress,
        )
    clock.lap(
        "Add noise",
        f"emds simulate-noise raw.zarr --type gaussian-poisson{seeded} --out noisy.zarr",
    )
    with open_volume(out / "noisy.zarr", role="raw") as source:
        run(source, model_path, out=out / "seg.zarr", overwrite=overwrite, progress=progress)
    chosen = f" --checkpoint {checkpoint.resolve()}" if checkpoint else ""
    clock.lap("Denoise and segment", f"emds run noisy.zarr{chosen} --out seg.zarr")
    before, after = _score(out, progress)
    clock.lap(
        "Score",
        "emds evaluate seg.zarr truth.zarr --protocol strict --denoised seg.zarr --clean raw.zarr",
    )

    numbers = _numbers(before, after)
    account = Account(
        summary=_summary(raw.shape, int(truth.max()), noise, model.architecture["in_slices"]),
        image=_image_measures(numbers),
        segmentation=_segmentation_measures(numbers),
        how_scored=(
            f"Labels, compared with the truth: protocol {numbers['protocol']} (section by "
            f"section, parts of a neurite that touch nowhere in it are separate), convention "
            f"{numbers['convention']}; mean of {len(raw)} sections"
        ),
        steps=clock.steps,
        facts=_facts(model, model_path, checkpoint is None, seed),
    )
    write_page(out / PAGE, _panels(out, raw, truth), account)
    result = {
        "page": str(out / PAGE),
        "seconds": round(sum(step.seconds for step in clock.steps), 1),
        "numbers": numbers,
    }
    record = result | {"noisy": before.to_dict(), "result": after.to_dict()}
    write_text(out / NUMBERS, json.dumps(record, indent=2) + "\n")
    return result


class _Clock:
    """Measures how long each step takes."""

    def __init__(self) -> None:
        self.steps: list[Step] = []
        self._last = time.perf_counter()

    def lap(self, what: str, command: str) -> None:
        now = time.perf_counter()
        self.steps.append(Step(what, command, now - self._last))
        self._last = now


def _claim(out: Path, overwrite: bool) -> None:
    if out.exists() and not out.is_dir():
        raise UsageError(f"the demo writes a folder, and {out} is a file. Choose another --out.")
    there = [name for name in (PAGE, NUMBERS, *_VOLUMES) if (out / name).exists()]
    if there and not overwrite:
        raise OutputExistsError(
            f"{out} holds results of a demo already ({', '.join(there)}). Replace them with "
            "--overwrite, or choose another --out."
        )
    for name, sign in ((PAGE, TITLE), (NUMBERS, '"psnr_noisy"')):
        path = out / name
        if name in there and not (path.is_file() and sign.encode() in path.read_bytes()):
            raise UsageError(f"{path} is none of a demo and never replaced. Choose another --out.")
    out.mkdir(parents=True, exist_ok=True)


def _write(path: Path, values: NDArray[Any], role: Any, overwrite: bool) -> None:
    with create_volume(
        path,
        shape=values.shape,
        dtype=values.dtype,
        voxel_size=VOXEL_SIZE,
        role=role,
        attributes={"emds": emds.__version__, "command": "demo"},
        overwrite=overwrite,
    ) as volume:
        volume.write(Roi.whole(values.shape), values)


def _score(out: Path, progress: Progress | None) -> tuple[EvaluationReport, EvaluationReport]:
    """Return the report on the noisy image, and the one on everything that was made of it."""
    with (
        open_volume(out / "raw.zarr", role="raw") as clean,
        open_volume(out / "noisy.zarr", role="raw") as noisy,
        open_volume(out / "seg.zarr", role="raw") as denoised,
        open_volume(out / "seg.zarr", role="labels") as labels,
        open_volume(out / "truth.zarr", role="labels") as truth,
    ):
        return (
            evaluate(denoised=noisy, clean=clean, progress=progress),
            evaluate(
                labels,
                truth,
                denoised=denoised,
                clean=clean,
                protocols=["strict"],
                progress=progress,
            ),
        )


def _numbers(before: EvaluationReport, after: EvaluationReport) -> dict[str, Any]:
    """Pick what the page shows out of the reports."""
    noisy, denoised = before.to_dict()["denoising"], after.to_dict()["denoising"]
    strict = after.to_dict()["segmentation"]["strict"]
    scores = ("voi_split", "voi_merge", "voi", "arand", "cremi_score")
    return {
        "psnr_noisy": noisy["psnr"],
        "psnr_denoised": denoised["psnr"],
        "ssim_noisy": noisy["ssim"],
        "ssim_denoised": denoised["ssim"],
        "protocol": strict["protocol"],
        "convention": strict["convention"],
        **{name: strict[name] for name in scores},
    }


def _image_measures(numbers: dict[str, Any]) -> list[Measure]:
    ssim = numbers["ssim_noisy"], numbers["ssim_denoised"]
    meanings = {"wang": "structure, as published", "paper": "structure, as the method's authors do"}
    return [
        Measure(
            "PSNR", numbers["psnr_noisy"], numbers["psnr_denoised"], "dB", "of 255 grey levels"
        ),
        *(
            Measure(f"SSIM ({name})", ssim[0][name], ssim[1][name], "", meanings.get(name, ""))
            for name in ssim[1]
        ),
    ]


def _segmentation_measures(numbers: dict[str, Any]) -> list[Measure]:
    shown = (
        ("voi_split", "VOI split", "bits", "neurites cut apart"),
        ("voi_merge", "VOI merge", "bits", "neurites run together"),
        ("voi", "VOI", "bits", "their sum; 0 is perfect"),
        ("arand", "ARAND", "", "adapted Rand error; 0 is perfect"),
        ("cremi_score", "CREMI score", "", "√(ARAND · VOI)"),
    )
    return [Measure(name, None, numbers[key], unit, text) for key, name, unit, text in shown]


def _summary(shape: Triple, neurites: int, noise: NoiseModel, seen: int) -> str:
    depth, height, width = shape
    options = noise.to_dict()
    way = "one section at a time" if seen == 1 else f"{seen} adjacent sections at a time"
    (dark, darkest), (few, more) = options["sigma"], options["lam"]
    return (
        f"A synthetic piece of neuropil with {neurites} neurites, {depth} sections of "
        f"{height} × {width} voxels of {VOXEL_SIZE[0]:g}\u00a0nm, image and neurites known. "
        f"Each section got shot noise of {few:g} to {more:g} electrons per grey level and Gaussian "
        f"noise with a standard deviation of {dark:g} to {darkest:g} grey levels. From that noisy "
        f"volume alone, {way}, emds recovered the image and the neurites."
    )


def _facts(model: Checkpoint, path: Path, shipped: bool, seed: int) -> dict[str, str]:
    described = model.summary()
    noise = "; ".join(
        ", ".join(f"{key} {value}" for key, value in one.items()) for one in model.noise
    )
    return {
        "emds": emds.__version__,
        "Checkpoint": f"{'the shipped one' if shipped else path}, recipe {model.recipe}, "
        f"{described['parameters']:,} parameters, sha256 {checkpoint_hash(path)[:12]}",
        "Trained with noise": noise or "not stated",
        "Licence of the weights": model.license,
        "Credit": model.attribution or "not stated",
        "Seed": str(seed),
        "Machine": f"{platform.machine()}, {os.cpu_count()} processors, Python "
        f"{platform.python_version()}",
    }


def _panels(out: Path, raw: NDArray[np.uint8], truth: NDArray[np.uint32]) -> list[Panels]:
    chosen = sorted({int(fraction * len(raw)) for fraction in _SHOWN})
    with (
        open_volume(out / "noisy.zarr", role="raw") as noisy,
        open_volume(out / "seg.zarr", role="raw") as denoised,
        open_volume(out / "seg.zarr", role="labels") as labels,
    ):
        panels = []
        for z in chosen:
            section = Roi((z, 0, 0), (1, *raw.shape[1:]))
            panels.append(
                Panels(
                    z,
                    raw[z],
                    noisy.read(section)[0],
                    denoised.read(section)[0],
                    labels.read(section)[0],
                    truth[z],
                )
            )
    return panels
