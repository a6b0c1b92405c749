"""Which systems the paper's tables need, and in which order they are best trained."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from emds.training.recipes import RECIPES

Pair = tuple[str, str]
_UNETS: Pair = ("unet", "unet")

# The order is that of the plan: what the comparison rests on comes first.
CORE = (
    "dn_only",
    "seg_only",
    "sequential",
    "dms",
    "joint",
    "wo_dn2seg",
    "wo_seg2dn_fair",
    "joint_linear",
)
_METHODS = ("dn_only", "seg_only", "dms", "sequential", "joint")
_ABLATIONS = ("wo_dn2seg", "wo_seg2dn", "wo_seg2dn_fair", "joint")
_CONTROLS = (
    "joint_linear",
    "joint_cat",
    "joint_detach",
    "joint_balanced",
    "dn_deep",
    "seg_clean",
)

LIGHT: Mapping[str, str] = {
    "dncnn": "dncnn-light",
    "ridnet": "ridnet-light",
    "transunet": "transunet-xs",
}
"""What stands for a network where a CPU has to train it."""


@dataclass(frozen=True, slots=True)
class Design:
    """One of the paper's tables.

    Attributes
    ----------
    datasets, noises, pairs, recipes : tuple
        Its lines: every combination.
    blocks : bool
        Tested in blocks of the training crop, not in whole sections.
    beside : str
        Whose figures of the paper are shown where another data set stands in.
    """

    datasets: tuple[str, ...]
    noises: tuple[str, ...]
    pairs: tuple[Pair, ...]
    recipes: tuple[str, ...]
    blocks: bool = False
    beside: str = ""


DESIGNS: Mapping[int, Design] = {
    1: Design(
        ("cremi-a", "cremi-b", "cremi-c"),
        ("gaussian-poisson",),
        (_UNETS,),
        _METHODS,
        beside="cremi-c",
    ),
    2: Design(("ac4",), ("gaussian-poisson", "film"), (_UNETS,), _METHODS, beside="ac4"),
    3: Design(
        ("cremi-c",),
        ("gaussian-poisson",),
        (("unet", "transunet"), ("dncnn", "transunet"), ("ridnet", "transunet")),
        _METHODS,
        blocks=True,
        beside="cremi-c",
    ),
    4: Design(
        ("ac4", "cremi-c"),
        ("gaussian-poisson",),
        (_UNETS,),
        (*_ABLATIONS, *_CONTROLS),
        beside="ac4",
    ),
}


@dataclass(frozen=True, slots=True)
class System:
    """A training run: all that tells it from the others of a plan.

    Attributes
    ----------
    dataset, noise, recipe : str
        Noise is ``clean`` where the recipe reads clean images.
    denoiser, segmenter : str
        Networks; empty where the recipe has none.
    seed : int
        Counted from 0.
    """

    dataset: str
    noise: str
    recipe: str
    denoiser: str
    segmenter: str
    seed: int

    @property
    def networks(self) -> str:
        """The networks as one word, such as ``unet+transunet``."""
        return "+".join(name for name in (self.denoiser, self.segmenter) if name)

    @property
    def folder(self) -> Path:
        """Where the run belongs, relative to all runs."""
        return Path(self.dataset, self.noise, self.networks, self.recipe, f"seed{self.seed}")

    def needed(self) -> dict[str, System]:
        """Return, for each part that starts from another run, that run."""
        pair = (self.denoiser, self.segmenter)
        return {
            part: make_system(self.dataset, self.noise, source, pair, self.seed)
            for part, source in RECIPES[self.recipe].starts_from.items()
        }


def make_system(dataset: str, noise: str, recipe: str, pair: Pair, seed: int) -> System:
    """Name a run by what it depends on and nothing else, so that rows can share it.

    Examples
    --------
    >>> make_system("ac4", "film", "dn_only", ("dncnn", "transunet"), 0).folder.as_posix()
    'ac4/film/dncnn/dn_only/seed0'
    >>> make_system("ac4", "film", "seg_clean", ("dncnn", "transunet"), 0).folder.as_posix()
    'ac4/clean/transunet/seg_clean/seed0'
    """
    made = RECIPES[recipe]
    denoiser, segmenter = (
        name if part in made.networks else ""
        for name, part in zip(pair, ("denoiser", "segmenter"), strict=True)
    )
    return System(
        dataset, "clean" if made.reads == "clean" else noise, recipe, denoiser, segmenter, seed
    )


@dataclass(frozen=True, slots=True)
class Row:
    """A line of a table: a system up to its seed, and how it is tested.

    Attributes
    ----------
    table : int
        Table of the paper.
    dataset, noise, recipe : str
        As in `System`.
    pair : (str, str)
        Networks that are trained.
    paper_dataset, paper_pair
        Whose figures of the paper belong beside.
    blocks : bool
        As in `Design`.
    """

    table: int
    dataset: str
    noise: str
    recipe: str
    pair: Pair
    paper_dataset: str
    paper_pair: Pair
    blocks: bool

    def system(self, seed: int) -> System:
        """Return the run of one seed."""
        return make_system(self.dataset, self.noise, self.recipe, self.pair, seed)


@dataclass(frozen=True, slots=True)
class Task:
    """Something to do: train a system, or score it (in blocks or in whole sections)."""

    kind: Literal["train", "score"]
    system: System
    blocks: bool = False

    @property
    def label(self) -> str:
        """What it is, in a few words."""
        how = " in blocks" if self.blocks else ""
        return f"{self.kind} {self.system.folder.as_posix()}{how}"

    def needs(self) -> list[Task]:
        """Return the trainings that it starts from."""
        systems = self.system.needed().values() if self.kind == "train" else (self.system,)
        return [Task("train", system) for system in systems]


def make_rows(
    tables: Sequence[int],
    noises: Mapping[str, Sequence[str]],
    *,
    stand_in: bool,
    light: bool,
    recipes: Sequence[str] = (),
) -> list[Row]:
    """Return the lines of these tables.

    Parameters
    ----------
    tables : sequence of int
        1 to 4.
    noises : mapping of str to sequence of str
        Data set → kinds of noise it is used with.
    stand_in : bool
        The data sets take the place of the paper's own in every table. Else only those are used
        that the table has.
    light : bool
        Small networks stand for large ones, see `LIGHT`.
    recipes : sequence of str
        Only these; empty for all.
    """
    rows = []
    for table in tables:
        design = DESIGNS[table]
        for dataset, kinds in noises.items():
            if not stand_in and dataset not in design.datasets:
                continue
            for noise in design.noises:
                if noise not in kinds:
                    continue
                rows += [
                    Row(
                        table,
                        dataset,
                        noise,
                        recipe,
                        _light(pair) if light else pair,
                        design.beside if stand_in else dataset,
                        pair,
                        design.blocks,
                    )
                    for pair in design.pairs
                    for recipe in design.recipes
                    if not recipes or recipe in recipes
                ]
    return rows


def make_tasks(rows: Sequence[Row], seeds: int) -> list[Task]:
    """Return all there is to do, each thing once, what others start from before them.

    First the core comparisons with their first seed, then with the others, then the rest.
    """
    found: dict[Task, None] = {}
    for row, seed in sorted(
        ((row, seed) for row in rows for seed in range(seeds)), key=lambda pair: _rank(*pair)
    ):
        system = row.system(seed)
        found |= dict.fromkeys(Task("train", one) for one in _with_needed(system))
        found[Task("score", system, row.blocks)] = None
    return list(found)


def datasets_of(tables: Iterable[int]) -> list[str]:
    """Return the paper's data sets of these tables, each once."""
    return list(dict.fromkeys(name for table in tables for name in DESIGNS[table].datasets))


def _light(pair: Pair) -> Pair:
    denoiser, segmenter = (LIGHT.get(name, name) for name in pair)
    return denoiser, segmenter


def _with_needed(system: System) -> Iterator[System]:
    for needed in system.needed().values():
        yield from _with_needed(needed)
    yield system


def _rank(row: Row, seed: int) -> tuple[int, int, int, int]:
    core = row.recipe in CORE and row.pair == _UNETS and row.noise == "gaussian-poisson"
    place = CORE.index(row.recipe) if row.recipe in CORE else len(CORE)
    if core:
        return (0 if seed == 0 else 1), seed, 0, place
    # Of the rest: the second noise, then further recipes, then further networks.
    breadth = 2 if row.pair != _UNETS else 0 if row.noise != "gaussian-poisson" else 1
    return 2, seed, breadth, place
