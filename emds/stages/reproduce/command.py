"""The command ``reproduce``: do what is left of a plan, then compare."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from emds.datasets import find_dataset
from emds.errors import ConfigError, InterruptedRunError, UsageError
from emds.signals import stop_signal
from emds.stages.reproduce.claims import claim
from emds.stages.reproduce.estimate import estimate_seconds
from emds.stages.reproduce.page import write_page
from emds.stages.reproduce.plan import DESIGNS, Row, Task, datasets_of, make_rows, make_tasks
from emds.stages.reproduce.results import Results, collect
from emds.stages.reproduce.tables import write_csv
from emds.stages.reproduce.work import do_task
from emds.stages.reproduce.workspace import Settings, Workspace, write_json
from emds.training.recipes import RECIPES

Progress = Callable[[int, int, str], None]

_PATIENCE = 1.0  # s between looks at what others have done


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

    def times(self) -> list[tuple[Task, bool, float]]:
        """Return every task with whether it is done and how many seconds it takes."""
        seconds = estimate_seconds(self.place, self.tasks)
        return [(task, self.place.is_done(task), seconds[task]) for task in self.tasks]


def make_plan(
    data: Path,
    out: Path,
    *,
    tables: Sequence[int] = tuple(DESIGNS),
    datasets: Sequence[str] = (),
    recipes: Sequence[str] = (),
    seeds: int = 3,
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
        Of the paper, 1 to 4.
    datasets : sequence of str
        Names or YAML files that take the place of the paper's data sets; empty for those.
    recipes : sequence of str
        Only these, and what they start from; empty for all.
    seeds : int
        Trainings of each system.
    settings : Settings, optional
        How to train.

    Raises
    ------
    UsageError, ConfigError, DataError
        If an option or a data set is not what it must be.
    """
    settings = settings or Settings()
    unknown = [name for name in recipes if name not in RECIPES]
    if unknown:
        raise ConfigError(f"unknown recipe {unknown[0]!r}; there are {', '.join(RECIPES)}.")
    if out.exists() and not out.is_dir():
        raise UsageError(f"--out {out} must be a folder, and it is a file.")
    found = [find_dataset(name, data) for name in datasets or datasets_of(tables)]
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
    InterruptedRunError
        On SIGTERM or SIGUSR1, after the training's state was saved and the results of what is
        done were written.
    """
    total = len(plan.tasks)
    stopped = None
    with stop_signal() as stop:
        while (left := plan.left()) and not stop.is_set() and not stopped:
            with _first_free(plan, left) as task:
                if task is None:  # all that can be done is being done
                    stop.wait(_PATIENCE)
                    continue
                number = plan.tasks.index(task) + 1

                def tell(done: int, steps: int, text: str, at: str = f"{number}/{total}") -> None:
                    if progress:
                        progress(done, steps, f"{at} {text}")

                tell(0, 1, task.label)
                try:
                    do_task(plan.place, task, tell)
                except InterruptedRunError as error:
                    stopped = error
            if not stopped and task.kind == "score":
                write_results(plan)  # so that a long plan can be watched
        results = write_results(plan)
        left = plan.left()
        if stopped or (stop.is_set() and left):
            raise InterruptedRunError(
                f"stopped by a signal with {len(left)} of {total} tasks left; what was done is "
                f"kept in {plan.place.out}. The same command continues."
            ) from stopped
    return results


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
    results = collect(plan.place, plan.rows, plan.seeds)
    out = plan.place.out
    write_json(out / "results.json", results.to_dict())
    write_csv(out / "results.csv", results)
    write_page(out / "report.html", results, plan.place)
    return results
