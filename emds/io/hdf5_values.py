"""The values of HDF5 data sets, with what a format or a filter may do to them."""

from __future__ import annotations

import itertools
import zlib
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from emds.io.hdf5_tree import attributes_of
from emds.io.source import LazyArray
from emds.io.views import Cut

# Deflate packs a thousand to one at best, so smaller chunks cannot swell to more than 2**28 bytes.
_HARMLESS_BYTES = 2**18
# Filters that change the order or check of bytes, not their number.
_KEEP_SIZE = {h5py.h5z.FILTER_SHUFFLE, h5py.h5z.FILTER_FLETCHER32}


def values_of(dataset: Any) -> LazyArray:
    """Return what to read a data set through.

    Raises
    ------
    ValueError
        If the size that Imaris states does not fit the data set.
    """
    packed = dataset.chunks is not None and h5py.h5z.FILTER_DEFLATE in _filters(dataset)
    values: LazyArray = Packed(dataset) if packed else dataset
    shape = _imaris_shape(dataset)
    return values if shape is None or shape == dataset.shape else Cut(values, shape)


def why_packed(dataset: Any) -> str | None:
    """Say why the chunks of a data set cannot be unpacked, or None where they can."""
    filters = dataset.id.get_create_plist()
    for place in range(filters.get_nfilters()):
        code, _, _, name = filters.get_filter(place)
        if not h5py.h5z.filter_avail(code):
            return (
                f"its chunks are compressed with filter {code} {name.decode(errors='replace')!r}, "
                "which is not installed. Install hdf5plugin and set HDF5_PLUGIN_PATH to its "
                "plugins, or write the file again with gzip"
            )
    packing = [code for code in _filters(dataset) if code not in _KEEP_SIZE]
    if h5py.h5z.FILTER_DEFLATE in packing and len(packing) > 1:
        return "its chunks are compressed more than once. Write the file again with gzip"
    return None


class Packed(LazyArray):
    """A data set with gzip, whose chunks may not unpack to more than a chunk.

    HDF5 itself unpacks whatever is in a chunk before it looks at the size: a small file could
    take all memory.
    """

    def __init__(self, dataset: Any) -> None:
        self.whole = dataset
        self._checked: set[tuple[int, ...]] = set()

    @property
    @override
    def shape(self) -> tuple[int, ...]:
        shape: tuple[int, ...] = self.whole.shape
        return shape

    @property
    @override
    def dtype(self) -> np.dtype[Any]:
        dtype: np.dtype[Any] = self.whole.dtype
        return dtype

    @override
    def __getitem__(self, index: tuple[slice | int, ...], /) -> NDArray[Any]:
        ranges = []
        for place, size, chunk in zip(index, self.shape, self.whole.chunks, strict=True):
            begin, end = (place, place + 1) if isinstance(place, int) else place.indices(size)[:2]
            ranges.append(range(begin - begin % chunk, end, chunk))
        for corner in itertools.product(*ranges):
            if corner not in self._checked:
                self._check(corner)
                self._checked.add(corner)
        return np.asarray(self.whole[index])

    def _check(self, corner: tuple[int, ...]) -> None:
        stored = self.whole.id.get_chunk_info_by_coord(corner)
        if stored.byte_offset is None or stored.size <= _HARMLESS_BYTES:
            return
        limit = int(np.prod(self.whole.chunks, dtype=object)) * self.dtype.itemsize
        if stored.size <= 2 * limit + _HARMLESS_BYTES:
            skipped, packed = self.whole.id.read_direct_chunk(corner)
            if skipped & (1 << _filters(self.whole).index(h5py.h5z.FILTER_DEFLATE)):
                return
            inflater = zlib.decompressobj()
            left = limit + 4  # a checksum may have been packed with it
            inflater.decompress(packed, left)
            if not inflater.unconsumed_tail:
                return
        raise ValueError(f"the chunk at {corner} unpacks to more than its {limit} bytes")


def _filters(dataset: Any) -> list[int]:
    layout = dataset.id.get_create_plist()
    return [layout.get_filter(place)[0] for place in range(layout.get_nfilters())]


def _imaris_shape(dataset: Any) -> tuple[int, ...] | None:
    """Return the size that Imaris states for an array, which it fills up to whole chunks."""
    if dataset.name is None or not dataset.name.endswith("/Data") or dataset.ndim != 3:
        return None
    stated = attributes_of(dataset.parent)
    names = [f"ImageSize{axis}" for axis in "ZYX"]
    if not all(name in stated for name in names):
        return None
    texts = [_text(stated[name]) for name in names]
    sizes = tuple(int(text) if text.isascii() and text.isdigit() else 0 for text in texts)
    fits = all(0 < size <= full for size, full in zip(sizes, dataset.shape, strict=True))
    if not fits:
        raise ValueError(
            f"Imaris states the size {' '.join(texts)} (z, y, x), the array has {dataset.shape}"
        )
    return sizes


def _text(value: Any) -> str:
    """Join the single letters as which Imaris stores numbers."""
    letters = np.asarray(value).ravel().tolist()
    return "".join(
        letter.decode("latin-1") if isinstance(letter, bytes) else str(letter) for letter in letters
    ).strip()
