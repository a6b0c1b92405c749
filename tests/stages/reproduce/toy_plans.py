"""Plans on a toy volume, and work that takes no time."""

import json
import threading
from contextlib import contextmanager

from emds.stages.reproduce import command
from emds.stages.reproduce.command import make_plan
from emds.stages.reproduce.records import write_record
from emds.stages.reproduce.workspace import Settings

SETTINGS = Settings(
    "cpu",
    2,
    ("width=tiny", "crop=16", "batch_size=2", "validation={every: 2, sections: 1}", "log_every=1"),
    device="cpu",
)


def plan_for(data, out="plan", recipes=("dn_only", "sequential", "joint"), **changes):
    options = {"tables": (1,), "datasets": (str(data / "toy.yaml"),), "seeds": 1}
    options |= {"settings": SETTINGS, "recipes": recipes}
    return make_plan(data, data / out, **(options | changes))


def without_times(content):
    """Drop what differs between two equal plans: clocks and places."""
    if isinstance(content, dict):
        timed = ("seconds", "cpu_seconds", "train_seconds", "train_cpu_seconds")
        return {k: without_times(v) for k, v in content.items() if k not in timed}
    return [without_times(one) for one in content] if isinstance(content, list) else content


def results_of(folder):
    return without_times(json.loads((folder / "results.json").read_text()))


def finish(place, task, seconds=1.0):
    """Leave what says that a task is done."""
    if task.kind == "train":
        config = place.config(task.system).model_dump(mode="json")
        write_record(place.record(task.system), {"steps": 2, "seconds": seconds, "config": config})
    else:
        write_record(place.scores(task.system, task.blocks), {"seconds": seconds})


def pretend_to_work(monkeypatch, work=finish):
    """Let `work(place, task)` stand for every task, and return the list that tells which it did."""
    tried = []

    def do_task(place, task, progress):
        tried.append(task)
        work(place, task)

    monkeypatch.setattr(command, "do_task", do_task)
    monkeypatch.setattr(command, "write_results", lambda plan: None)
    return tried


def call_when_waiting(monkeypatch, action):
    """Call something whenever `reproduce` waits for others, in place of the time it waits."""

    class Event(threading.Event):
        def wait(self, timeout=None):
            action()

    @contextmanager
    def stop_signal():
        yield Event()

    monkeypatch.setattr(command, "stop_signal", stop_signal)
