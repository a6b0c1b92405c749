"""A plan carried out on a toy volume: stopped anywhere, continued, and traceable."""

import csv
import json
import signal
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from toy_plans import SETTINGS, finish, plan_for, results_of

from emds.cli.console import print_plan
from emds.config import load_train_config
from emds.errors import ConfigError, InterruptedRunError, OutputExistsError, UsageError
from emds.io import open_volume
from emds.metrics import evaluate_denoising, evaluate_segmentation
from emds.stages.reproduce import command, estimate
from emds.stages.reproduce.command import reproduce
from emds.stages.reproduce.tables import all_tables
from emds.stages.reproduce.workspace import Settings


def test_a_plan_leaves_tables_a_page_and_nothing_to_do(data, capsys):
    plan = plan_for(data)
    results = reproduce(plan)
    assert plan.left() == []
    line = {line.row.recipe: line for line in results.lines}["joint"]
    assert line.paper == {"psnr": 27.407, "ssim": 0.763, "voi": 1.566, "arand": 0.209}
    assert {"psnr", "coarse_psnr", "strict.voi", "volume.arand", "released.voi"} <= (
        line.measures.keys()
    )
    titles = [table.title for table in all_tables(results)]
    assert titles[0].startswith("Table 1: toy, gaussian-poisson, unet+unet; the paper's are of")
    page = (data / "plan" / "report.html").read_text()
    for words in ("Noisy", "Clean", "Ground truth", "Sequential", "27.407", "emds train --config"):
        assert words in page
    before = (data / "plan" / "results.json").stat().st_mtime_ns
    touched = sorted(p for p in (data / "plan" / "runs").rglob("*.pt"))
    times = [p.stat().st_mtime_ns for p in touched]
    reproduce(plan_for(data))
    assert [p.stat().st_mtime_ns for p in touched] == times
    assert (data / "plan" / "results.json").stat().st_mtime_ns > before
    print_plan([(task.label, done, seconds) for task, done, seconds in plan.times()])
    assert "0 of 6 tasks left" in capsys.readouterr().err


def test_every_figure_of_the_csv_is_in_the_file_it_names(data):
    reproduce(plan_for(data, recipes=("dn_only",)))
    with (data / "plan" / "results.csv").open() as file:
        lines = {line["measure"]: line for line in csv.DictReader(file)}
    source = json.loads((data / "plan" / lines["psnr"]["sources"]).read_text())
    assert float(lines["psnr"]["mean"]) == source["image"]["psnr"]
    assert lines["psnr"]["paper"] == "27.348"


def test_scores_are_those_of_the_commands_that_are_named(data, monkeypatch):
    """Replay the commands of one system by hand, through the command line."""
    from typer.testing import CliRunner

    from emds.cli.app import app

    plan = plan_for(data, recipes=("joint",))
    reproduce(plan)
    (task,) = [task for task in plan.tasks if task.kind == "score"]
    content = json.loads(plan.place.scores(task.system, False).read_text())
    monkeypatch.chdir(data)
    for line in content["commands"]:
        words = line.split()[1:]
        result = CliRunner().invoke(app, ["-q", *words])
        assert result.exit_code == 0, (line, result.output)
    with (
        open_volume("out.zarr") as image,
        open_volume("out.zarr", role="labels") as labels,
        open_volume(plan.place.test_data("toy", "clean")) as clean,
        open_volume(plan.place.test_data("toy", "truth"), role="labels") as truth,
    ):
        assert clean.shape == (4, 32, 36)
        assert evaluate_denoising(image, clean).psnr == content["image"]["psnr"]
        strict = evaluate_segmentation(labels, truth, "strict")
        assert strict.scores.voi == content["segmentation"]["strict"]["voi"]
    again = plan.place.run_folder(task.system).with_name("seed0-again")
    curves = [
        (folder / "metrics.jsonl").read_text() for folder in (again, again.with_name("seed0"))
    ]
    assert curves[0] == curves[1]


def test_a_stored_configuration_is_the_one_that_trained(data):
    plan = plan_for(data, recipes=("dn_only",))
    reproduce(plan)
    system = plan.tasks[0].system
    stored = plan.place.run_folder(system) / "config.json"
    assert load_train_config(file=stored) == plan.place.config(system)


def test_table_3_is_tested_in_blocks_of_the_training_crop(data):
    settings = replace(SETTINGS, overrides=(*SETTINGS.overrides, "crop=32"))
    plan = plan_for(data, tables=(3,), recipes=("joint",), settings=settings)
    results = reproduce(plan)
    networks = ["+".join(line.row.pair) for line in results.lines]
    assert networks == [
        "unet+transunet-xs",
        "dncnn-light+transunet-xs",
        "ridnet-light+transunet-xs",
    ]
    for line in results.lines:
        source = json.loads((data / "plan" / line.sources[0]).read_text())
        assert line.measures["strict.voi"].mean == source["segmentation"]["strict"]["voi"]
        assert "--tile 1 32 32 --overlap 0 0 0" in source["commands"][2]


class Killed(BaseException):
    """Stands for kill -9: nothing of ours runs after it."""


@pytest.mark.parametrize("killed_at", [1, 3])
def test_a_killed_and_continued_plan_is_the_uninterrupted_one(data, killed_at, monkeypatch):
    reproduce(plan_for(data, "whole", recipes=("dn_only", "sequential")))
    calls = []

    def dies(place, task, progress):
        calls.append(task)
        if len(calls) > killed_at:
            raise Killed
        command_do_task(place, task, progress)

    command_do_task = command.do_task
    plan = plan_for(data, "killed", recipes=("dn_only", "sequential"))
    with monkeypatch.context() as patch:
        patch.setattr(command, "do_task", dies)
        with pytest.raises(Killed):
            reproduce(plan)
    assert len(plan.left()) == len(plan.tasks) - killed_at
    # A kill may also leave a folder in which training has not begun.
    folder = plan.place.run_folder(plan.left()[0].system)
    if killed_at == 3:
        (folder / "test").mkdir(parents=True, exist_ok=True)
    else:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".state.pt.1").write_bytes(b"torn")
    reproduce(plan)
    assert results_of(data / "killed") == results_of(data / "whole")


