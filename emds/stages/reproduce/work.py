"""One task of a plan: train a system, or score it on the test sections."""

from __future__ import annotations

import shlex
import shutil
import time
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Literal

import numpy as np

import emds
from emds.datasets import Dataset
from emds.files import write_whole
from emds.geometry import Roi, Triple, iter_blocks
from emds.io import create_volume, open_volume
from emds.io.volume import CroppedVolume, Volume
from emds.networks.checkpoint import checkpoint_hash, load_checkpoint
from emds.noise import make_noise_model
from emds.progress import Progress
from emds.stages.evaluate import evaluate
from emds.stages.inference import denoise, run, segment
from emds.stages.plan import InferenceOptions
from emds.stages.reproduce.claims import claim
from emds.stages.reproduce.plan import System, Task
from emds.stages.reproduce.records import write_json, write_record
from emds.stages.reproduce.workspace import Workspace
from emds.stages.simulate_noise import simulate_noise
from emds.stages.train import train
from emds.training.run_folder import RunFolder

NOISE_SEED = 0
"""Of the test sections: all systems see the same noise."""

_LARGEST = 1024  # pixels a side that a network is shown at once
_MULTIPLE = 8  # three poolings
_SHOWN = (1 / 3, 2 / 3)  # sections kept for the report, as fractions of the depth
_SHOWN_SIDE = 256


def do_task(place: Workspace, task: Task, progress: Progress | None) -> None:
    """Do what `Workspace.is_done` then finds done; a killed task is continued or begun again."""
    if task.kind == "train":
        train_system(place, task.system, progress)
    else:
        score_system(place, task.system, task.blocks)


def train_system(place: Workspace, system: System, progress: Progress | None) -> None:
    """Train a system, or continue its training, and record it."""
    folder, config = place.run_folder(system), place.config(system)
    resume = RunFolder(folder).is_begun()
    best = train(config, folder, resume=resume, device=place.settings.device, progress=progress)
    write_json(folder / "config.json", config.model_dump(mode="json", exclude_none=True))
    finished = load_checkpoint(folder / "last.pt", own=True).metrics
    record = {
        "emds": emds.__version__,
        "command": train_command(place, system),
        "system": {name: getattr(system, name) for name in system.__slots__},
        "steps": finished["step"],
        "seconds": finished["seconds"],
        "cpu_seconds": finished["cpu_seconds"],
        "best_step": load_checkpoint(best, own=True).metrics["step"],
        "config": config.model_dump(mode="json"),
    }
    write_record(place.record(system), record)


def train_command(place: Workspace, system: System) -> str:
    """Return the command that does the same training."""
    folder = place.run_folder(system)
    return f"emds train --config {_quote(folder / 'config.json')} --out {_quote(folder)}-again"


def score_system(place: Workspace, system: System, blocks: bool) -> None:
    """Run a system on the test sections and score all it makes, under all protocols.

    ``strict`` and ``volume`` judge labels made without help; ``paper`` and ``released`` those
    made within the ground truth's foreground, counted as scikit-image counts.
    """
    started = time.monotonic()
    clean, truth = (test_volume(place, system.dataset, what) for what in ("clean", "truth"))
    seen = clean if system.noise == "clean" else test_volume(place, system.dataset, system.noise)
    checkpoint = place.checkpoint(system)
    parts = load_checkpoint(checkpoint, own=True).networks
    work = place.run_folder(system) / "test"
    _clear(work)
    with ExitStack() as stack:
        image = stack.enter_context(open_volume(clean, role="raw"))
        ids = stack.enter_context(open_volume(truth, role="labels"))
        noisy = stack.enter_context(open_volume(seen, role="raw"))
        options = _inference_options(place, system, image.shape, blocks)
        made = _predict(noisy, checkpoint, parts, ids, options, work)
        content = _judge(made, image, ids)
        _keep_examples(place.examples(system, blocks), made, image.shape)
        commands = [train_command(place, system)]
        if system.noise != "clean":
            raw = place.datasets[system.dataset].tested_raw
            commands.append(_noise_command(raw, system.noise, noisy.attributes["roi"]))
            seen = Path("noisy.zarr")
        commands += _test_commands(seen, checkpoint, parts, options, clean, truth)
    content |= {
        "emds": emds.__version__,
        "system": {name: getattr(system, name) for name in system.__slots__},
        "blocks": blocks,
        "checkpoint": str(checkpoint),
        "checkpoint_sha256": checkpoint_hash(checkpoint),
        "commands": commands,
        "seconds": round(time.monotonic() - started, 1),
    }
    write_record(place.scores(system, blocks), content)
    _clear(work)


