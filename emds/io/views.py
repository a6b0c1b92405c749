"""Arrays on disk seen otherwise than they are stored: cut or mirrored, still lazily."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from emds.io.source import LazyArray


class Cut(LazyArray):
    """The first part of an array, as where a format fills up its chunks.

    Parameters
    ----------
    values : LazyArray
        The whole.
    shape : tuple of int
        What counts of it, along every axis.
    """

    def __init__(self, values: LazyArray, shape: tuple[int, ...]) -> None:
        self.whole = values
        self._shape = shape

    @property
    @override
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    @override
    def dtype(self) -> np.dtype[Any]:
        return self.whole.dtype

    @override
    def __getitem__(self, index: tuple[slice | int, ...], /) -> NDArray[Any]:
        bounded = (
            place if isinstance(place, int) else slice(*place.indices(size))
            for place, size in zip(index, self._shape, strict=True)
        )
        return np.asarray(self.whole[tuple(bounded)])


class Mirrored(LazyArray):
    """An array whose first row or column is the last one on disk.

    Parameters
    ----------
    values : LazyArray
        As stored.
    axes : tuple of int
        Along which it is mirrored.
    """

    def __init__(self, values: LazyArray, axes: tuple[int, ...]) -> None:
        self._values = values
        self._axes = axes

    @property
    @override
    def shape(self) -> tuple[int, ...]:
        return self._values.shape

    @property
    @override
    def dtype(self) -> np.dtype[Any]:
        return self._values.dtype

    @override
    def __getitem__(self, index: tuple[slice | int, ...], /) -> NDArray[Any]:
        box = [slice(i, i + 1) if isinstance(i, int) else i for i in index]
        for axis in self._axes:
            size = self.shape[axis]
            begin, end, _ = box[axis].indices(size)
            box[axis] = slice(size - end, size - begin)
        values = np.flip(np.asarray(self._values[tuple(box)]), self._axes)
        chosen: NDArray[Any] = values[
            tuple(0 if isinstance(i, int) else slice(None) for i in index)
        ]
        return chosen
