"""What a noise model is: what can be chosen, what is drawn for each section, how it is applied.

Drawing parameters is kept apart from applying them, so that drawn values can be stored with a
volume, shown, and applied again.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from emds.errors import UsageError
from emds.geometry import Triple

Parameters = Mapping[str, float]


class NoiseModel(ABC):
    """A kind of noise with its options; subclasses are frozen dataclasses.

    Attributes
    ----------
    kind : str
        How the model is named in options and metadata.
    kind_id : int
        Enters every seed, so that models do not share random numbers. Never 0, never reused.
    """

    kind: ClassVar[str]
    kind_id: ClassVar[int]
    drawn: ClassVar[tuple[str, ...]] = ()

    def draw(self, seed: int, section: int) -> dict[str, float]:
        """Draw the parameters of one section, each uniformly from its range.

        Parameters
        ----------
        seed : int
            Not negative.
        section : int
            Global z; sections draw from seeds of their own, so order does not matter.

        Raises
        ------
        UsageError
            If the seed is negative.

        Examples
        --------
        >>> from emds.noise import GaussianPoisson
        >>> GaussianPoisson(sigma=70, lam=(0.6, 0.8)).draw(seed=0, section=3)["sigma"]
        70.0
        """
        if seed < 0:
            raise UsageError(f"the seed must be a whole number from 0 on, not {seed}.")
        rng = np.random.default_rng(np.random.SeedSequence([seed, section, self.kind_id]))
        return {name: float(rng.uniform(*getattr(self, name))) for name in self.drawn}

    @abstractmethod
    def deviations(self, grey: float) -> tuple[float, float]:
        """Return the least and the greatest standard deviation where the mean is a grey level.

        Before rounding and clipping, grey levels; the mean is that of the noisy image, which film
        noise may have darkened.

        Examples
        --------
        >>> from emds.noise import Film, Gaussian
        >>> Gaussian(sigma=(10, 20)).deviations(128.0), Film(mode="unitmean").deviations(100.0)
        ((10.0, 20.0), (25.0, 25.0))
        """

    @property
    def length(self) -> float:
        """Voxels along a row or column that share one noise value; 1 for white noise."""
        return 1.0

    @abstractmethod
    def apply(
        self,
        image: NDArray[np.uint8],
        parameters: Sequence[Parameters],
        *,
        seed: int,
        origin: Triple = (0, 0, 0),
        section_shape: tuple[int, int] | None = None,
    ) -> NDArray[np.uint8]:
        """Add noise with parameters that are already drawn.

        Parameters
        ----------
        image : (Z, Y, X) uint8
            Grey levels.
        parameters : sequence of mappings, length Z
            From `draw`, one for each section of the box.
        seed : int
            Not negative.
        origin : (z, y, x)
            Global position of the first voxel.
        section_shape : (Y, X), optional
            Size of a whole section; left out, the box reaches to its end.

        Returns
        -------
        (Z, Y, X) uint8
            A new array.
        """

    def to_dict(self) -> dict[str, Any]:
        """Return the kind and every option as JSON values; `noise_from_dict` reads them.

        Examples
        --------
        >>> from emds.noise import Gaussian
        >>> Gaussian(sigma=(10, 20)).to_dict()
        {'kind': 'gaussian', 'sigma': [10.0, 20.0]}
        """
        options = {field.name: getattr(self, field.name) for field in fields(self)}  # type: ignore[arg-type]
        return {"kind": self.kind} | {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in options.items()
        }

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)  # the way round frozen, for __post_init__ only
