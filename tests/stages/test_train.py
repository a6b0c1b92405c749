"""``train`` end to end on a toy volume: the checkpoint it writes can be run."""

import json

import numpy as np
import pytest
from toy_cells import write_cells

from emds.config import load_train_config
from emds.errors import ConfigError, DataError, OutputExistsError, UsageError
from emds.io import create_volume, open_volume
from emds.networks.checkpoint import load_checkpoint
from emds.stages.inference import run
from emds.stages.plan import InferenceOptions
from emds.stages.train import train


@pytest.fixture
def stack(tmp_path):
    """Six sections of square cells."""
    write_cells(tmp_path, 6, 4, voxel_size=(30.0, 8.0, 8.0))
    return tmp_path


def config_for(stack, **changes):
    options = {
        "width": "tiny",
        "crop": 32,
        "batch_size": 2,
        "steps": 4,
        "validation": {"every": 2, "sections": 2, "min_size": 5},
        "data": {"raw": str(stack / "raw.h5"), "labels": str(stack / "gt.h5")},
    }
    return load_train_config("cpu", options=options | changes)


def test_joint_training_gives_a_checkpoint_that_runs(stack):
    best = train(config_for(stack), stack / "run", device="cpu")
    checkpoint = load_checkpoint(best)
    assert checkpoint.recipe == "joint"
    assert checkpoint.voxel_size == (30.0, 8.0, 8.0)
    assert checkpoint.crop == 32
    assert checkpoint.labels.min_size == 5
    assert checkpoint.metrics["validation_sections"] == [5, 6]
    assert {"psnr", "ssim", "coarse_psnr", "voi", "arand"} <= checkpoint.metrics.keys()
    lines = [json.loads(x) for x in (stack / "run" / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines if "validation" in line] == [2, 4]
    with open_volume(stack / "raw.h5", role="raw") as raw:
        out = run(raw, best, out=stack / "seg.zarr")
    assert open_volume(out, role="labels").read().min() >= 1


@pytest.mark.parametrize("network", ["unet", "unet3d"])
def test_training_across_sections_gives_a_checkpoint_that_runs(stack, network):
    offsets = [(-1, 0, 0), (0, -1, 0), (0, 0, -1), (0, -3, 0), (0, 0, -3), (-1, 3, 0)]
    data = {"raw": str(stack / "raw.h5"), "labels": str(stack / "gt.h5")}
    data |= {"train": (0, 4), "validation": (4, 6)}
    changes = {"in_slices": 3, "out_slices": 3, "offsets": offsets, "data": data}
    changes |= {"augment": {"planes": "oblique"}, "denoiser": network, "segmenter": network}
    checkpoint = load_checkpoint(best := train(config_for(stack, **changes), stack / "run"))
    assert checkpoint.architecture["in_slices"] == checkpoint.architecture["out_slices"] == 3
    assert checkpoint.offsets == tuple(offsets)
    assert checkpoint.attractive == (True, True, True, False, False, False)
    assert {"voi", "arand", "voi_3d", "arand_3d"} <= checkpoint.metrics.keys()
    with open_volume(stack / "raw.h5", role="raw") as raw:
        out = run(raw, best, out=stack / "seg.zarr")
    assert open_volume(out, role="labels").read().min() >= 1


def test_a_denoiser_that_sees_another_stack_is_refused_by_name(stack):
    denoiser = train(config_for(stack, recipe="dn_only"), stack / "dn", device="cpu")
    changes = {"recipe": "sequential", "init": {"denoiser": str(denoiser)}, "in_slices": 3}
    with pytest.raises(
        ConfigError, match="does not fit this run: its in_slices is 1, this run's 3"
    ):
        train(config_for(stack, **changes), stack / "seq", device="cpu")


def test_sequential_keeps_the_denoiser_it_starts_from(stack):
    denoiser = train(config_for(stack, recipe="dn_only"), stack / "dn", device="cpu")
    sequential = config_for(stack, recipe="sequential", init={"denoiser": str(denoiser)})
    trained = load_checkpoint(train(sequential, stack / "seq", device="cpu"))
    start = load_checkpoint(denoiser)
    for name, weights in start.weights.items():
        np.testing.assert_array_equal(trained.weights[name], weights, err_msg=name)
    assert trained.networks == ("denoiser", "segmenter")


@pytest.mark.parametrize(
    ("denoiser", "segmenter"),
    [
        ("dncnn-light", "unet"),
        ("ridnet-light", "transunet-xs"),
        ("transunet-xs", "dncnn-light"),
        ("unet3d", "unet3d"),
    ],
)
def test_any_network_can_be_trained_stored_and_run(stack, denoiser, segmenter):
    config = config_for(stack, denoiser=denoiser, segmenter=segmenter, steps=1)
    best = train(config, stack / "run", device="cpu")
    assert load_checkpoint(best).architecture["segmenter"] == segmenter
    with open_volume(stack / "raw.h5", role="raw") as raw:
        options = InferenceOptions(tile=(1, 32, 32), overlap=(0, 0, 0), device="cpu")
        out = run(raw, best, out=stack / "seg.zarr", options=options)
    assert open_volume(out, role="labels").read().min() >= 1


@pytest.mark.parametrize(
    ("recipe", "scores"),
    [
        ("seg_clean", {"voi"}),
        ("wo_dn2seg", {"psnr", "voi"}),
        ("wo_seg2dn", {"psnr", "coarse_psnr", "voi"}),
        ("dn_deep", {"psnr", "coarse_psnr"}),
    ],
)
def test_a_recipe_is_judged_by_what_it_makes(stack, recipe, scores):
    best = train(config_for(stack, recipe=recipe, steps=1), stack / "run", device="cpu")
    metrics = load_checkpoint(best).metrics.keys()
    assert metrics & {"psnr", "coarse_psnr", "voi"} == scores


def test_a_denoiser_learns_for_the_segmenter_it_starts_with(stack):
    segmenter = train(config_for(stack, recipe="seg_clean"), stack / "seg", device="cpu")
    dms = config_for(stack, recipe="dms", init={"segmenter": str(segmenter)})
    trained = load_checkpoint(train(dms, stack / "dms", device="cpu"))
    for name, weights in load_checkpoint(segmenter).weights.items():
        np.testing.assert_array_equal(trained.weights[name], weights, err_msg=name)


def test_a_segmenter_of_clean_sections_sees_as_many_as_a_denoiser_makes(stack):
    """Trained on 3 clean sections, it then reads the 3 that come of 5 noisy ones."""
    slices = {"in_slices": 5, "out_slices": 3, "steps": 1}
    slices["data"] = {
        "train": (0, 5),
        **config_for(stack).data.model_dump(include={"raw", "labels"}),
    }
    segmenter = train(config_for(stack, recipe="seg_clean", **slices), stack / "seg", device="cpu")
    assert load_checkpoint(segmenter).architecture["in_slices"] == 3
    assert load_checkpoint(segmenter).noise == []
    dms = config_for(stack, recipe="dms", init={"segmenter": str(segmenter)}, **slices)
    trained = load_checkpoint(train(dms, stack / "dms", device="cpu"))
    assert trained.architecture["in_slices"] == 5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"width": "small"}, "its width is 'tiny', this run's 'small'"),
        ({"denoiser": "dncnn-light"}, "this run's 'dncnn-light'"),
        ({"init": {"denoiser": "x.npz"}}, "for a TransUNet"),
        ({"init": {"fusion": "x.pt"}}, "the recipe has no fusion"),
        ({"init": {"denoiser": "absent.pt"}}, "no checkpoint at absent.pt"),
    ],
)
def test_weights_that_do_not_fit_are_refused(stack, changes, message):
    start = train(config_for(stack, recipe="dn_only", steps=1), stack / "dn", device="cpu")
    init = {"denoiser": str(start)} | changes.get("init", {})
    config = config_for(stack, recipe="sequential", **(changes | {"init": init}))
    with pytest.raises((ConfigError, DataError), match=message):
        train(config, stack / "run", device="cpu")