def test_sigterm_keeps_the_state_and_says_what_is_left(data):
    plan = plan_for(data, recipes=("dn_only", "sequential"))

    def progress(done, total, text):
        if text.startswith("3/4") and "loss" in text:
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(InterruptedRunError, match=r"2 of 4 tasks left.*The same command") as caught:
        reproduce(plan, progress)
    assert caught.value.exit_code == 75
    assert (plan.place.run_folder(plan.tasks[2].system) / "state.pt").is_file()
    assert "DN-Only" in (data / "plan" / "report.html").read_text()
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    reproduce(plan)
    assert plan.left() == []


def test_another_configuration_in_the_same_folder_is_refused_by_field(data):
    reproduce(plan_for(data, recipes=("dn_only",)))
    other = Settings("cpu", 3, SETTINGS.overrides, device="cpu")
    with pytest.raises(ConfigError, match="steps was 2, now 3"):
        reproduce(plan_for(data, recipes=("dn_only",), settings=other))


def test_options_that_cannot_work_are_refused_at_once(data):
    with pytest.raises(ConfigError, match="unknown recipe 'magic'"):
        plan_for(data, recipes=("magic",))
    with pytest.raises(UsageError, match="nothing to do"):
        plan_for(data, recipes=("dn_deep",))
    with pytest.raises(ConfigError, match="unknown preset"):
        plan_for(data, settings=Settings("cpus"))
    assert not (data / "plan").exists()


def test_dms_takes_the_weight_it_is_given(data):
    plan = plan_for(data, recipes=("dms",), settings=Settings("cpu", 2, dms_weight=0.5))
    systems = {task.system.recipe: task.system for task in plan.tasks}
    assert plan.place.config(systems["dms"]).loss.affinities == 0.5
    assert plan.place.config(systems["seg_clean"]).loss.affinities is None


def test_times_are_those_of_the_fastest_training_with_the_same_backbones(data, monkeypatch):
    """What a busy or a stopped machine adds to a training is not expected of the others."""
    monkeypatch.delattr(estimate, "_trial_speed")  # nothing is left to be tried
    plan = plan_for(data, seeds=3)
    place, alone = plan.place, [t for t in plan.tasks if t.label.startswith("train toy/gaussian-p")]
    for task, seconds in zip(alone, (40.0, 2.0, 900.0)):
        finish(place, task, seconds)
    flops = {task: estimate.step_flops(place.config(task.system)) for task in plan.tasks}
    speed = max(2 * flops[task] / took for task, took in zip(alone, (40.0, 2.0, 900.0)))
    times = {task: seconds for task, _, seconds in plan.times()}
    for task in plan.tasks:
        if task.kind == "train":
            assert times[task] == pytest.approx(2 * flops[task] / speed)
    scores = [task for task in plan.tasks if task.kind == "score"]
    # A step sees 2 × 16² pixels and scoring 4 × 32 × 36, forward only: a third of nine steps.
    for task in scores:
        assert times[task] == pytest.approx(9 / 3 * flops[task] / speed)
    for task, seconds in zip((t for t in scores if t.system.recipe == "joint"), (7.0, 3.0)):
        finish(place, task, seconds)
    times = {task: seconds for task, _, seconds in plan.times()}
    assert [times[t] for t in scores if t.system.recipe == "joint"] == [3.0] * 3


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_each_kind_of_network_is_tried_once_in_the_precision_it_is_trained_in(
    data, monkeypatch, precision
):
    tried = []

    def step(network, config):
        tried.append((config.segmenter, torch.is_autocast_enabled("cpu")))
        one_step(network, config)

    one_step = estimate._step
    overrides = (*SETTINGS.overrides, "crop=32", f"precision={precision}")
    settings = replace(SETTINGS, overrides=overrides)
    plan = plan_for(data, tables=(1, 3), recipes=("dn_only", "joint"), settings=settings)
    for task in plan.tasks:
        estimate.step_flops(plan.place.config(task.system))  # counted before, so not seen below
    monkeypatch.setattr(estimate, "_step", step)
    ticks = iter(range(10**6))  # a clock by which every step takes a quarter of a second
    clock = SimpleNamespace(monotonic=lambda: next(ticks) / 4)
    monkeypatch.setattr(estimate, "time", clock)
    times = plan.times()
    kinds = {}
    for task, _, seconds in times:
        one = estimate.step_flops(plan.place.config(task.system))
        first = kinds.setdefault(frozenset(task.system.networks.split("+")), one)
        if task.kind == "train":
            assert seconds == pytest.approx(2 * one / first / 4)
    assert len(tried) == len(kinds) * estimate._TRIAL_STEPS
    assert {half for _, half in tried} == {precision == "bf16"}


def test_a_folder_of_other_things_is_not_filled(data):
    (data / "mine/runs").mkdir(parents=True)
    (data / "mine/results.json").write_text("my results")
    with pytest.raises(OutputExistsError, match="did not put there"):
        reproduce(plan_for(data, "mine", recipes=("dn_only",)))
    assert (data / "mine/results.json").read_text() == "my results"
    assert sorted(path.name for path in (data / "mine").iterdir()) == ["results.json", "runs"]
