"""Several processes at one plan: each thing is done once, and nobody waits for the dead."""

import json
import os
import signal
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from toy_plans import call_when_waiting, finish, plan_for, pretend_to_work, results_of

from emds.io.ownership import claim_folder
from emds.stages.reproduce import command
from emds.stages.reproduce.claims import claim
from emds.stages.reproduce.command import reproduce

HOLDER = """
import sys
from pathlib import Path
from emds.stages.reproduce.claims import claim

with claim(Path(sys.argv[1])) as mine:
    print(mine, flush=True)
    sys.stdin.read()
"""

# Tells of every task before it does it, and begins the first one when it hears something.
HELPER = """
import sys
from pathlib import Path
from toy_plans import plan_for
from emds.stages.reproduce import command

def do_task(place, task, progress):
    print(task.label, flush=True)
    sys.stdin.readline()  # later ones find the end of the file
    real(place, task, progress)

real, command.do_task = command.do_task, do_task
command.reproduce(plan_for(Path(sys.argv[1]), recipes=sys.argv[2:]))
"""


@contextmanager
def start(script, *arguments):
    paths = [str(Path(__file__).parent), os.getcwd(), os.environ.get("PYTHONPATH", "")]
    with subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
    ) as child:
        try:
            yield child
        finally:
            child.kill()


def test_a_task_that_somebody_is_at_is_left_until_he_lets_go(data, monkeypatch):
    plan = plan_for(data, recipes=("dn_only", "seg_only", "sequential"))
    held = plan.tasks[0]
    others = [task for task in plan.tasks if task.system.recipe == "seg_only"]
    after = [task for task in plan.tasks if task not in (held, *others)]
    assert held.label.startswith("train"), "test invalid"
    assert {task.system.recipe for task in after} == {"dn_only", "sequential"}, "test invalid"
    tried, looks = pretend_to_work(monkeypatch), []
    claim_folder(plan.place.out, "reproduce")  # as whoever is at it has done
    with ExitStack() as lock:
        assert lock.enter_context(claim(plan.place.lock(held.label)))

        def look():
            looks.append(list(tried))
            assert len(looks) < 4, "nobody holds it any more"
            if len(looks) == 3:
                lock.close()

        call_when_waiting(monkeypatch, look)
        reproduce(plan)
    assert looks == [others] * 3
    assert tried == [*others, held, *after]
    assert plan.left() == []


def test_what_somebody_else_has_just_done_is_not_done_again(data, monkeypatch):
    """He finishes between the look at what is done and the lock."""
    plan = plan_for(data, recipes=("dn_only",))
    tried = pretend_to_work(monkeypatch)

    @contextmanager
    def late(path):
        if path == plan.place.lock(plan.tasks[0].label):
            finish(plan.place, plan.tasks[0])
        with claim(path) as mine:
            yield mine

    monkeypatch.setattr(command, "claim", late)
    reproduce(plan)
    assert tried == list(plan.tasks[1:])


def test_the_lock_of_a_killed_process_is_free(data, monkeypatch):
    plan = plan_for(data, recipes=("dn_only",))
    lock = plan.place.lock(plan.tasks[0].label)
    claim_folder(plan.place.out, "reproduce")
    with start(HOLDER, lock) as child:
        assert child.stdout.readline() == "True\n"
        with claim(lock) as mine:
            assert not mine, "test invalid"
        child.send_signal(signal.SIGKILL)
        child.wait()
        assert lock.exists(), "test invalid"
        call_when_waiting(monkeypatch, lambda: pytest.fail("waited for a dead process"))
        tried = pretend_to_work(monkeypatch)
        reproduce(plan)
    assert tried == list(plan.tasks)


def test_results_are_collected_and_written_by_one_at_a_time(data, monkeypatch):
    """Else an older collection could replace a newer one."""
    plan, alone = plan_for(data, recipes=("dn_only",)), []

    def look(work):
        def looks(*arguments):
            with claim(plan.place.lock("results")) as mine:
                alone.append(not mine)
            return work(*arguments)

        return looks

    for name in ("collect", "write_json", "write_csv", "write_page"):
        monkeypatch.setattr(command, name, look(getattr(command, name)))
    command.write_results(plan)
    assert alone == [True] * 4


def test_two_processes_do_everything_once_and_get_what_one_gets(data, monkeypatch):
    recipes = ("dn_only", "seg_only")
    reproduce(plan_for(data, "alone", recipes=recipes))
    plan, ours = plan_for(data, recipes=recipes), []
    with start(HELPER, data, *recipes) as child:
        theirs = [child.stdout.readline().strip()]  # it holds the first task

        def do_task(place, task, progress):
            if not ours:
                child.stdin.close()  # go
            ours.append(task.label)
            real(place, task, progress)

        real = command.do_task
        monkeypatch.setattr(command, "do_task", do_task)
        reproduce(plan)
        theirs += child.stdout.read().splitlines()
        assert child.wait() == 0
    assert theirs[0] == plan.tasks[0].label
    assert ours, "test invalid"
    assert sorted(ours + theirs) == sorted(task.label for task in plan.tasks)
    for log in (data / "plan" / "runs").rglob("metrics.jsonl"):
        lines = map(json.loads, log.read_text().splitlines())
        assert [line["step"] for line in lines if "loss" in line] == [1, 2]
    assert results_of(data / "plan") == results_of(data / "alone")
