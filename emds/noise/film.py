"""Film noise: grain that multiplies the image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from emds.geometry import Triple
from emds.noise.base import NoiseModel, Parameters
from emds.noise.options import as_choice, as_number, as_odd


@dataclass(frozen=True)
class Film(NoiseModel):
    """Multiplication with a blurred normal field, like the grain of the support film.

    The field z is the mean of kernel × kernel independent normal numbers, scaled to variance 1
    as theory gives it. Dividing by the spread measured on the section instead would tie every
    voxel to the whole section, and no region could be made on its own; on 1024 × 1024 voxels
    the two differ by less than 1 %. Sections are mirrored at their edges, where numbers enter
    the mean twice: with kernel 5 the variance of z is 1.8 at an edge and 3.24 in a corner.

    - ``minmax``: m = clip(c + g z, 0, maximum), where c and g put 0 at z = -5.4 and `maximum` at
      z = 4.7, the extremes of a large section: the field rescaled to [0, maximum] without
      letting single voxels set the contrast. The image darkens to about 0.8.
    - ``unitmean``: m = clip(1 + (maximum - 1)/2 z, 2 - maximum, maximum), no darkening.

    Attributes
    ----------
    kernel : int
        Side of the box that blurs the field, voxels; odd.
    maximum : float
        Largest multiplier.
    mode : {"minmax", "unitmean"}
        The paper gives kernel and maximum but no formula; both readings are this project's.

    Raises
    ------
    ConfigError
        If an option is outside its range.
    """

    kernel: int = 5
    maximum: float = 1.5
    mode: Literal["minmax", "unitmean"] = "minmax"

    kind = "film"
    kind_id = 2

    def __post_init__(self) -> None:
        as_choice(self.kind, "mode", self.mode, ("minmax", "unitmean"))
        self._set("kernel", as_odd(self.kind, "kernel", self.kernel, 255))
        low, high = (1.0, 2.0) if self.mode == "unitmean" else (0.0, 255.0)
        self._set("maximum", as_number(self.kind, "maximum", self.maximum, low, high))

    @property
    def multiplier(self) -> tuple[float, float, float, float]:
        """Centre, gain per standard deviation, lowest and highest multiplier."""
        if self.mode == "unitmean":
            return 1.0, (self.maximum - 1.0) / 2.0, 2.0 - self.maximum, self.maximum
        gain = self.maximum / (5.4 + 4.7)
        return 5.4 * gain, gain, 0.0, self.maximum

    @property
    @override
    def length(self) -> float:
        return float(self.kernel)

    @override
    def deviations(self, grey: float) -> tuple[float, float]:
        centre, gain, _, _ = self.multiplier
        return gain / centre * grey, gain / centre * grey

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
        from emds.noise.field import film_section, reflect
        from emds.noise.philox import make_key

        key = make_key(seed, self.kind_id)
        z, y, x = origin
        height, width = image.shape[1:]
        whole_height, whole_width = section_shape or (y + height, x + width)
        half = self.kernel // 2
        ys = reflect(y - half, y + height + half, whole_height)
        xs = reflect(x - half, x + width + half, whole_width)
        noisy = np.array(image, order="C")
        for i in range(len(parameters)):
            film_section(noisy[i], key, z + i, ys, xs, self.kernel, *self.multiplier)
        return noisy
