"""The noise models by name, and adding noise to a box of a volume."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from emds.errors import ConfigError, DataError, UsageError
from emds.geometry import Triple
from emds.noise.base import NoiseModel
from emds.noise.film import Film
from emds.noise.sensor import Gaussian, GaussianPoisson, Poisson
from emds.numbers import Seed, checked

NOISE_MODELS: dict[str, type[NoiseModel]] = {
    model.kind: model for model in (GaussianPoisson, Film, Gaussian, Poisson)
}


def make_noise_model(kind: str, **options: Any) -> NoiseModel:
    """Make a noise model by name; options left out keep the model's defaults.

    Parameters
    ----------
    kind : str
        ``gaussian-poisson``, ``film``, ``gaussian`` or ``poisson``.
    **options
        Attributes of the model.

    Raises
    ------
    ConfigError
        If there is no such model, it has no such option, or a value is outside its range.

    Examples
    --------
    >>> make_noise_model("gaussian-poisson", sigma=(5, 85), lam=(0.6, 3))
    GaussianPoisson(sigma=(5.0, 85.0), lam=(0.6, 3.0), mode='shot')
    """
    if kind not in NOISE_MODELS:
        raise ConfigError(
            f"the kind of noise must be one of {', '.join(NOISE_MODELS)}, not {kind!r}."
        )
    model = NOISE_MODELS[kind]
    known = [field.name for field in fields(model)]  # type: ignore[arg-type]
    for name in options:
        if name not in known:
            raise ConfigError(f"{kind} noise has no option {name!r}; it has {', '.join(known)}.")
    return model(**options)


def noise_from_dict(description: Mapping[str, Any]) -> NoiseModel:
    """Make the model that `NoiseModel.to_dict` described.

    Raises
    ------
    ConfigError
        As `make_noise_model`; also if ``kind`` is missing.

    Examples
    --------
    >>> noise_from_dict({"kind": "film", "kernel": 3})
    Film(kernel=3, maximum=1.5, mode='minmax')
    """
    options = dict(description)
    return make_noise_model(str(options.pop("kind", "nothing")), **options)


@checked
def add_noise(
    image: NDArray[np.uint8],
    model: NoiseModel,
    *,
    seed: Seed,
    origin: Triple = (0, 0, 0),
    section_shape: tuple[int, int] | None = None,
) -> NDArray[np.uint8]:
    """Add noise to a box of a volume, so that it equals the same box of the whole noisy volume.

    A voxel of the result depends on the model, `seed`, its global position and its grey level,
    and on nothing around it. (Film noise is mirrored at the edges of a section, so there it also
    depends on `section_shape`.)

    Parameters
    ----------
    image : (Z, Y, X) uint8
        Grey levels; not changed.
    model : NoiseModel
        Its parameters are drawn for each section.
    seed : int
        Not negative.
    origin : (z, y, x)
        Global position of the box's first voxel; below 2**32 on every axis.
    section_shape : (Y, X), optional
        Size of a whole section of the volume. Left out, the box is taken to reach to its end:
        give it for film noise when the image is a crop.

    Returns
    -------
    (Z, Y, X) uint8
        Rounded and clipped to 0–255.

    Raises
    ------
    DataError
        If the image is not (z, y, x) of uint8.
    UsageError
        If the seed or a position is out of range.

    Examples
    --------
    >>> image = np.full((2, 4, 4), 100, dtype=np.uint8)
    >>> whole = add_noise(image, GaussianPoisson(), seed=1)
    >>> part = add_noise(image[1:, 2:], GaussianPoisson(), seed=1, origin=(1, 2, 0))
    >>> bool((part == whole[1:, 2:]).all())
    True
    """
    image = np.asarray(image)
    check_grey_levels(image.dtype, "the image")
    if image.ndim != 3:
        raise DataError(f"the image must be (z, y, x), not of shape {image.shape}.")
    end = tuple(start + size for start, size in zip(origin, image.shape, strict=True))
    if min(origin) < 0 or max(end) > 2**32:
        raise UsageError(
            f"a box with noise must lie between 0 and 2**32 on every axis; this one starts at "
            f"{origin} and ends at {end} (z, y, x)."
        )
    if section_shape and (end[1] > section_shape[0] or end[2] > section_shape[1]):
        raise UsageError(
            f"the box ends at {end[1:]} (y, x), outside a section of shape {section_shape}; "
            "section_shape is the size of the whole section."
        )
    drawn = [model.draw(seed, origin[0] + i) for i in range(image.shape[0])]
    return model.apply(image, drawn, seed=seed, origin=origin, section_shape=section_shape)


def check_grey_levels(dtype: np.dtype[Any], what: str) -> None:
    """Raise unless voxels are uint8, the scale on which the noise parameters are defined.

    Raises
    ------
    DataError
        If they are anything else.
    """
    if dtype != np.uint8:
        raise DataError(
            f"noise is simulated on uint8 grey levels (0-255), the scale of its parameters, and "
            f"{what} is {dtype}. Rescale it to 0-255 and store it as uint8 first."
        )
