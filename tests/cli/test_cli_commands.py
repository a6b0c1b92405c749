"""Each command on good input: what it prints and what it writes."""

import json

import numpy as np
import pytest
import tifffile

from emds import add_noise, make_noise_model, open_volume


def read(location, role=None):
    with open_volume(location, role=role) as volume:
        return volume.read()


def write(name, values):
    tifffile.imwrite(name, values, photometric="minisblack")


def clean(place):
    return tifffile.imread(place / "raw.tif")


def test_simulate_noise_prints_the_path_of_what_it_wrote(place, emds_ok):
    printed = emds_ok("simulate-noise", "raw.tif", "--type", "gaussian-poisson", "--seed", 3)
    assert printed == "raw_noisy.zarr\n"
    expected = add_noise(clean(place), make_noise_model("gaussian-poisson"), seed=3)
    np.testing.assert_array_equal(read("raw_noisy.zarr"), expected)


def test_simulate_noise_passes_its_options_on(place, emds_ok):
    options = ("--type", "film", "--film-kernel", 3, "--film-max", 2, "--mode", "unitmean")
    emds_ok("simulate-noise", "raw.tif", *options, "--seed", 1, "--out", "film.zarr")
    model = make_noise_model("film", kernel=3, maximum=2.0, mode="unitmean")
    np.testing.assert_array_equal(read("film.zarr"), add_noise(clean(place), model, seed=1))

    options = ("--type", "gaussian-poisson", "--sigma", 5, 6, "--lam", 2, 3, "--mode", "additive")
    emds_ok("simulate-noise", "raw.tif", *options, "--out", "weak.zarr")
    model = make_noise_model("gaussian-poisson", sigma=(5, 6), lam=(2, 3), mode="additive")
    np.testing.assert_array_equal(read("weak.zarr"), add_noise(clean(place), model, seed=0))


def big_noisy(name):
    """Write a stack with room for patches: smooth blobs with sensor noise."""
    grey = np.sin(np.mgrid[:16, :96, :96] / [[[[9]]], [[[17]]], [[[23]]]]).sum(axis=0)
    clean = np.rint(125 + 25 * grey).astype(np.uint8)
    model = make_noise_model("gaussian-poisson", sigma=6, lam=0.5)
    write(name, add_noise(clean, model, seed=0))


def test_estimate_noise_prints_a_table_and_a_command_that_works(place, emds_ok):
    big_noisy("noisy.tif")
    *table, command = emds_ok("estimate-noise", "noisy.tif", "--plot", "noise.svg").splitlines()
    assert table[0].split() == ["measure", "value"]
    assert [line.split()[0] for line in table[1:5]] == ["gain", "lambda", "sigma", "offset"]
    assert (place / "noise.svg").read_text(encoding="utf-8").startswith("<svg")
    words = command.split()
    assert words[:3] == ["emds", "simulate-noise", "RAW"]
    emds_ok("simulate-noise", "raw.tif", *words[3:], "--out", "same.zarr")
    model = make_noise_model("gaussian-poisson", sigma=float(words[6]), lam=float(words[9]))
    np.testing.assert_array_equal(read("same.zarr"), add_noise(clean(place), model, seed=0))


def test_estimate_noise_prints_one_json_object(place, emds_ok):
    big_noisy("noisy.tif")
    options = ("--offset", 3, "--roi", "0:16,0:90", "--seed", 7, "--voxels", 100_000)
    report = json.loads(emds_ok("estimate-noise", "noisy.tif", "--json", *options))
    assert report["gain"]["value"] == pytest.approx(2, rel=0.3)
    assert (report["offset"], report["offset_from"]) == (3, "given")
    assert (report["seed"], report["voxels"]) == (7, 100_000)
    assert report["roi"] == {"offset": [0, 0, 0], "shape": [16, 90, 96]}
    assert len(report["curve"]["grey"]) == len(report["curve"]["fit"])


def test_a_region_gets_the_noise_of_the_whole(place, emds_ok):
    emds_ok("simulate-noise", "raw.tif", "--type", "poisson", "--out", "whole.zarr")
    roi = ("--roi", "2:5,8:40")
    emds_ok("simulate-noise", "raw.tif", "--type", "poisson", *roi, "--out", "part.zarr")
    np.testing.assert_array_equal(read("part.zarr"), read("whole.zarr")[2:5, 8:40])


