"""What ``estimate-noise`` tells: figures, matching options of ``simulate-noise``, caveats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from emds.noise.estimate import Measured, NoiseEstimate

Row = tuple[str, float | None, str]

_WHITE = 1.2  # correlation length up to which noise passes for white, voxels
_MANY_CLIPPED = 0.01
_POOR_FIT = 2.0
_WIDEST_MAXIMUM = 2.0  # of the film's multiplier, in mode unitmean


@dataclass(frozen=True, slots=True)
class NoiseReport:
    """An estimate with what a reader needs to use it.

    Attributes
    ----------
    estimate : NoiseEstimate
        The figures.
    dtype : str
        Type of a voxel.
    likeness : float
        Correlation of adjacent sections, coarsely seen.
    provenance : dict
        How the estimate was made.
    """

    estimate: NoiseEstimate
    dtype: str
    likeness: float
    provenance: dict[str, Any]

    @property
    def options(self) -> tuple[str, ...]:
        """Options of ``simulate-noise`` that make noise of this strength; empty unless uint8."""
        found = self.estimate
        if self.dtype != "uint8":
            return ()
        if found.is_film:
            within = np.mean([length or 1.0 for length in found.lengths[1:]])
            kernel = 2 * round((within - 1) / 2) + 1
            maximum = min(1 + 2 * found.grain.value, _WIDEST_MAXIMUM)
            return (
                *("--type", "film", "--mode", "unitmean"),
                *("--film-kernel", str(kernel), "--film-max", f"{maximum:.3g}"),
            )
        sigma = ("--sigma", f"{found.sigma.value:.4g}", f"{found.sigma.value:.4g}")
        if not found.gain.is_seen:
            return "--type", "gaussian", *sigma
        # Simulated electrons are counted from grey level 0, so with an offset the shot noise can
        # have the strength of this image at one grey level only: the mean.
        grey = found.mean
        dose = f"{grey / (found.gain.value * max(grey - found.offset, 1e-9)):.4g}"
        if not found.sigma.is_seen:
            return "--type", "poisson", "--lam", dose, dose
        return "--type", "gaussian-poisson", *sigma, "--lam", dose, dose

    @property
    def notes(self) -> tuple[str, ...]:
        """What was assumed, and what the figures cannot say."""
        return (*self._trust(), *self._signal_dependence(), *self._correlation())

    def matching_command(self) -> str:
        """Return a command line that adds such noise to a clean image, where there are options."""
        return " ".join(("emds simulate-noise RAW", *self.options))

    def rows(self) -> list[Row]:
        """Return (name, value, remark) for a table; a value is None where it is infinite."""
        found = self.estimate
        lam = found.lam
        offset = {
            "given": "grey level of zero electrons, as given",
            "assumed": "grey level of zero electrons, assumed",
            "line": "grey level where the variance would be 0",
        }[found.offset_from]
        rows: list[Row] = [
            ("gain", found.gain.value, f"± {found.gain.error:.2g} grey levels per electron"),
            (
                "lambda",
                lam.value if lam else None,
                f"± {lam.error:.2g} electrons per grey level" if lam else "no shot noise is seen",
            ),
            ("sigma", found.sigma.value, f"± {found.sigma.error:.2g} grey levels, readout noise"),
            ("offset", found.offset, offset),
            (
                "total",
                found.total.value,
                f"± {found.total.error:.2g} grey levels, all noise at the mean grey level, "
                f"{found.mean:.4g}",
            ),
        ]
        rows += [
            (f"correlation length {axis}", length, "voxels, 1 is white noise")
            for axis, length in zip("zyx", found.lengths, strict=True)
            if length is not None
        ]
        return rows

    def to_dict(self) -> dict[str, Any]:
        """Return one JSON object; what was not measured or not found is null."""
        found = self.estimate
        curve = found.curve
        columns = (curve.grey, curve.variance, curve.error, found.line.expected)
        names = ("grey", "variance", "error", "fit")
        return self.provenance | {
            "gain": _as_json(found.gain),
            "lam": _as_json(found.lam),
            "sigma": _as_json(found.sigma),
            "offset": found.offset,
            "offset_from": found.offset_from,
            "total": _as_json(found.total),
            "mean": found.mean,
            "correlation_length": dict(zip("zyx", found.lengths, strict=True)),
            "film": {"looks_like": found.is_film, "grain": _as_json(found.grain)},
            "clipped": found.levels.clipped,
            "misfit": found.line.misfit,
            "sections_alike": found.stack,
            "patches": found.patches,
            "curve": {name: column.tolist() for name, column in zip(names, columns, strict=True)},
            "simulate_noise": list(self.options),
            "notes": list(self.notes),
        }

    def _trust(self) -> list[str]:
        found, notes = self.estimate, []
        if found.levels.clipped > _MANY_CLIPPED:
            notes.append(
                f"{found.levels.clipped:.1%} of the voxels are {found.levels.low:g} or "
                f"{found.levels.high:g}; the fit allows for what was clipped there"
            )
        if not found.stack:
            notes.append(
                f"adjacent sections are unlike (they correlate by {self.likeness:.2f}), so each "
                "was taken alone: fine structure counts as noise, and noise is taken to be white"
            )
        if found.line.misfit > _POOR_FIT and not found.is_film:
            notes.append(
                f"the variance is not a line over the grey level (misfit {found.line.misfit:.1f}, "
                "1 is good); the errors are widened by that"
            )
        if found.levels.step and found.total.value < 1.0:
            notes.append("the noise is weaker than a grey level; rounding hides what it is like")
        if self.dtype != "uint8":
            notes.append(
                f"grey levels are those of {self.dtype}; simulate-noise takes uint8, so rescale "
                "the volume to 0-255 first to get matching options"
            )
        return notes

    def _signal_dependence(self) -> list[str]:
        found, notes = self.estimate, []
        gain, lam = found.gain, found.lam
        if found.is_film:
            return [
                f"looks like film noise: correlated within sections, deviation "
                f"{found.grain.value:.1%} of the grey level; gain and sigma mean nothing then"
            ]
        if gain.value < -2 * gain.error:
            notes.append(
                "the variance falls with the grey level, as where contrast is inverted and "
                "electrons are counted from white down; invert the image to measure the gain"
            )
        elif lam is None:
            notes.append("shot noise is not seen; all of the noise counts as readout noise")
        elif lam.error > 0.1 * lam.value:
            part = gain.value * (found.mean - found.offset) / found.total.value**2
            notes.append(
                f"shot noise is {part:.1%} of the variance, so lambda is known to "
                f"{lam.error / lam.value:.0%} only; read more voxels if there are more"
            )
        if lam is not None and found.offset_from == "assumed":
            notes.append(
                "a line does not show the offset: with an offset of o, sigma² is larger by "
                "gain × o. Give --offset if it is known"
            )
        if lam is not None and found.offset != 0:
            notes.append(
                "simulate-noise knows no offset; its options match the variance at the mean grey "
                "level"
            )
        return notes

    def _correlation(self) -> list[str]:
        lengths = [length for length in self.estimate.lengths if length is not None]
        if max(lengths, default=1.0) <= _WHITE or self.estimate.is_film:
            return []
        shown = ", ".join(f"{length:.1f}" for length in lengths)
        if not self.estimate.stack:
            return [f"correlated over {shown} voxels along y, x; structure has its part in that"]
        return [
            f"correlated over {shown} voxels along z, y, x; the sensor noise of simulate-noise is "
            "white"
        ]


def _as_json(measured: Measured | None) -> dict[str, float] | None:
    return None if measured is None else {"value": measured.value, "error": measured.error}