def test_rows_and_columns_bound_what_is_seen(stack):
    """Outside rows 4-40 and columns 12-48 the sections change, and the run does not."""
    runs = []
    for name, fill in (("one", 0), ("two", 200)):
        data = {"raw": str(stack / f"{name}.h5"), "labels": str(stack / "gt.h5")}
        with (
            open_volume(stack / "raw.h5") as raw,
            create_volume(data["raw"], shape=raw.shape, dtype=np.uint8, role="raw") as volume,
        ):
            values = raw.read()
            values[:, :4] = values[:, 40:] = values[:, :, :12] = fill
            volume.write(volume.roi, values)
        config = config_for(stack, data=data | {"rows": (4, 40), "columns": (12, 48)})
        runs.append(load_checkpoint(train(config, stack / name, device="cpu")))
    for key, weights in runs[0].weights.items():
        np.testing.assert_array_equal(weights, runs[1].weights[key])
    assert runs[0].metrics["psnr"] == runs[1].metrics["psnr"]


def test_denoising_alone_needs_no_labels(stack):
    config = config_for(stack, recipe="dn_only", data={"raw": str(stack / "raw.h5")})
    checkpoint = load_checkpoint(train(config, stack / "dn", device="cpu"))
    assert checkpoint.offsets == ()
    assert "voi" not in checkpoint.metrics


