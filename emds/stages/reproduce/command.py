"""The command ``reproduce``: do what is left of a plan, then compare."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from emds.datasets import Dataset, find_dataset
from emds.errors import ConfigError, DataError, IncompleteError, InterruptedRunError, UsageError
from emds.io import open_volume
from emds.io.ownership import claim_folder
from emds.metrics.alignment import align
from emds.numbers import Repeats, checked
from emds.progress import Progress
from emds.signals import stop_signal
from emds.stages.reproduce.claims import claim
from emds.stages.reproduce.estimate import estimate_seconds
from emds.stages.reproduce.page import write_page
from emds.stages.reproduce.plan import DESIGNS, Row, Task, datasets_of, make_rows, make_tasks
from emds.stages.reproduce.records import write_json
from emds.stages.reproduce.results import Results, collect
from emds.stages.reproduce.tables import write_csv
from emds.stages.reproduce.work import do_task
from emds.stages.reproduce.workspace import Settings, Workspace
from emds.training.recipes import RECIPES

logger = logging.getLogger("emds")

Failures = dict[Task, str]

_PATIENCE = 1.0  # s between looks at what others have done
_LISTED = 10


@dataclass(frozen=True, slots=True)
class Plan:
    """A workspace, the lines of its tables, and all that must be done for them, in order."""

    place: Workspace
    rows: tuple[Row, ...]
    tasks: tuple[Task, ...]
    seeds: int

    def left(self) -> list[Task]:
        """Return what is not done, in order."""
        return [task for task in self.tasks if not self.place.is_done(task)]

    def divide_left(self, failed: Mapping[Task, str]) -> tuple[list[Task], list[Task]]:
        """Return what is left and can be done, and what failed or needs what failed, in order.

        A task that another process has done since it failed here is not left.
        """
        possible: list[Task] = []
        closed: list[Task] = []
        for task in self.left():  # what others need comes before them
            hopeless = task in failed or any(needed in closed for needed in task.needs())
            (closed if hopeless else possible).append(task)
        return possible, closed

    def times(self) -> list[tuple[Task, bool, float]]:
        """Return every task with whether it is done and how many seconds it takes."""
        seconds = estimate_seconds(self.place, self.tasks)
        return [(task, self.place.is_done(task), seconds[task]) for task in self.tasks]


@checked
def make_plan(
    data: Path,
    out: Path,
    *,
    tables: Sequence[int] = tuple(DESIGNS),
    datasets: Sequence[str] = (),
    recipes: Sequence[str] = (),
    seeds: Repeats = 3,
    settings: Settings | None = None,
) -> Plan:
    """Find the data and list what there is to do; nothing is written.

    Parameters
    ----------
    data : Path
        Folder of the published files.
    out : Path
        Folder of the plan, new or begun.
    tables : sequence of int
        Tables of the paper, 1 to 4.
    datasets : sequence of str
        Names or YAML files that take the place of the paper's data sets; empty for those.
    recipes : sequence of str
        Only these, and what they start from; empty for all.
    seeds : int
        Trainings of each system.
    settings : Settings, optional
        Training settings.

    Raises
    ------
    UsageError, ConfigError, DataError
        If an option or a data set does not meet the requirements.
    """
    settings = settings or Settings()
    unknown = [name for name in recipes if name not in RECIPES]
    if unknown:
        raise ConfigError(f"unknown recipe {unknown[0]!r}; there are {', '.join(RECIPES)}.")
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} must be a folder, and it is a file.")
    found = [find_dataset(name, data) for name in datasets or datasets_of(tables)]
    for dataset in found:
        _tell_of_places(dataset)
    known = {dataset.name: dataset for dataset in found}
    rows = make_rows(
        tables,
        {dataset.name: dataset.noise for dataset in found},
        stand_in=bool(datasets),
        light=settings.preset == "cpu",
        recipes=recipes,
    )
    if not rows:
        raise UsageError(
            f"nothing to do: tables {', '.join(map(str, tables))} have none of the recipes "
            f"{', '.join(recipes)} with the noise of {', '.join(known)}."
        )
    place = Workspace(out, settings, known)
    tasks = make_tasks(rows, seeds)
    place.config(tasks[0].system)  # refuses wrong settings before anything is done
    return Plan(place, tuple(rows), tuple(tasks), seeds)


def _tell_of_places(dataset: Dataset) -> None:
    """Say where images and labels, which have one shape, say that they lie apart."""
    pairs = {
        (dataset.raw, dataset.labels),
        (dataset.tested_raw, dataset.tested_labels),
    }
    for raw, labels in sorted(pairs):
        with open_volume(raw, role="raw") as image, open_volume(labels, role="labels") as ids:
            for note in align(ids, image, ("labels", "images"))[2]:
                logger.warning("%s: %s", dataset.name, note)


def reproduce(plan: Plan, progress: Progress | None = None) -> Results:
    """Do what is left, and write ``results.json``, ``results.csv`` and ``report.html``.

    Parameters
    ----------
    plan : Plan
        From `make_plan`. It may be stopped and begun again anywhere; what was done stays. Several
        processes, on one machine or on several with a shared folder, may carry out the same plan:
        each takes the first task that no other is at.
    progress : callable, optional
        Told (done, total, text).

    Raises
    ------
    OutputExistsError
        If the folder holds something else.
    InterruptedRunError
        On a signal (see `emds.signals`), after the training's state was saved and the results of
        what is done were written.
    IncompleteError
        If tasks failed, after all that does not need them was done and its results were written.
        Each was tried once, by this process.
    """
    claim_folder(plan.place.out, "reproduce")
    failed: Failures = {}
    with stop_signal() as stop:
        while True:
            possible, closed = plan.divide_left(failed)
            if not possible or stop.is_set():
                break
            with _first_free(plan, possible) as task:
                if task is None:  # all that can be done is being done
                    stop.wait(_PATIENCE)
                else:
                    _try(plan, task, failed, stop, progress)
            if task is not None and task.kind == "score":
                write_results(plan)  # so that a long plan can be watched
        results = write_results(plan)
    if possible:
        raise stop.error(
            f"with {len(possible) + len(closed)} of {len(plan.tasks)} tasks "
            f"left; what was done is kept in {plan.place.out}. The same command continues."
        )
    if closed:
        raise IncompleteError(_describe(plan, closed, failed))
    return results


def _try(
    plan: Plan, task: Task, failed: Failures, stop: threading.Event, progress: Progress | None
) -> None:
    """Do a task, or note why it failed or that it was stopped."""
    at = f"{plan.tasks.index(task) + 1}/{len(plan.tasks)}"

    def tell(done: int, steps: int, text: str) -> None:
        if progress:
            progress(done, steps, f"{at} {text}")

    tell(0, 1, task.label)
    try:
        do_task(plan.place, task, tell)
    except InterruptedRunError:
        stop.set()
    except (DataError, IncompleteError) as error:
        failed[task] = str(error).splitlines()[0]
        logger.warning("%s failed, and the plan goes on: %s", task.label, failed[task])


def _describe(plan: Plan, closed: Sequence[Task], failed: Failures) -> str:
    """Say what failed and why, what is left because of it, and what can be done."""
    reasons = [f"\n  {task.label}: {failed[task]}" for task in closed if task in failed]
    more = len(reasons) - _LISTED
    listed = "".join(reasons[:_LISTED]) + (f"\n  and {more} more" if more > 0 else "")
    return (
        f"ended with {len(closed)} of {len(plan.tasks)} tasks left: {len(reasons)} failed, "
        f"{len(closed) - len(reasons)} needing what failed. The rest is done, with its results in "
        f"{plan.place.out}. The same command tries again; other settings of the training need "
        f"another --out.{listed}"
    )


@contextmanager
def _first_free(plan: Plan, left: Sequence[Task]) -> Iterator[Task | None]:
    """Hold the first of these tasks that can begin and that no other process is at."""
    place = plan.place
    for task in left:
        if place.can_begin(task):
            with claim(place.lock(task.label)) as mine:
                # It may have been done between the look and the lock.
                if mine and not place.is_done(task):
                    yield task
                    return
    yield None


def write_results(plan: Plan) -> Results:
    """Collect what is scored so far, and write it as JSON, CSV and a page."""
    out = plan.place.out
    with claim(plan.place.lock("results"), wait=True):  # the last to write has seen the most
        results = collect(plan.place, plan.rows, plan.seeds)
        write_json(out / "results.json", results.to_dict())
        write_csv(out / "results.csv", results)
        write_page(out / "report.html", results, plan.place)
    return results
