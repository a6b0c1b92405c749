"""The paper's own figures, as reference beside ours."""

from __future__ import annotations

import csv
from functools import cache
from importlib.resources import files

from emds.stages.reproduce.plan import Row

MEASURES = ("psnr", "ssim", "voi", "arand")


def paper_figures(row: Row) -> dict[str, float]:
    """Return what the paper reports for a line of its tables; empty where it has none.

    References
    ----------
    Wang et al., Joint EM Image Denoising and Segmentation with Instance-aware Interaction,
    MICCAI 2024, tables 1 to 4.

    Examples
    --------
    >>> nets = ("unet", "unet")
    >>> paper_figures(Row(2, "ac4", "film", "joint", nets, "ac4", nets, False))
    {'psnr': 25.498, 'ssim': 0.743, 'voi': 1.479, 'arand': 0.287}
    """
    key = (row.table, row.paper_dataset, row.noise, "+".join(row.paper_pair), row.recipe)
    return _figures().get(key, {})


@cache
def _figures() -> dict[tuple[int, str, str, str, str], dict[str, float]]:
    text = (files("emds.stages.reproduce") / "paper_tables.csv").read_text(encoding="utf-8")
    return {
        (
            int(line["table"]),
            line["dataset"].lower(),
            line["noise"],
            line["denoiser+segmenter"],
            line["recipe"],
        ): {name: float(line[name]) for name in MEASURES if line[name]}
        for line in csv.DictReader(text.splitlines())
    }