def test_an_existing_run_is_left_alone_or_continued(stack):
    config = config_for(stack)
    train(config, stack / "run", device="cpu")
    before = (stack / "run" / "metrics.jsonl").read_bytes()
    with pytest.raises(OutputExistsError, match="--resume"):
        train(config, stack / "run", device="cpu")
    train(config, stack / "run", device="cpu", resume=True)
    assert (stack / "run" / "metrics.jsonl").read_bytes() == before
    with pytest.raises(ConfigError, match="seed was 555, now 1"):
        train(config_for(stack, seed=1), stack / "run", device="cpu", resume=True)


def test_a_folder_that_is_no_run_is_never_deleted(stack):
    (stack / "precious").mkdir()
    (stack / "precious" / "thesis.txt").write_text("all of it")
    with pytest.raises(OutputExistsError, match="something other than a training run"):
        train(config_for(stack), stack / "precious", overwrite=True)
    assert (stack / "precious" / "thesis.txt").exists()


def test_overwrite_keeps_the_old_run_until_the_new_one_can_start(stack):
    train(config_for(stack), stack / "run", device="cpu")
    before = (stack / "run" / "best.pt").read_bytes()
    absent = {"raw": str(stack / "absent.h5"), "labels": str(stack / "gt.h5")}
    with pytest.raises(DataError):
        train(config_for(stack, data=absent), stack / "run", overwrite=True)
    own = config_for(stack, recipe="sequential", init={"denoiser": str(stack / "run" / "best.pt")})
    with pytest.raises(UsageError, match="lies in --out"):
        train(own, stack / "run", overwrite=True)
    assert (stack / "run" / "best.pt").read_bytes() == before


def test_a_run_killed_at_its_first_step_can_be_resumed(stack, monkeypatch):
    config = config_for(stack)
    with monkeypatch.context() as patch:
        patch.setattr("emds.stages.train.run_training", lambda *_, **__: None)
        train(config, stack / "run", device="cpu")
    assert (
        load_checkpoint(train(config, stack / "run", device="cpu", resume=True)).recipe == "joint"
    )


@pytest.mark.parametrize(("name", "words"), [("raw", "constant"), ("labels", "hold no labels")])
def test_sections_that_cannot_be_judged_are_refused_at_once(stack, name, words):
    role = "raw" if name == "raw" else "labels"
    dtype = np.uint8 if name == "raw" else np.uint64
    with create_volume(stack / "flat.h5", shape=(6, 48, 48), dtype=dtype, role=role) as volume:
        volume.write(volume.roi, np.zeros((6, 48, 48), dtype))
    data = {"raw": str(stack / "raw.h5"), "labels": str(stack / "gt.h5")}
    data[name] = str(stack / "flat.h5")
    with pytest.raises(DataError, match=words):
        train(config_for(stack, data=data), stack / "run", device="cpu")


def test_divergence_is_told(stack):
    config = config_for(stack, optimizer={"lr": 1e30, "warmup_steps": 0}, log_every=1, steps=20)
    with pytest.raises(DataError, match="diverged"):
        train(config, stack / "run", device="cpu")


def test_nothing_to_resume_is_an_error(stack):
    with pytest.raises(UsageError, match="nothing to resume"):
        train(config_for(stack), stack / "absent", resume=True)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"recipe": "magic"}, "unknown recipe 'magic'"),
        ({"recipe": "sequential"}, "--init denoiser=PATH"),
        ({"data": {"train": (0, 9)}}, "data.train = 0:9"),
        ({"data": {"rows": (8, 49)}}, "data.rows = 8:49 .* 48 rows"),
        ({"data": {"train": (0, 5), "validation": (4, 6)}}, "must not overlap"),
        ({"offsets": [(0, -1, 0), (0, 0, -1), (0, 40, 0)]}, "shorter than crop"),
        ({"offsets": [(-1, 0, 0), (0, -1, 0)]}, "Set in_slices=3 or more"),
        ({"offsets": "isotropic", "in_slices": 5}, "Set in_slices=7 or more"),
        ({"attractive": 11}, "number of offsets, 10"),
    ],
)
def test_a_plan_that_cannot_work_is_refused_at_once(stack, changes, message):
    data = {"raw": str(stack / "raw.h5"), "labels": str(stack / "gt.h5")}
    changes = changes | {"data": data | changes.get("data", {})}
    with pytest.raises(ConfigError, match=message):
        train(config_for(stack, **changes), stack / "run", device="cpu")
    assert not (stack / "run").exists()


def test_raw_and_labels_of_two_shapes_are_refused(stack):
    with create_volume(
        stack / "other.h5", shape=(7, 48, 40), dtype=np.uint64, role="labels"
    ) as volume:
        volume.write(volume.roi, np.ones((7, 48, 40), np.uint64))
    data = {"raw": str(stack / "raw.h5"), "labels": str(stack / "other.h5")}
    with pytest.raises(DataError, match=r"\(7, 48, 40\).*\(6, 48, 48\)"):
        train(config_for(stack, data=data), stack / "run", device="cpu")
