"""The plan: every line of the paper's tables, each training once, the core comparisons first."""

import csv
from importlib.resources import files

import h5py
import pytest
from toy_plans import plan_for

from emds.stages.reproduce.paper import MEASURES, paper_figures
from emds.stages.reproduce.plan import CORE, DESIGNS, datasets_of, make_rows, make_tasks
from emds.training.recipes import RECIPES

ALL = (1, 2, 3, 4)
BOTH = ("gaussian-poisson", "film")
PAPER = {name: BOTH if name == "ac4" else BOTH[:1] for name in datasets_of(ALL)}


def paper_lines():
    text = (files("emds.stages.reproduce") / "paper_tables.csv").read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def test_every_line_of_the_papers_tables_has_its_row_and_its_figures():
    rows = make_rows(ALL, PAPER, stand_in=False, light=False)
    found = {
        (row.table, row.dataset, row.noise, "+".join(row.pair), row.recipe): paper_figures(row)
        for row in rows
    }
    lines = paper_lines()
    assert len(lines) == 46
    for line in lines:
        key = (int(line["table"]), line["dataset"].lower(), line["noise"])
        key += (line["denoiser+segmenter"], line["recipe"])
        assert found[key] == {name: float(line[name]) for name in MEASURES if line[name]}


def test_rows_without_figures_of_the_paper_are_our_controls():
    rows = make_rows(ALL, PAPER, stand_in=False, light=False)
    own = {row.recipe for row in rows if not paper_figures(row)}
    controls = {"joint_linear", "joint_cat", "joint_detach", "dn_deep", "seg_clean"}
    assert own == controls | {"joint_balanced", "wo_seg2dn_fair"}
    assert {row.recipe for row in rows} == RECIPES.keys()


def test_only_table_3_is_tested_in_blocks():
    assert [table for table, design in DESIGNS.items() if design.blocks] == [3]


def tasks(seeds=3, **changes):
    options = {"stand_in": True, "light": True} | changes
    return make_tasks(make_rows(ALL, {"flyem": BOTH}, **options), seeds)


def test_each_thing_is_done_once_and_after_what_it_needs():
    plan = tasks()
    assert len(set(plan)) == len(plan)
    trained = set()
    for task in plan:
        if task.kind == "train":
            assert set(task.system.needed().values()) <= trained
            trained.add(task.system)
        else:
            assert task.system in trained


def test_the_core_comes_first_seed_by_seed_then_the_rest():
    scored = [task for task in tasks() if task.kind == "score"]
    order = [(task.system.recipe, task.system.seed) for task in scored]
    n = len(CORE)
    for seed in range(3):
        assert order[seed * n : (seed + 1) * n] == [(recipe, seed) for recipe in CORE]
    rest = scored[3 * n :]
    assert [task.system.seed for task in rest] == sorted(task.system.seed for task in rest)
    assert rest[0].system.noise == "film"
    assert rest[len(rest) // 3 - 1].system.networks == "ridnet-light+transunet-xs"


def test_rows_of_several_tables_share_their_trainings():
    """A denoiser alone serves every segmenter, a clean segmenter every noise."""
    systems = [task.system for task in tasks(seeds=1) if task.kind == "train"]
    counted = {
        recipe: len([system for system in systems if system.recipe == recipe])
        for recipe in ("dn_only", "seg_only", "seg_clean", "joint")
    }
    # unet with two noises, two other denoisers; unet with two noises, transunet; both clean
    assert counted == {"dn_only": 4, "seg_only": 3, "seg_clean": 2, "joint": 5}


def test_one_training_is_scored_in_whole_sections_and_in_blocks():
    scored = [
        task.blocks
        for task in tasks(seeds=1)
        if task.kind == "score" and task.system.folder.as_posix().startswith("flyem/g")
        if (task.system.recipe, task.system.networks) == ("dn_only", "unet")
    ]
    assert sorted(scored) == [False, True]


@pytest.mark.parametrize(("light", "networks"), [(True, "transunet-xs"), (False, "transunet")])
def test_light_networks_stand_for_large_ones(light, networks):
    systems = {task.system.segmenter for task in tasks(light=light)}
    assert systems == {"", "unet", networks}


def test_chosen_recipes_bring_what_they_start_from():
    rows = make_rows((1,), {"flyem": BOTH}, stand_in=True, light=True, recipes=("sequential",))
    plan = make_tasks(rows, 1)
    assert [(task.kind, task.system.recipe) for task in plan] == [
        ("train", "dn_only"),
        ("train", "sequential"),
        ("score", "sequential"),
    ]


def test_labels_that_say_they_lie_elsewhere_are_told_of(data, caplog):
    """Sections are taken as they are numbered, in training and in scoring alike."""
    plan_for(data)
    assert not caplog.records
    with h5py.File(data / "gt.h5", "r+") as file:
        ids = file["volumes/labels/neuron_ids"]
        ids.attrs.update({"resolution": [30.0, 6.0, 6.0], "offset": [30.0, 0.0, 0.0]})
    plan_for(data)
    assert caplog.text.count("toy: offsets differ (labels (30.0, 0.0, 0.0), images (0.0") == 1
