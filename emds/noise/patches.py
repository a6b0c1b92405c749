"""Small patches of an image and what each says about the noise in it.

A second difference, (1, -2, 1), along two axes at once leaves next to nothing of an image that
the microscope has blurred, and leaves white noise as strong as it was. So the mean square of the
filtered patch is the variance of the noise, and the mean of the patch is the grey level at which
it was measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from emds.geometry import Triple

Floats = NDArray[np.float64]
Axes = tuple[int, ...]

LAGS = 8
"""Distances, in voxels, at which noise is compared with itself: 0 to 7."""

STACK_FILTERS: tuple[Axes, ...] = ((0, 1), (0, 2), (1, 2), (0,))
"""Axes along which differences are taken where adjacent sections are alike; the last is for noise
that is too smooth within a section to be seen by the others."""

SECTION_FILTERS: tuple[Axes, ...] = ((1, 2),)
"""The same where every section stands alone."""


@dataclass(frozen=True, slots=True)
class Patches:
    """Measurements of P patches with F filters; neighbours in the table are near in the image.

    Attributes
    ----------
    variance, mean, square : (P, F) float64
        Mean square of the filtered patch; mean of the grey levels and of their squares, weighted
        as the filter weighs them.
    coarse : (P,) float64
        Mean square difference of neighbouring cells of 2 voxels a side, in the patch and the
        voxels around it that the filters see, scaled so that white noise gives its variance;
        structure gives more.
    lagged : (P, 3, LAGS) float64
        Mean product of filtered voxels that lie so far apart along z, y, x; the filter spares
        that axis. NaN where the patch is too small or the axis is not measured.
    """

    variance: Floats
    mean: Floats
    square: Floats
    coarse: Floats
    lagged: Floats

    def __len__(self) -> int:
        return len(self.coarse)

    def take(self, which: NDArray[Any]) -> Patches:
        """Return some of the patches, by mask or index."""
        return Patches(*(getattr(self, field.name)[which] for field in fields(self)))


def join_patches(tables: Sequence[Patches]) -> Patches:
    """Put the patches of several blocks into one table."""
    columns = ([getattr(table, field.name) for table in tables] for field in fields(Patches))
    return Patches(*(np.concatenate(column) for column in columns))


def patch_shape(shape: Triple, stack: bool) -> Triple:
    """Return the size of a patch in a block of this shape, about 256 voxels.

    Examples
    --------
    >>> patch_shape((18, 66, 66), stack=True), patch_shape((18, 66, 66), stack=False)
    ((4, 8, 8), (1, 16, 16))
    """
    return (min(4, shape[0] - 2), 8, 8) if stack else (1, 16, 16)


def measure_patches(block: NDArray[Any], *, stack: bool) -> Patches:
    """Cut a block into patches and measure each; constant patches are left out.

    Parameters
    ----------
    block : (Z, Y, X)
        Grey levels. Voxels at its faces only serve the filters; what is left over after whole
        patches is not used.
    stack : bool
        Adjacent sections are alike, so that differences across them cancel the image too.
        Needs three sections.

    Examples
    --------
    >>> noise = np.random.default_rng(0).normal(100, 5, (6, 34, 34))
    >>> patches = measure_patches(noise, stack=True)
    >>> len(patches), round(float(np.sqrt(patches.variance.mean())), 1)
    (16, 5.0)
    """
    values = np.asarray(block, np.float64)
    size = patch_shape(values.shape, stack)
    inside = (0, 1, 2) if stack else (1, 2)
    filters = STACK_FILTERS if stack else SECTION_FILTERS

    def cut(field: Floats, done: Axes) -> Floats:
        return _cut(field, [axis for axis in inside if axis not in done], size)

    filtered = {axes: cut(_filter(values, _second_difference, axes), axes) for axes in filters}
    squared = np.square(values)
    coarse = _coarse_structure(values, inside, size)
    lagged = np.full((len(coarse), 3, LAGS), np.nan)
    for axis in inside:
        others = tuple(other for other in inside if other != axis)
        spared = filtered.get(others)
        if spared is None:
            spared = cut(_filter(values, _second_difference, others), others)
        _measure_lags(spared, axis, lagged[:, axis])
    patches = Patches(
        variance=np.stack([_mean(np.square(filtered[axes])) for axes in filters], axis=1),
        mean=np.stack([_mean(cut(_filter(values, _spread, a), a)) for a in filters], axis=1),
        square=np.stack([_mean(cut(_filter(squared, _spread, a), a)) for a in filters], axis=1),
        coarse=coarse,
        lagged=lagged,
    )
    return patches.take(patches.variance.min(axis=1) > 0)


def _filter(values: Floats, kernel: Any, axes: Axes) -> Floats:
    for axis in axes:
        values = np.moveaxis(kernel(np.moveaxis(values, axis, 0)), 0, axis)
    return values


def _second_difference(values: Floats) -> Floats:
    """Filter the first axis, two shorter; white noise keeps its variance."""
    result: Floats = (values[:-2] - 2 * values[1:-1] + values[2:]) / np.sqrt(6)
    return result


def _spread(values: Floats) -> Floats:
    """Average the first axis with the squared weights of `_second_difference`.

    The filtered square mixes the variances of three voxels with these weights; so must the grey
    level that it is set against.
    """
    result: Floats = (values[:-2] + 4 * values[1:-1] + values[2:]) / 6
    return result


def _cut(values: Floats, margins: Sequence[int], size: Triple) -> Floats:
    """Return (P, z, y, x) patches; one voxel is cut off both ends of the axes in `margins`."""
    box = values[tuple(slice(1, -1) if axis in margins else slice(None) for axis in range(3))]
    z, y, x = (extent // side for extent, side in zip(box.shape, size, strict=True))
    whole = box[: z * size[0], : y * size[1], : x * size[2]]
    cells = whole.reshape(z, size[0], y, size[1], x, size[2]).transpose(0, 2, 4, 1, 3, 5)
    return cells.reshape(-1, *size)


def _mean(patches: Floats) -> Floats:
    result: Floats = patches.mean(axis=(1, 2, 3))
    return result


def _coarse_structure(values: Floats, inside: Axes, size: Triple) -> Floats:
    z, y, x = (side + 2 if axis in inside else side for axis, side in enumerate(size))
    if any(extent < side for extent, side in zip(values.shape, (z, y, x), strict=True)):
        return np.zeros(0)
    windows = sliding_window_view(values, (z, y, x))[:: size[0], :: size[1], :: size[2]]
    deep = 2 if z == 6 else 1
    cells = windows.reshape(-1, z // deep, deep, y // 2, 2, x // 2, 2).mean(axis=(2, 4, 6))
    axes = [axis for axis in (1, 2, 3) if cells.shape[axis] > 1]
    squares = [_mean(np.square(np.diff(cells, axis=axis))) for axis in axes]
    result: Floats = np.mean(squares, axis=0) * (deep * 4 / 2)
    return result


def _measure_lags(patches: Floats, axis: int, out: Floats) -> None:
    along = np.moveaxis(patches, 1 + axis, 1)
    size = along.shape[1]
    for lag in range(min(LAGS, size)):
        out[:, lag] = _mean(along[:, : size - lag] * along[:, lag:])
