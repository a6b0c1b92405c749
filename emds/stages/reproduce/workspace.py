"""Where a plan keeps its files, and what is already there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from emds import numbers
from emds.compare import differences
from emds.config import TrainConfig, load_train_config, parse_train_config
from emds.datasets import Dataset
from emds.errors import ConfigError
from emds.numbers import Checked
from emds.stages.reproduce.plan import System, Task
from emds.stages.reproduce.records import read_record
from emds.training.recipes import RECIPES

_FIRST_SEED = 555


@dataclass(frozen=True, slots=True)
class Settings(Checked):
    """How all systems of a plan are trained.

    Attributes
    ----------
    preset : str
        A key of `emds.config.PRESETS`.
    steps : int or None
        Optimiser steps of every training; None keeps the preset's.
    overrides : tuple of str
        ``key=value``, as ``--set`` takes them.
    dms_weight : float
        Weight of the affinities in the recipe ``dms``.
    vit_weights : Path or None
        Published weights that a TransUNet of the full size starts from.
    device : str
        Device to compute on.
    """

    preset: str = "cpu"
    steps: numbers.Steps | None = None
    overrides: tuple[str, ...] = ()
    dms_weight: numbers.Weight = 0.25
    vit_weights: Path | None = None
    device: str = "auto"


@dataclass(frozen=True, slots=True)
class Workspace:
    """The output folder: ``data``, ``runs``, and the results beside them.

    A run has ``config.json`` and ``run.json`` when it is trained; its scores are in
    ``scores.json`` or, tested in blocks, ``scores-blocks.json``. Each of them is there whole or
    not at all.
    """

    out: Path
    settings: Settings
    datasets: Mapping[str, Dataset]

    def run_folder(self, system: System) -> Path:
        """Folder of a training run."""
        return self.out / "runs" / system.folder

    def checkpoint(self, system: System) -> Path:
        """Return the checkpoint that is scored and started from."""
        return self.run_folder(system) / "best.pt"

    def record(self, system: System) -> Path:
        """Return the file that says that a system is trained, and how long it took."""
        return self.run_folder(system) / "run.json"

    def scores(self, system: System, blocks: bool) -> Path:
        """File of a system's scores."""
        return self.run_folder(system) / ("scores-blocks.json" if blocks else "scores.json")

    def examples(self, system: System, blocks: bool) -> Path:
        """File of a system's images and labels of the sections that are shown."""
        return self.scores(system, blocks).with_suffix(".npz")

    def test_data(self, dataset: str, what: str) -> Path:
        """Return a volume of test sections: ``clean``, ``truth``, or a kind of noise."""
        return self.out / "data" / dataset / f"{what}.zarr"

    def lock(self, name: str) -> Path:
        """File whose lock says that a process is at it: a task by its label, or test data."""
        return self.out / "locks" / name.replace("/", "_").replace(" ", "_")

    def can_begin(self, task: Task) -> bool:
        """Say whether what a task starts from is there."""
        return all(self.is_done(needed) for needed in task.needs())

    def is_done(self, task: Task) -> bool:
        """Say whether a task has left its result.

        Raises
        ------
        ConfigError
            If the result is there, but of another configuration.
        """
        if task.kind == "score":
            return self.scores(task.system, task.blocks).is_file()
        record = self.record(task.system)
        if not record.is_file():
            return False
        stored = self._stored_config(record)
        asked = self.config(task.system)
        differing = differences(stored.model_dump(mode="json"), asked.model_dump(mode="json"))
        if differing:
            raise ConfigError(
                f"{record.parent} was trained with another configuration. Differing: "
                f"{'; '.join(differing)}. Repeat the options of the first start, or choose another "
                "--out."
            )
        return True

    def _stored_config(self, record: Path) -> TrainConfig:
        """Read as a configuration, so that fields a later emds added have their defaults."""
        content = read_record(record)
        try:
            return parse_train_config(content["config"])
        except ConfigError as error:
            raise ConfigError(
                f"{record.parent} was trained by emds {content.get('emds')}, whose configuration "
                f"this emds does not read ({error}). Choose another --out."
            ) from None

    def config(self, system: System) -> TrainConfig:
        """Return the training configuration of a system."""
        dataset, settings = self.datasets[system.dataset], self.settings
        init = {part: self.checkpoint(one) for part, one in system.needed().items()}
        if settings.vit_weights is not None:
            parts = {"denoiser": system.denoiser, "segmenter": system.segmenter}
            full = [part for part, name in parts.items() if name == "transunet"]
            init = dict.fromkeys(full, settings.vit_weights) | init
        segmenting = "segmenter" in RECIPES[system.recipe].networks
        noise = {} if system.noise == "clean" else {"models": [{"kind": system.noise}]}
        loss = {"affinities": settings.dms_weight} if system.recipe == "dms" else {}
        return load_train_config(
            settings.preset,
            overrides=settings.overrides,
            options={
                "recipe": system.recipe,
                "denoiser": system.denoiser or None,
                "segmenter": system.segmenter or None,
                "steps": settings.steps,
                "seed": _FIRST_SEED + system.seed,
                "init": {part: str(path.resolve()) for part, path in init.items()},
                "noise": noise,
                "loss": loss,
                "license": dataset.license,
                "attribution": dataset.attribution,
                "data": {
                    "raw": dataset.raw,
                    "labels": dataset.labels if segmenting else None,
                    "train": dataset.train,
                    "validation": dataset.validation,
                    "rows": dataset.rows,
                    "columns": dataset.columns,
                },
            },
        )