def test_key_names_the_array(place, emds_ok):
    options = ("--type", "gaussian", "--key", "volumes/raw", "--out", "out.zarr")
    emds_ok("simulate-noise", "gt.h5", *options)
    with open_volume("out.zarr") as volume:
        assert volume.voxel_size == (40.0, 8.0, 8.0)


def test_run_writes_image_labels_and_affinities(place, emds_ok):
    printed = emds_ok(
        "run", "gt.h5", "--checkpoint", "model.pt", "--out", "seg.zarr", "--keep-affinities"
    )
    assert printed == ""
    image, labels = read("seg.zarr", "raw"), read("seg.zarr", "labels")
    affinities = read("seg.zarr", "affinities")
    assert image.shape == labels.shape == affinities.shape[1:] == (8, 64, 64)
    assert (image.dtype, labels.dtype, affinities.dtype) == (np.uint8, np.uint64, np.uint8)
    assert labels.min() == 1
    assert labels.max() == np.unique(labels).size
    with open_volume("seg.zarr/labels/neurons") as volume:
        assert volume.voxel_size == (40.0, 8.0, 8.0)
        assert volume.attributes["command"] == "run"


def test_tta_averages_and_the_uncertainty_is_checked_and_told(place, emds_ok):
    emds_ok("denoise", "raw.tif", "-m", "model.pt", "--out", "plain.zarr")
    emds_ok("denoise", "raw.tif", "-m", "model.pt", "--tta", "--uncertainty", "--out", "tta.zarr")
    assert (read("plain.zarr") != read("tta.zarr", "raw")).any()
    assert read("tta.zarr/uncertainty").dtype == np.float32
    assert [
        a["location"] for a in json.loads(emds_ok("check", "tta.zarr", "--json"))["arrays"]
    ] == [
        "tta.zarr",
        "tta.zarr/uncertainty",
    ]
    assert "tta.zarr/uncertainty" in emds_ok("info", "tta.zarr")
    emds_ok("segment", "raw.tif", "-m", "model.pt", "--tta", "--out", "labels.zarr")
    with open_volume("labels.zarr", role="labels") as volume:
        assert volume.attributes["tta"]


def test_block_shape_and_batch_size_do_not_change_the_result(place, emds_ok):
    common = ("run", "raw.tif", "-m", "model.pt", "--tile", 1, 32, 32, "--overlap", 0, 8, 8)
    emds_ok(*common, "--out", "a.zarr")
    emds_ok(*common, "--out", "b.zarr", "--block-shape", 2, 32, 32, "--batch-size", 3)
    np.testing.assert_array_equal(read("a.zarr", "raw"), read("b.zarr", "raw"))
    np.testing.assert_array_equal(read("a.zarr", "labels"), read("b.zarr", "labels"))


def test_denoise_and_segment_are_the_halves_of_run(place, emds_ok):
    emds_ok("run", "raw.tif", "-m", "model.pt", "-o", "both.zarr")
    emds_ok("denoise", "raw.tif", "-m", "model.pt", "-o", "image.zarr")
    emds_ok("segment", "raw.tif", "-m", "model.pt", "-o", "labels.zarr", "--keep-affinities")
    np.testing.assert_array_equal(read("image.zarr"), read("both.zarr", "raw"))
    np.testing.assert_array_equal(read("labels.zarr", "labels"), read("both.zarr", "labels"))
    emds_ok("segment", "labels.zarr", "--from-affinities", "-o", "again.zarr")
    np.testing.assert_array_equal(read("again.zarr", "labels"), read("both.zarr", "labels"))


def test_the_coarse_image_is_another_one(place, emds_ok):
    for which in ("fused", "coarse"):
        emds_ok("denoise", "raw.tif", "-m", "model.pt", "-o", f"{which}.zarr", "--image", which)
    assert (read("fused.zarr") != read("coarse.zarr")).any()


