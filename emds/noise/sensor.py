"""Noise of the detector: counts of electrons and the readout of the camera."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from emds.geometry import Triple
from emds.noise.base import NoiseModel, Parameters
from emds.noise.options import Range, as_choice, as_pair, as_range

# Largest standard deviation (grey levels) and dose (electrons per grey level) taken: far past
# either, every image is black and white, or as good as clean.
_MAX_SIGMA = 1e4
_MAX_LAM = 1e4
_MIN_LAM = 1e-6


class SensorNoise(NoiseModel):
    """Noise that is a Poisson count and a normal number for each voxel."""

    @abstractmethod
    def response(self, lam: float) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        """Say what a detector makes of each grey value.

        Parameters
        ----------
        lam : float
            Drawn for the section.

        Returns
        -------
        base : (256,) float64
            Noise-free part, grey levels.
        means : (256,) float64
            Mean count of the Poisson part.
        scale : float
            Grey levels per count; 0 where there is no Poisson part.
        """

    @override
    def deviations(self, grey: float) -> tuple[float, float]:
        level = int(np.clip(round(grey), 0, 255))
        counted = [self.response(lam) for lam in as_pair(getattr(self, "lam", 0.0))]
        shot = sorted(means[level] * scale**2 for _, means, scale in counted)
        readout = as_pair(getattr(self, "sigma", 0.0))
        low, high = (
            np.hypot(sigma, variance**0.5) for sigma, variance in zip(readout, shot, strict=True)
        )
        return float(low), float(high)

    @override
    def apply(
        self,
        image: NDArray[np.uint8],
        parameters: Sequence[Parameters],
        *,
        seed: int,
        origin: Triple = (0, 0, 0),
        section_shape: tuple[int, int] | None = None,
    ) -> NDArray[np.uint8]:
        from emds.noise.distributions import poisson_table
        from emds.noise.field import sensor_section
        from emds.noise.philox import make_key

        key = make_key(seed, self.kind_id)
        ys, xs = (
            np.arange(start, start + size, dtype=np.uint64)
            for start, size in zip(origin[1:], image.shape[1:], strict=True)
        )
        noisy = np.array(image, order="C")
        for i, drawn in enumerate(parameters):
            base, means, scale = self.response(drawn.get("lam", 0.0))
            table, sigma = poisson_table(means), drawn.get("sigma", 0.0)
            sensor_section(noisy[i], key, origin[0] + i, ys, xs, base, scale, table, sigma)
        return noisy


@dataclass(frozen=True)
class GaussianPoisson(SensorNoise):
    """Shot noise of the electrons, then readout noise of the camera.

    With x the clean grey level and N normal with standard deviation `sigma`:

    - ``shot``: Poisson(λx)/λ + N, the unbiased sensor model; variance x/λ + σ²;
    - ``additive``: x + Poisson(λ) + N; variance λ + σ², brighter by λ;
    - ``gain``: Poisson(λx) + N; the image is λ times as bright.

    Attributes
    ----------
    sigma : float or (low, high)
        Standard deviation of the readout noise, grey levels.
    lam : float or (low, high)
        Expected electrons per grey level (``additive``: per voxel).
    mode : {"shot", "additive", "gain"}
        The paper gives the two ranges but no formula; ``shot`` is this project's reading.

    Raises
    ------
    ConfigError
        If an option is outside its range.

    References
    ----------
    Wang et al., Joint EM Image Denoising and Segmentation with Instance-aware Interaction,
    MICCAI 2024: the ranges.
    """

    sigma: float | Range = (55.0, 85.0)
    lam: float | Range = (0.6, 0.8)
    mode: Literal["shot", "additive", "gain"] = "shot"

    kind = "gaussian-poisson"
    kind_id = 1
    drawn = ("sigma", "lam")

    def __post_init__(self) -> None:
        as_choice(self.kind, "mode", self.mode, ("shot", "additive", "gain"))
        lowest = _MIN_LAM if self.mode == "shot" else 0.0
        self._set("sigma", as_range(self.kind, "sigma", self.sigma, 0.0, _MAX_SIGMA))
        self._set("lam", as_range(self.kind, "lam", self.lam, lowest, _MAX_LAM))

    @override
    def response(self, lam: float) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        grey = np.arange(256.0)
        if self.mode == "shot":
            return np.zeros(256), lam * grey, 1.0 / lam
        if self.mode == "gain":
            return np.zeros(256), lam * grey, 1.0
        return grey, np.full(256, lam), 1.0


@dataclass(frozen=True)
class Gaussian(SensorNoise):
    """Normal noise: x + N.

    Attributes
    ----------
    sigma : float or (low, high)
        Standard deviation, grey levels.
    """

    sigma: float | Range = (55.0, 85.0)

    kind = "gaussian"
    kind_id = 3
    drawn = ("sigma",)

    def __post_init__(self) -> None:
        self._set("sigma", as_range(self.kind, "sigma", self.sigma, 0.0, _MAX_SIGMA))

    @override
    def response(self, lam: float) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        return np.arange(256.0), np.zeros(256), 0.0


@dataclass(frozen=True)
class Poisson(SensorNoise):
    """Shot noise alone: Poisson(λx)/λ.

    Attributes
    ----------
    lam : float or (low, high)
        Expected electrons per grey level.
    """

    lam: float | Range = (0.6, 0.8)

    kind = "poisson"
    kind_id = 4
    drawn = ("lam",)

    def __post_init__(self) -> None:
        self._set("lam", as_range(self.kind, "lam", self.lam, _MIN_LAM, _MAX_LAM))

    @override
    def response(self, lam: float) -> tuple[NDArray[np.float64], NDArray[np.float64], float]:
        return np.zeros(256), lam * np.arange(256.0), 1.0 / lam
