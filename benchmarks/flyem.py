"""Quality on held-out FlyEM sections: checkpoints beside classical filters, one noise for all.

    python benchmarks/flyem.py --data ../shared/data/flyem_medulla.h5 --out results.json \
        --checkpoint section=emds/pretrained/section.pt --checkpoint stack=emds/pretrained/stack.pt

Sections 0-31 of the file are the test. The noise is Gaussian-Poisson, sigma 55-85, lambda 0.6-0.8,
seed 0, exactly what `emds simulate-noise --roi 0:32 --seed 0` writes. With `--tta` checkpoints are
averaged as `emds run --tta` does. Filters get the parameter that is best on validation sections
36-51. Intervals are 95 % block bootstraps over sections (blocks of 10, 10,000 draws): adjacent
sections are alike and no independent samples.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from emds.geometry import Roi
from emds.io import open_volume
from emds.io.volume import CroppedVolume, MemoryVolume
from emds.metrics import evaluate_denoising, evaluate_segmentation
from emds.metrics.intervals import section_interval
from emds.networks.checkpoint import load_checkpoint
from emds.noise import make_noise_model
from emds.stages.inference import denoise, run, segment
from emds.stages.plan import InferenceOptions
from emds.stages.simulate_noise import simulate_noise

TEST, VALIDATION = (0, 32), (36, 52)
Filter = Callable[[NDArray[np.float64], float], NDArray[np.float64]]


def bootstrap(values: list[float]) -> list[float]:
    """95 % interval of the mean, to three digits."""
    return [round(bound, 3) for bound in section_interval(values)]


def image_scores(image, clean) -> dict:
    report = evaluate_denoising(image, clean)
    sections = [section.psnr for section in report.sections]
    return {
        "psnr": round(report.psnr, 3),
        "psnr_interval": bootstrap(sections),
        **{f"ssim_{name}": round(value, 4) for name, value in report.ssim.items()},
    }


def label_scores(labels, truth) -> dict:
    strict = evaluate_segmentation(labels, truth, "strict")
    volume = evaluate_segmentation(labels, truth, "volume").scores
    scores = {
        name: round(getattr(strict.scores, name), 4)
        for name in ("voi", "voi_split", "voi_merge", "arand")
    }
    scores["volume"] = {
        name: round(getattr(volume, name), 4) for name in ("voi", "voi_split", "voi_merge", "arand")
    }
    scores["voi_interval"] = bootstrap([s.voi for _, s in strict.sections])
    scores["arand_interval"] = bootstrap([s.arand for _, s in strict.sections])
    return scores


def filters() -> dict[str, tuple[list[float], Filter]]:
    """Name → parameters to choose from, and the filter of a (z, y, x) stack in 0..1."""
    import bm3d
    from scipy.ndimage import gaussian_filter
    from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

    def by_section(function):
        return lambda stack, p: np.stack([function(section, p) for section in stack])

    return {
        "gaussian_2d": (
            [1.0, 1.5, 2.0, 2.5],
            by_section(lambda s, p: gaussian_filter(s, p)),
        ),
        "gaussian_3d": ([1.0, 1.25, 1.5, 2.0], lambda stack, p: gaussian_filter(stack, p)),
        "tv": ([0.3, 0.45, 0.6], by_section(lambda s, p: denoise_tv_chambolle(s, weight=p))),
        "nl_means": (
            [0.2, 0.3, 0.4],
            by_section(
                lambda s, p: denoise_nl_means(s, patch_size=5, patch_distance=6, h=p, sigma=0.25)
            ),
        ),
        "bm3d": ([0.22, 0.28, 0.34], by_section(lambda s, p: bm3d.bm3d(s, sigma_psd=p))),
    }


def noisy_sections(source, sections, folder) -> MemoryVolume:
    begin, end = sections
    roi = Roi((begin, 0, 0), (end - begin, *source.shape[1:]))
    model = make_noise_model("gaussian-poisson", sigma=(55, 85), lam=(0.6, 0.8))
    path = simulate_noise(source, model, out=folder / f"noisy{begin}.zarr", seed=0, roi=roi)
    return open_volume(path, role="raw")


def crop(volume, sections) -> CroppedVolume:
    begin, end = sections
    return CroppedVolume(volume, Roi((begin, 0, 0), (end - begin, *volume.shape[1:])))


def filtered(function: Filter, noisy, parameter: float) -> MemoryVolume:
    values = function(noisy.read() / 255.0, parameter)
    grey = np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)
    return MemoryVolume(grey, voxel_size=noisy.voxel_size, offset=noisy.offset)


def judge_filters(source, noisy, clean, folder) -> dict:
    tuning_clean = crop(source, VALIDATION)
    tuning_noisy = noisy_sections(source, VALIDATION, folder)
    results = {}
    for name, (parameters, function) in filters().items():
        tried = {
            p: evaluate_denoising(filtered(function, tuning_noisy, p), tuning_clean).psnr
            for p in parameters
        }
        best = max(tried, key=lambda p: tried[p])
        started = time.process_time()
        image = filtered(function, noisy, best)
        seconds = time.process_time() - started
        results[name] = image_scores(image, clean) | {
            "parameter": best,
            "cpu_s": round(seconds, 1),
        }
        print(name, json.dumps(results[name]), flush=True)
    return results


def judge_checkpoint(path: Path, noisy, clean, truth, folder: Path, options) -> dict:
    parts = load_checkpoint(path).networks
    result: dict = {"recipe": load_checkpoint(path).recipe, "tta": options.tta}
    kinds = ("fused", "coarse") if "fusion" in parts else ("coarse",)
    images = {}
    if "segmenter" in parts:
        stage = run if "denoiser" in parts else segment
        started = time.process_time()
        out = stage(noisy, path, out=folder / "seg.zarr", options=options, overwrite=True)
        result["cpu_s"] = round(time.process_time() - started, 1)
        result |= label_scores(open_volume(out, role="labels"), truth)
        images[kinds[0]] = out
    if "denoiser" in parts:
        for image in kinds:
            out = images.get(image) or denoise(
                noisy,
                path,
                out=folder / "image.zarr",
                options=replace(options, image=image),
                overwrite=True,
            )
            result[image] = image_scores(open_volume(out, role="raw"), clean)
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=Path("../shared/data/flyem_medulla.h5"))
    parser.add_argument("--checkpoint", action="append", default=[], metavar="NAME=PATH")
    parser.add_argument("--sections", choices=["test", "validation"], default="test")
    parser.add_argument("--no-filters", action="store_true")
    parser.add_argument("--tile", type=int, nargs=3)
    parser.add_argument("--overlap", type=int, nargs=3)
    parser.add_argument("--mutex-strides", type=int, nargs=3)
    parser.add_argument("--min-size", type=int)
    parser.add_argument("--tta", action="store_true")
    parser.add_argument("--link-sections", type=float)
    parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    sections = TEST if arguments.sections == "test" else VALIDATION
    folder = Path(tempfile.mkdtemp(prefix="emds-flyem-"))
    source = open_volume(arguments.data, role="raw")
    noisy = noisy_sections(source, sections, folder)
    clean = crop(source, sections)
    truth = crop(open_volume(arguments.data, role="labels"), sections)
    options = InferenceOptions(
        tile=arguments.tile and tuple(arguments.tile),
        overlap=arguments.overlap and tuple(arguments.overlap),
        mutex_strides=arguments.mutex_strides and tuple(arguments.mutex_strides),
        min_size=arguments.min_size,
        tta=arguments.tta,
        link_sections=arguments.link_sections,
    )
    results = {"sections": sections, "noisy": image_scores(noisy, clean)}
    for named in arguments.checkpoint:
        name, _, path = named.partition("=")
        results[name] = judge_checkpoint(Path(path), noisy, clean, truth, folder, options)
        print(name, json.dumps(results[name]), flush=True)
    if not arguments.no_filters:
        results |= judge_filters(source, noisy, clean, folder)
    text = json.dumps(results, indent=2)
    if arguments.out is not None:
        arguments.out.write_text(text + "\n")
    print(text)


if __name__ == "__main__":
    main()