def test_segment_passes_its_options_on(place, emds_ok):
    common = ("segment", "raw.tif", "-m", "model.pt")
    emds_ok(*common, "-o", "all.zarr")
    emds_ok(*common, "-o", "large.zarr", "--min-size", 30)
    emds_ok(*common, "-o", "strides.zarr", "--mutex-strides", 1, 1, 1)
    emds_ok(*common, "-o", "elf.zarr", "--backend", "elf")
    everything, large = read("all.zarr", "labels"), read("large.zarr", "labels")
    assert np.bincount(everything.ravel().astype(int))[1:].min() < 30, "test invalid"
    assert large.max() < everything.max()
    assert (read("strides.zarr", "labels") != everything).any()
    with open_volume("elf.zarr", role="labels") as volume:
        assert volume.attributes["mutex_watershed"]["backend"] == "elf"


@pytest.mark.parametrize("command", ["run", "segment"])
def test_a_mask_leaves_background(place, emds_ok, command):
    inside = np.zeros((8, 64, 64), np.uint8)
    inside[:, 10:50, 20:60] = 1
    write("mask.tif", inside)
    emds_ok(command, "raw.tif", "-m", "model.pt", "--mask", "mask.tif", "-o", "seg.zarr")
    np.testing.assert_array_equal(read("seg.zarr", "labels") != 0, inside != 0)


def test_intensity_maps_other_types_to_those_of_training(place, emds_ok):
    write("wide.tif", clean(place).astype(np.uint16) * 10 + 100)
    options = ("-m", "model.pt", "--voxel-size", 40, 8, 8)
    emds_ok("denoise", "wide.tif", *options, "-o", "wide.zarr", "--intensity", 100, 2650)
    emds_ok("denoise", "raw.tif", *options, "-o", "byte.zarr")
    wide, byte = read("wide.zarr"), read("byte.zarr")
    assert wide.dtype == np.uint16
    inside = (byte > 0) & (byte < 255)
    assert inside.any(), "test invalid"
    np.testing.assert_allclose(wide[inside], byte[inside] * 10.0 + 100, atol=6)
    with open_volume("wide.zarr") as volume:
        assert volume.voxel_size == (40.0, 8.0, 8.0)


def test_evaluate_prints_an_aligned_table(place, emds_ok):
    printed = emds_ok(
        "evaluate", "labels.tif", "gt.h5", "--denoised", "raw.tif", "--clean", "gt.h5"
    )
    lines = printed.splitlines()
    assert lines[0].split() == ["measure", "value"]
    starts = [line.split("  ")[0] for line in lines]
    assert "volume: VOI" in starts
    assert "strict: ARAND" in starts
    end = lines[0].index("value") + len("value")
    assert all(line[end - 1] != " " and line[end : end + 1] in ("", " ") for line in lines)
    assert any(line.split()[:2] == ["PSNR", "inf"] for line in lines)
    assert not any(line.startswith("paper") for line in lines)


def test_evaluate_prints_one_json_object(place, emds_ok):
    report = json.loads(
        emds_ok(
            "evaluate",
            "labels.tif",
            "gt.h5",
            "--json",
            "--protocol",
            "all",
            "--convention",
            "skimage",
        )
    )
    assert set(report["segmentation"]) == {"volume", "strict", "paper", "released"}
    assert report["segmentation"]["strict"]["convention"] == "skimage"
    assert report["segmentation"]["volume"]["voi"] == 0.0
    assert report["denoising"] is None


def test_evaluate_compares_a_part_with_its_place(place, emds_ok):
    labels = tifffile.imread("labels.tif")
    write("part.tif", labels[2:5, 10:50])
    shifted = labels.copy()
    shifted[:2], shifted[5:] = 1, 1
    write("shifted.tif", shifted)
    for name in ("part.tif", "shifted.tif"):
        command = ("evaluate", name, "gt.h5", "--roi", "2:5,10:50", "--json")
        report = json.loads(emds_ok(*command))
        assert report["shapes"]["segmentation"] == [3, 40, 64]
        assert report["segmentation"]["volume"]["voi"] == 0.0


