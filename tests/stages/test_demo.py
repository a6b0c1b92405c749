"""The demo goes the whole way: files, page, numbers."""

import json
import re

import numpy as np
import pytest
import torch

from emds.errors import CheckpointError, OutputExistsError, UsageError
from emds.io import open_volume
from emds.metrics.denoising import psnr
from emds.networks.checkpoint import Checkpoint, save_checkpoint
from emds.networks.joint import Architecture
from emds.noise import add_noise, make_noise_model
from emds.pages.render import show_number
from emds.segmentation.affinities import PAPER_OFFSETS
from emds.stages.demo import demo

SHAPE = (3, 72, 64)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """Untrained weights: what is tested is the way, not the result."""
    path = tmp_path_factory.mktemp("model") / "model.pt"
    torch.manual_seed(0)
    architecture = Architecture(
        networks=("denoiser", "segmenter", "fusion"),
        width="tiny",
        affinity_channels=len(PAPER_OFFSETS),
        window=32,
        iem_mode="window",
    )
    save_checkpoint(
        Checkpoint(
            architecture=architecture.to_dict(),
            weights=architecture.build().state_dict(),
            offsets=PAPER_OFFSETS,
            attractive=tuple(i < 2 for i in range(len(PAPER_OFFSETS))),
            crop=32,
            recipe="joint",
            attribution="credit & thanks",
        ),
        path,
    )
    return path


@pytest.fixture(scope="module")
def shown(checkpoint, tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "folder" / "demo"
    told = []
    result = demo(
        out,
        checkpoint=checkpoint,
        seed=2,
        shape=SHAPE,
        progress=lambda *report: told.append(report),
    )
    return out, result, told


def test_every_file_is_there_and_nothing_else(shown):
    out, result, _ = shown
    assert sorted(path.name for path in out.iterdir()) == [
        "index.html",
        "noisy.zarr",
        "numbers.json",
        "raw.zarr",
        "seg.zarr",
        "truth.zarr",
    ]
    assert result["page"] == str(out / "index.html")


def test_volumes_are_what_the_commands_make(shown):
    out, result, _ = shown
    images = {}
    for name in ("raw", "noisy", "seg"):
        with open_volume(out / f"{name}.zarr", role="raw") as volume:
            assert volume.voxel_size == (10, 10, 10)
            images[name] = volume.read()
    noise = make_noise_model("gaussian-poisson")
    np.testing.assert_array_equal(images["noisy"], add_noise(images["raw"], noise, seed=2))
    with open_volume(out / "seg.zarr", role="labels") as labels:
        assert labels.shape == SHAPE
    for name, key in (("noisy", "psnr_noisy"), ("seg", "psnr_denoised")):
        sections = zip(images["raw"], images[name])
        expected = np.mean([psnr(clean, image, 255) for clean, image in sections])
        assert result["numbers"][key] == pytest.approx(expected)


def test_numbers_on_the_page_are_those_of_the_report(shown):
    out, result, _ = shown
    page = (out / "index.html").read_text(encoding="utf-8")
    record = json.loads((out / "numbers.json").read_text())
    numbers = record["numbers"]
    assert numbers == json.loads(json.dumps(result["numbers"]))
    assert numbers["voi"] == record["result"]["segmentation"]["strict"]["voi"]
    assert numbers["psnr_noisy"] == record["noisy"]["denoising"]["psnr"]
    assert numbers["psnr_denoised"] == record["result"]["denoising"]["psnr"]
    rows = {
        name: re.findall(r'<td class="number[^"]*">([^<&]*)', rest)
        for name, rest in re.findall(r'<tr><th scope="row">([^<]*)</th>(.*?)</tr>', page)
    }
    expected = {
        "PSNR": ["psnr_noisy", "psnr_denoised"],
        "VOI split": ["voi_split"],
        "VOI merge": ["voi_merge"],
        "VOI": ["voi"],
        "ARAND": ["arand"],
        "CREMI score": ["cremi_score"],
    }
    for name, keys in expected.items():
        assert rows[name] == [show_number(numbers[key]) for key in keys], name
    for name, value in numbers["ssim_denoised"].items():
        before = numbers["ssim_noisy"][name]
        assert rows[f"SSIM ({name})"] == [show_number(before), show_number(value)]
    assert f"protocol {numbers['protocol']}" in page
    assert f"convention {numbers['convention']}" in page


def test_the_page_gives_credit_and_shows_the_commands(shown, checkpoint):
    out, _, _ = shown
    page = (out / "index.html").read_text(encoding="utf-8")
    assert "credit &amp; thanks" in page
    assert "emds simulate-noise raw.zarr --type gaussian-poisson --seed 2" in page
    assert f"emds run noisy.zarr --checkpoint {checkpoint}" in page


def test_progress_is_told(shown):
    _, _, told = shown
    assert len({what for _, _, what in told}) >= 3
    assert all(0 <= done <= total for done, total, _ in told)


def test_an_earlier_demo_is_replaced_only_when_asked(shown, checkpoint):
    out, result, _ = shown
    before = (out / "numbers.json").read_bytes()
    with pytest.raises(OutputExistsError, match=r"index\.html.*--overwrite"):
        demo(out, checkpoint=checkpoint, seed=2, shape=SHAPE)
    assert (out / "numbers.json").read_bytes() == before
    again = demo(out, checkpoint=checkpoint, seed=2, shape=SHAPE, overwrite=True)
    assert again["numbers"] == result["numbers"], "the same seed gives the same numbers"


def test_bad_input_is_refused_before_any_work(tmp_path, checkpoint):
    with pytest.raises(CheckpointError):
        demo(tmp_path / "out", checkpoint=tmp_path / "missing.pt")
    with pytest.raises(UsageError, match="seed"):
        demo(tmp_path / "out", checkpoint=checkpoint, seed=-1)
    assert not (tmp_path / "out").exists()
    (tmp_path / "file").write_text("mine")
    with pytest.raises(UsageError, match="is a file"):
        demo(tmp_path / "file", checkpoint=checkpoint)
    assert (tmp_path / "file").read_text() == "mine"
