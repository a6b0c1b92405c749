"""Noise that a checkpoint was trained on, against noise that a volume has."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from emds.config import NoiseModelConfig
from emds.errors import ConfigError
from emds.networks.intensity import Intensity
from emds.noise import make_noise_model
from emds.noise.estimate import NoiseEstimate

if TYPE_CHECKING:
    from emds.networks.checkpoint import Checkpoint

_STRONGER = 1.25  # times the strongest that was trained on
_WEAKER = 0.5  # times the weakest
_LONGER = 1.5  # times the correlation length, or through it
_WEAK = 10.0  # grey levels; noise below this passes for that of the clean images in training


@dataclass(frozen=True, slots=True)
class FoundNoise:
    """Noise of a volume, in grey levels of an 8-bit image.

    Attributes
    ----------
    deviation : float
        Standard deviation at grey level `grey`, before clipping.
    grey : float
        Mean grey level of the volume.
    length : float or None
        Voxels along y or x, whichever are more, that share one noise value; None where the image
        itself may be what is alike.
    """

    deviation: float
    grey: float
    length: float | None

    @classmethod
    def of(cls, estimate: NoiseEstimate, intensity: Intensity) -> FoundNoise:
        """Return what counts of an estimate, for a volume with these intensities."""
        scale = 255 / (intensity.high - intensity.low)
        lengths = [length for length in estimate.lengths[1:] if length is not None]
        return cls(
            deviation=estimate.total.value * scale,
            grey=(estimate.mean - intensity.low) * scale,
            length=max(lengths) if estimate.stack and lengths else None,
        )

    def to_dict(self) -> dict[str, Any]:
        """Return JSON primitives."""
        return asdict(self)

    def __str__(self) -> str:
        """Return its strength and, if it is known, its length, for a message."""
        strength = f"a standard deviation of {self.deviation:.0f} grey levels"
        if self.length is None:
            return strength
        return f"{strength} and a correlation length of {self.length:.1f} voxels"


@dataclass(frozen=True, slots=True)
class SeenNoise:
    """One noise that a checkpoint was trained on, or adapted to.

    Attributes
    ----------
    kind : str
        Of the noise model; ``adapted`` for that of a volume.
    low, high : float
        Least and greatest standard deviation, grey levels of an 8-bit image.
    length : float or None
        Correlation length, voxels; None where it is not known.
    """

    kind: str
    low: float
    high: float
    length: float | None

    def covers(self, found: FoundNoise) -> bool:
        """Whether a volume's noise is near enough to this.

        Examples
        --------
        >>> white = SeenNoise("gaussian", 55.0, 85.0, 1.0)
        >>> white.covers(FoundNoise(100.0, 128.0, 1.1)), white.covers(FoundNoise(110.0, 128.0, 1.1))
        (True, False)
        >>> white.covers(FoundNoise(70.0, 128.0, 3.0)), white.covers(FoundNoise(70.0, 128.0, None))
        (False, True)
        """
        if found.deviation > _STRONGER * self.high:
            return False
        if found.deviation < _WEAK:
            return self.low < _WEAK / _WEAKER
        if found.deviation < _WEAKER * self.low:
            return False
        if found.length is None or self.length is None:
            return True
        return self.length / _LONGER <= found.length <= self.length * _LONGER

    def __str__(self) -> str:
        """Return its range, for a message."""
        strength = f"{self.low:.0f}"
        if round(self.low) != round(self.high):
            strength += f" to {self.high:.0f}"
        length = "" if self.length is None else f", length {self.length:.3g}"
        return f"{self.kind} {strength}{length}"


def seen_noises(checkpoint: Checkpoint, grey: float) -> list[SeenNoise]:
    """Return what noise a checkpoint was trained on; empty where nothing can be said.

    Parameters
    ----------
    checkpoint : Checkpoint
        With its noise models and, if it was adapted, the noise of that volume.
    grey : float
        Mean grey level of the volume, at which the models are compared.

    Examples
    --------
    >>> from emds.networks.checkpoint import Checkpoint
    >>> models = [{"kind": "gaussian", "sigma": (5, 40)}, {"kind": "film", "mode": "unitmean"}]
    >>> checkpoint = Checkpoint(
    ...     architecture={"networks": ("denoiser",)}, weights={}, crop=64, recipe="dn_only",
    ...     noise=models,
    ... )
    >>> [str(noise) for noise in seen_noises(checkpoint, 128.0)]
    ['gaussian 5 to 40, length 1', 'film 32, length 5']
    """
    try:
        configs = [NoiseModelConfig.model_validate(values) for values in checkpoint.noise]
        models = [make_noise_model(config.kind, **config.options()) for config in configs]
    except (ValidationError, ConfigError):
        return []  # models of another version of emds
    seen = [SeenNoise(model.kind, *model.deviations(grey), model.length) for model in models]
    adapted = checkpoint.adaptation.get("noise")
    if adapted is not None:
        found = FoundNoise(**adapted)
        seen.append(SeenNoise("adapted", found.deviation, found.deviation, found.length))
    return seen
