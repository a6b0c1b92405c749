"""A task that fails does not end a plan; what needs it is left, and told."""

import logging
import re
import signal
from dataclasses import replace

import pytest
import torch
from toy_plans import SETTINGS, call_when_waiting, finish, plan_for, pretend_to_work, results_of

from emds.errors import ConfigError, DataError, IncompleteError, InterruptedRunError
from emds.stages.reproduce import command
from emds.stages.reproduce.command import reproduce
from emds.training import loop


def failing(recipe, kind="train", error=DataError):
    def work(place, task):
        if (task.kind, task.system.recipe) == (kind, recipe):
            raise error(f"{task.label} cannot be done.\nThat is a pity.")
        finish(place, task)

    return work


def named(tasks):
    return [f"{task.kind} {task.system.recipe}" for task in tasks]


def test_a_failed_training_is_told_and_only_what_needs_it_is_left(data, monkeypatch, caplog):
    plan = plan_for(data, recipes=("dn_only", "seg_only", "sequential"))
    tried = pretend_to_work(monkeypatch, failing("dn_only"))
    call_when_waiting(monkeypatch, lambda: pytest.fail("waited for what nobody does"))
    written = []
    monkeypatch.setattr(command, "write_results", lambda plan: written.append(named(plan.left())))
    with (
        caplog.at_level(logging.WARNING, "emds"),
        pytest.raises(IncompleteError) as caught,
    ):
        reproduce(plan)
    assert named(tried) == ["train dn_only", "train seg_only", "score seg_only"]
    left = ["train dn_only", "score dn_only", "train sequential", "score sequential"]
    assert named(plan.left()) == left
    assert written[-1] == left
    label = plan.tasks[0].label
    assert str(caught.value) == (
        "ended with 4 of 6 tasks left: 1 failed, 3 needing what failed. The rest is done, with its "
        f"results in {data / 'plan'}. The same command tries again; other settings of the training "
        f"need another --out.\n  {label}: {label} cannot be done."
    )
    assert caught.value.exit_code == 5
    assert caplog.messages == [f"{label} failed, and the plan goes on: {label} cannot be done."]
    tried = pretend_to_work(monkeypatch)
    reproduce(plan)
    assert named(tried) == left


def test_what_cannot_be_scored_does_not_stop_what_starts_from_it(data, monkeypatch):
    plan = plan_for(data, recipes=("dn_only", "sequential"))
    pretend_to_work(monkeypatch, failing("dn_only", "score", IncompleteError))
    with pytest.raises(IncompleteError, match="1 of 4 tasks left: 1 failed, 0 needing"):
        reproduce(plan)
    assert named(plan.left()) == ["score dn_only"]


def test_a_long_list_of_failures_is_cut(data, monkeypatch):
    plan = plan_for(data, recipes=("dn_only",), seeds=12)
    pretend_to_work(monkeypatch, failing("dn_only"))
    with pytest.raises(IncompleteError) as caught:
        reproduce(plan)
    lines = str(caught.value).splitlines()
    assert "24 of 24 tasks left: 12 failed, 12 needing" in lines[0]
    assert len(lines) == 1 + 10 + 1
    assert lines[-1] == "  and 2 more"


def test_what_another_process_made_of_a_failed_task_is_gone_on_with(data, monkeypatch):
    def work(place, task):
        if task.system.recipe == "seg_only":
            finish(place, plan.tasks[0])  # stands for the other process
        failing("dn_only")(place, task)

    plan = plan_for(data, recipes=("dn_only", "seg_only", "sequential"))
    tried = pretend_to_work(monkeypatch, work)
    reproduce(plan)
    assert plan.left() == []
    assert len(tried) == len(plan.tasks)


def test_a_wrong_setting_ends_the_plan_at_once(data, monkeypatch):
    plan = plan_for(data, recipes=("dn_only", "seg_only"))
    tried = pretend_to_work(monkeypatch, failing("dn_only", error=ConfigError))
    with pytest.raises(ConfigError):
        reproduce(plan)
    assert named(tried) == ["train dn_only"]


def test_a_signal_after_a_failure_is_told_as_a_signal(data, monkeypatch):
    def work(place, task):
        if task.system.recipe == "seg_only":
            signal.raise_signal(signal.SIGTERM)
        failing("dn_only")(place, task)

    plan = plan_for(data, recipes=("dn_only", "seg_only"))
    pretend_to_work(monkeypatch, work)
    with pytest.raises(InterruptedRunError, match="3 of 4 tasks left"):
        reproduce(plan)


def test_a_diverged_training_goes_on_from_its_state_the_next_time(data, monkeypatch):
    steps = []

    def diverges(state, batch, recipe, *rest):
        losses = step(state, batch, recipe, *rest)
        bad = "denoiser" in recipe.networks and state.step == 1
        return {name: loss * torch.nan for name, loss in losses.items()} if bad else losses

    def counts(state, *rest):
        steps.append(state.step)
        return step(state, *rest)

    step = loop._step
    recipes = ("dn_only", "seg_only")
    saving = replace(SETTINGS, overrides=(*SETTINGS.overrides, "save_every=1"))
    reproduce(plan_for(data, "whole", recipes=recipes, settings=saving))
    plan = plan_for(data, recipes=recipes, settings=saving)
    monkeypatch.setattr(loop, "_step", diverges)
    reason = re.escape(f"{plan.tasks[0].label}: the loss is nan at step 2: training diverged.")
    with pytest.raises(IncompleteError, match=reason):
        reproduce(plan)
    lines = results_of(data / "plan")["lines"]
    assert {line["row"]["recipe"]: line["seeds"] for line in lines} == {
        "dn_only": [],
        "seg_only": [0],
    }
    assert (data / "plan" / "report.html").is_file()
    monkeypatch.setattr(loop, "_step", counts)
    reproduce(plan)
    assert steps == [1]
    assert results_of(data / "plan") == results_of(data / "whole")