def _clear(work: Path) -> None:
    """Remove what `_predict` makes in a folder, finished or not, and nothing else."""
    for name in ("seg.zarr", "masked.zarr", "image.zarr", "coarse.zarr"):
        for path in (work / name, work / f"{name}.partial"):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
    with suppress(OSError):  # there is none, or somebody has put something there
        work.rmdir()


def test_volume(place: Workspace, dataset_name: str, what: str) -> Path:
    """Return the test sections as a volume of their own, made when first needed.

    Parameters
    ----------
    place : Workspace
        Whose ``data`` folder receives it.
    dataset_name : str
        One of its data sets.
    what : str
        ``clean``, ``truth``, or a kind of noise.
    """
    path = place.test_data(dataset_name, what)
    with claim(place.lock(f"data {dataset_name} {what}"), wait=True):
        if not path.exists():
            _make_test_volume(place.datasets[dataset_name], what, path)
    return path


def _make_test_volume(dataset: Dataset, what: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    role: Literal["labels", "raw"] = "labels" if what == "truth" else "raw"
    location = dataset.tested_labels if what == "truth" else dataset.tested_raw
    with open_volume(location, role=role) as whole:
        box = dataset.test_box(whole.shape)
        if what in ("clean", "truth"):
            _copy(CroppedVolume(whole, box), path, role)
        else:
            model = make_noise_model(what)
            simulate_noise(whole, model, out=path, seed=NOISE_SEED, roi=box, overwrite=True)


def _copy(source: Volume, path: Path, role: Literal["labels", "raw"]) -> None:
    with create_volume(
        path,
        shape=source.shape,
        dtype=source.dtype,
        voxel_size=source.voxel_size,
        offset=source.offset,
        role=role,
        attributes={"emds": emds.__version__, "command": "reproduce", "source": source.location},
        overwrite=True,
    ) as target:
        slab = (target.chunk_shape[0], *source.shape[1:])
        for block in iter_blocks(source.roi, slab):
            target.write(block.write_roi, source.read(block.write_roi))


def _inference_options(
    place: Workspace, system: System, shape: Triple, blocks: bool
) -> InferenceOptions:
    device = place.settings.device
    if blocks:
        crop = place.config(system).crop
        return InferenceOptions(tile=(1, crop, crop), overlap=(0, 0, 0), device=device)
    height, width = (-(-min(n, _LARGEST) // _MULTIPLE) * _MULTIPLE for n in shape[1:])
    down, across = (0 if n <= _LARGEST else _LARGEST // 4 for n in shape[1:])
    return InferenceOptions(
        tile=(1, height, width), overlap=(0, down, across), batch_size=1, device=device
    )


def _predict(
    noisy: Volume,
    checkpoint: Path,
    parts: tuple[str, ...],
    truth: Volume,
    options: InferenceOptions,
    work: Path,
) -> dict[str, Volume]:
    """Return what the system makes: ``image``, ``coarse``, ``labels``, ``masked_labels``."""
    work.mkdir(parents=True, exist_ok=True)
    made: dict[str, Volume] = {}
    has_image = "denoiser" in parts or "fusion" in parts
    if "segmenter" in parts:
        stage = run if has_image else segment
        out = stage(noisy, checkpoint, out=work / "seg.zarr", options=options, keep_affinities=True)
        made["labels"] = open_volume(out, role="labels")
        masked = segment(
            open_volume(out, role="affinities"), None, out=work / "masked.zarr", mask=truth
        )
        made["masked_labels"] = open_volume(masked, role="labels")
        if has_image:
            made["image"] = open_volume(out, role="raw")
    else:
        out = denoise(noisy, checkpoint, out=work / "image.zarr", options=options)
        made["image"] = open_volume(out, role="raw")
    if {"denoiser", "fusion"} <= set(parts):
        coarse = InferenceOptions(
            tile=options.tile,
            overlap=options.overlap,
            batch_size=options.batch_size,
            device=options.device,
            image="coarse",
        )
        out = denoise(noisy, checkpoint, out=work / "coarse.zarr", options=coarse)
        made["coarse"] = open_volume(out, role="raw")
    return made


def _judge(made: dict[str, Volume], clean: Volume, truth: Volume) -> dict[str, Any]:
    content: dict[str, Any] = {}
    for name in ("image", "coarse"):
        if name in made:
            report = evaluate(denoised=made[name], clean=clean)
            content[name] = report.to_dict()["denoising"]
    if "labels" in made:
        free = evaluate(made["labels"], truth, protocols=("strict", "volume"))
        helped = evaluate(
            made["masked_labels"], truth, protocols=("paper", "released"), convention="skimage"
        )
        content["segmentation"] = {
            **free.to_dict()["segmentation"],
            **helped.to_dict()["segmentation"],
        }
    return content


def _keep_examples(path: Path, made: dict[str, Volume], shape: Triple) -> None:
    """Store the middle of the shown sections, small enough to keep for every system."""
    boxes = shown_boxes(shape)
    arrays = {
        name: np.concatenate([volume.read(box) for box in boxes])
        for name, volume in made.items()
        if name in ("image", "labels")
    }
    with write_whole(path) as file:
        np.savez_compressed(file, **arrays)  # type: ignore[arg-type]


def shown_boxes(shape: Triple) -> list[Roi]:
    """Return which part of which test sections the report shows."""
    height, width = (min(n, _SHOWN_SIDE) for n in shape[1:])
    y, x = (shape[1] - height) // 2, (shape[2] - width) // 2
    sections = sorted({int(fraction * shape[0]) for fraction in _SHOWN})
    return [Roi((z, y, x), (1, height, width)) for z in sections]


def _noise_command(raw: str, kind: str, roi: dict[str, Any]) -> str:
    """Return the command that gives the noisy test sections."""
    ends = [begin + size for begin, size in zip(roi["offset"], roi["shape"], strict=True)]
    box = ",".join(f"{begin}:{end}" for begin, end in zip(roi["offset"], ends, strict=True))
    return (
        f"emds simulate-noise {shlex.quote(raw)} --type {kind} --seed {NOISE_SEED} --roi {box} "
        "--out noisy.zarr"
    )


def _test_commands(
    seen: Path,
    checkpoint: Path,
    parts: tuple[str, ...],
    options: InferenceOptions,
    clean: Path,
    truth: Path,
) -> list[str]:
    """Return the commands that give the same outputs and scores."""
    assert options.tile is not None
    assert options.overlap is not None
    tiles = " ".join(map(str, ("--tile", *options.tile, "--overlap", *options.overlap)))
    batch = "" if options.batch_size is None else f" --batch-size {options.batch_size}"
    model = f"{_quote(seen)} --checkpoint {_quote(checkpoint)} {tiles}{batch}"
    images = f"--denoised out.zarr --clean {_quote(clean)}"
    if "segmenter" not in parts:
        return [f"emds denoise {model} --out out.zarr", f"emds evaluate {images}"]
    has_image = "denoiser" in parts or "fusion" in parts
    return [
        f"emds {'run' if has_image else 'segment'} {model} --keep-affinities --out out.zarr",
        f"emds evaluate out.zarr {_quote(truth)} {images if has_image else ''}".rstrip(),
        f"emds segment out.zarr --from-affinities --mask {_quote(truth)} --out masked.zarr",
        f"emds evaluate masked.zarr {_quote(truth)} --protocol paper --protocol released "
        "--convention skimage",
    ]


def _quote(path: Path) -> str:
    return shlex.quote(str(path))