def test_run_on_a_region_is_compared_without_being_told_where(place, emds_ok):
    emds_ok("run", "gt.h5", "-m", "model.pt", "--roi", "3:6", "--out", "seg.zarr")
    report = json.loads(emds_ok("evaluate", "seg.zarr", "gt.h5", "--json"))
    assert report["shapes"]["segmentation"] == [3, 64, 64]
    assert "z 3:6" in report["notes"][0]


def test_info_tells_checkpoints_from_volumes_by_their_content(place, emds_ok):
    (place / "model.pt").rename("weights.tif")
    about = json.loads(emds_ok("info", "weights.tif", "--json"))
    assert (about["kind"], about["recipe"], about["license"]) == ("checkpoint", "joint", "CC0-1.0")
    assert about["parameters"] > 100_000
    assert "weights" not in about
    about = json.loads(emds_ok("info", "gt.h5", "--json"))
    assert about["kind"] == "hdf5"
    shapes = {array["location"]: array["shape"] for array in about["arrays"]}
    assert shapes["gt.h5:volumes/raw"] == [8, 64, 64]
    printed = emds_ok("info", "gt.h5")
    assert "kind: hdf5\n" in printed
    assert "{" not in printed.replace("attributes: {}", "")


@pytest.fixture
def tiny_training():
    return (
        *("--set", "width=tiny", "--set", "crop=32", "--set", "batch_size=2", "--steps", 2),
        *("--set", "log_every=1", "--set", "validation.sections=1", "--device", "cpu"),
        *("--train", "0:6", "--validation", "6:8"),
    )


def test_train_writes_a_run_that_the_other_commands_take(place, emds_ok, tiny_training):
    assert emds_ok("train", "raw.tif", "labels.tif", "--out", "run", *tiny_training) == ""
    lines = [json.loads(line) for line in (place / "run/metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 2]
    assert {"psnr", "voi"} <= set(lines[-1]["validation"])
    about = json.loads(emds_ok("info", "run/best.pt", "--json"))
    assert about["config"]["data"]["train"] == [0, 6]
    emds_ok("run", "raw.tif", "-m", "run/best.pt", "-o", "seg.zarr")
    assert read("seg.zarr", "labels").shape == (8, 64, 64)


def test_train_takes_a_config_file_and_the_command_line_wins(place, emds_ok, tiny_training):
    (place / "config.yaml").write_text(
        "preset: cpu\nrecipe: dn_only\nsteps: 7\nseed: 4\ndata:\n  raw: raw.tif\n"
    )
    emds_ok("train", "--config", "config.yaml", *tiny_training)
    config = json.loads(emds_ok("info", "runs/dn_only/last.pt", "--json"))["config"]
    assert (config["recipe"], config["steps"], config["seed"]) == ("dn_only", 2, 4)


def test_train_resumes_and_starts_from_parts(place, emds_ok, tiny_training):
    common = ("train", "raw.tif", *tiny_training)
    emds_ok(*common, "--recipe", "dn_only", "--out", "dn")
    emds_ok(*common, "--recipe", "dn_only", "--out", "dn", "--resume")
    sequential = ("labels.tif", "--recipe", "sequential", "--init", "denoiser=dn/best.pt")
    emds_ok(*common[:2], *sequential, *tiny_training, "--out", "seq")
    about = json.loads(emds_ok("info", "seq/best.pt", "--json"))
    assert about["architecture"]["networks"] == ["denoiser", "segmenter"]


def test_demo_writes_a_page_and_prints_the_numbers(place, emds_ok, emds_fails, monkeypatch):
    from emds.stages import demo

    small = {**demo.demo.__wrapped__.__kwdefaults__, "shape": (2, 64, 64)}
    monkeypatch.setattr(demo.demo.__wrapped__, "__kwdefaults__", small)
    printed = emds_ok("demo", "--checkpoint", "model.pt")
    assert "page: demo/index.html\n" in printed
    assert "psnr_denoised: " in printed
    assert "<html" in (place / "demo/index.html").read_text()[:200]
    emds_fails(4, "demo", "--checkpoint", "model.pt")
    emds_ok("demo", "--checkpoint", "model.pt", "--overwrite", "--seed", 1)
