"""What `emds tune` tried and chose, and how sure the choice is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from emds.metrics.selection import held_out_gains
from emds.stages.trials import Metric, Trial, part_interval


@dataclass(frozen=True, slots=True)
class TuningReport:
    """Everything that one run of ``tune`` found.

    Attributes
    ----------
    protocol, metric : str
        Metric that was minimised, and its protocol.
    part_name : str
        Name of the parts of a score.
    groups : dict of str to tuple of int
        The channels of each group whose bias was searched.
    trials : tuple of Trial
        In the order in which they were tried; the first is the checkpoint as it was.
    best : Trial
        Where the walk ended; one with a lower score may be among the trials, ahead by chance.
    out : str
        The checkpoint that was written.
    notes : tuple of str
        Notes on what was cropped.
    """

    protocol: str
    metric: Metric
    part_name: str
    groups: dict[str, tuple[int, ...]]
    trials: tuple[Trial, ...]
    best: Trial
    out: str
    notes: tuple[str, ...]

    @property
    def start(self) -> Trial:
        """The checkpoint as it was."""
        return self.trials[0]

    @property
    def gains(self) -> list[float]:
        """The cross-validated gain of each part: the choice is made on the other folds."""
        scores = np.array([trial.parts for trial in self.trials])
        return [float(gain) for gain in held_out_gains(scores)]

    @property
    def is_gain(self) -> bool:
        """Whether the best is kept: the 95 % interval of the mean held-out gain lies above 0."""
        return self.interval(self.gains)[0] > 0

    @property
    def chosen(self) -> Trial:
        """The best, or the start where the best may be ahead by chance."""
        return self.best if self.is_gain else self.start

    def interval(self, parts: Sequence[float]) -> tuple[float, float]:
        """Return the 95 % interval of the mean over the parts."""
        return part_interval(parts, self.part_name)

    def to_dict(self) -> dict[str, Any]:
        """Return one JSON object."""
        return {
            "protocol": self.protocol,
            "metric": self.metric,
            "parts": self.part_name,
            "start": self._described(self.start),
            "best": self._described(self.best),
            "held_out_gain": {
                "mean": float(np.mean(self.gains)),
                "interval": list(self.interval(self.gains)),
                "parts": self.gains,
            },
            "chosen": asdict(self.chosen.setting),
            "trials": [
                {"setting": asdict(trial.setting), **asdict(trial.scores)} for trial in self.trials
            ],
            "out": self.out,
            "notes": list(self.notes),
        }

    def columns(self) -> tuple[str, ...]:
        """Return the headings of `rows`."""
        biases = (f"{name} bias" for name in self.groups)
        return ("mutex strides", "min size", *biases, "VOI", "split", "merge", "ARAND", "")

    def rows(self) -> list[tuple[str, ...]]:
        """Return a row of text for each trial."""
        return [self._row(trial) for trial in self.trials]

    def summary(self) -> tuple[str, ...]:
        """Return what was chosen and why, in a few lines."""
        low, high = self.interval(self.gains)
        name = self.metric.upper()
        lines = [
            f"{which}: {name} {getattr(trial.scores, self.metric):.4f}, mean of {self.part_name} "
            f"{np.mean(trial.parts):.4f} ({self._range(trial.parts)})"
            for which, trial in (("start", self.start), ("best", self.best))
        ]
        return (
            *self.notes,
            *lines,
            f"cross-validated gain, mean of {self.part_name}: {np.mean(self.gains):.4f} "
            f"(95 % {low:.4f} to {high:.4f}), so "
            + ("the best is taken" if self.is_gain else "it may be chance, and the start is kept"),
        )

    def _range(self, parts: Sequence[float]) -> str:
        low, high = self.interval(parts)
        return f"95 % {low:.4f} to {high:.4f}"

    def _described(self, trial: Trial) -> dict[str, Any]:
        described = {"setting": asdict(trial.setting), **asdict(trial.scores)}
        mean = float(np.mean(trial.parts))
        interval = list(self.interval(trial.parts))
        return described | {"mean_of_parts": mean, "interval": interval, "parts": trial.parts}

    def _row(self, trial: Trial) -> tuple[str, ...]:
        setting, scores = trial.setting, trial.scores
        biases = (f"{setting.bias[channels[0]]:+g}" for channels in self.groups.values())
        marks = [name for name, one in (("start", self.start), ("best", self.best)) if one is trial]
        figures = (scores.voi, scores.voi_split, scores.voi_merge, scores.arand)
        return (
            " ".join(map(str, setting.mutex_strides)),
            str(setting.min_size),
            *biases,
            *(f"{figure:.4f}" for figure in figures),
            ", ".join(marks),
        )
