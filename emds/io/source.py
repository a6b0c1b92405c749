"""What a backend finds in a file: an array, the meaning of its axes, and its place in space."""

from __future__ import annotations

import errno
import json
import logging
import math
import os
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from emds.errors import VolumeError
from emds.geometry import Triple
from emds.io.runs import one_line
from emds.io.volume import Nanometres

# What libraries log about damaged files, emds says itself.
for _library in ("tifffile", "imagecodecs", "h5py", "zarr"):
    logging.getLogger(_library).addHandler(logging.NullHandler())

Role = Literal["raw", "labels", "affinities"]

LARGEST_CHUNK_BYTES = 2**31
# What parsers of other libraries raise on files that are damaged or made up.
MALFORMED = (
    OSError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    ArithmeticError,
    AssertionError,
    RuntimeError,
    SyntaxError,  # of XML
    struct.error,
)

# Errors that say nothing about what is in a file.
_OF_THE_SYSTEM = (errno.EACCES, errno.EPERM, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EIO)

RAW_TYPES = ("uint8", "uint16", "int16", "float32")


class LazyArray(Protocol):
    """Anything that knows its shape and type, and gives a box when indexed with slices."""

    @property
    def shape(self) -> tuple[int, ...]:
        """Length of every axis."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """Type of an element."""

    def __getitem__(self, index: tuple[slice | int, ...], /) -> NDArray[Any]:
        """Read a box."""


@dataclass(frozen=True)
class ArraySource:
    """An array in a file, not yet known to be what a command needs.

    Attributes
    ----------
    location : str
        How a user would name it, e.g. ``file.h5:volumes/raw``.
    name : str
        Its path inside what was opened; empty for the file itself or an image at the root.
    values : LazyArray
        Reads boxes.
    axes : str
        One letter per axis: ``c``, ``z``, ``y``, ``x``, ``s`` (colour samples), or another
        letter for an axis that emds has no use for (``t``) and accepts at length 1 only.
    chunk_shape : tuple of int
        Storage unit for writers, per axis of `values`.
    decoded_bytes : int
        What must be decompressed at once to read a single voxel.
    voxel_size, offset : (z, y, x) float
        Nanometres; voxel_size is None where the file does not say.
    attributes : mapping
        What emds stored with it.
    meant_as : Role or None
        What the file itself says the array is.
    unusable : str or None
        Why the array cannot be read at all, as a clause; None where it can.
    grey_step : int
        What stored codes are multiplied with to become grey values; labels are left as stored.
    remarks : tuple of str
        What the user must know of how it is read, as clauses.
    """

    location: str
    name: str
    values: LazyArray
    axes: str
    chunk_shape: tuple[int, ...]
    decoded_bytes: int
    voxel_size: Nanometres | None = None
    offset: Nanometres = (0.0, 0.0, 0.0)
    attributes: Mapping[str, Any] = field(default_factory=dict)
    meant_as: Role | None = None
    unusable: str | None = None
    grey_step: int = 1
    remarks: tuple[str, ...] = ()

    def described(self) -> str:
        """Return ``name dtype (shape)`` for a list in a message."""
        if not self.values.dtype.itemsize:
            return one_line(
                self.name
            )  # of something that has no values, such as a link to another file
        shape = tuple(
            size
            for axis, size in zip(self.axes, self.values.shape, strict=True)
            if axis in "czyx" or size > 1
        )
        return f"{one_line(self.name) or '(root)'}  {self.values.dtype} {shape}"


@dataclass(frozen=True)
class Layout:
    """Where the channel and the three spatial axes lie in an array; None where one is missing."""

    c: int | None
    z: int | None
    y: int
    x: int

    def spatial_shape(self, shape: tuple[int, ...]) -> Triple:
        """Return (Z, Y, X), with depth 1 for a 2-D array."""
        return (1 if self.z is None else shape[self.z], shape[self.y], shape[self.x])


def stored_by_emds(content: Any) -> dict[str, Any]:
    """Return the attributes that emds stored, or nothing where it cannot have written them.

    Examples
    --------
    >>> stored_by_emds({"role": "raw"}), stored_by_emds({"seed": math.nan}), stored_by_emds(3)
    ({'role': 'raw'}, {}, {})
    """
    if not isinstance(content, Mapping):
        return {}
    try:
        json.dumps(dict(content), allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return {}
    return dict(content)


def role_of_path(path: str) -> Role | None:
    """Guess what an array holds from where it lies.

    Examples
    --------
    >>> [role_of_path(p) for p in ("volumes/labels/clefts", "volumes/raw", "affinities", "main")]
    ['labels', 'raw', 'affinities', None]
    """
    parts = path.lower().split("/")
    if "labels" in parts:
        return "labels"
    last: dict[str, Role] = {"raw": "raw", "affinities": "affinities"}
    return last.get(parts[-1])


def why_not(source: ArraySource, role: Role | None, *, explicit: bool) -> str | None:
    """Say why an array cannot play a role, or None where it can.

    Parameters
    ----------
    source : ArraySource
        The candidate.
    role : Role or None
        What the command needs; None is any image with up to one channel axis.
    explicit : bool
        The user named this very array, so what its file calls it does not matter.

    Returns
    -------
    str or None
        A clause that continues "... cannot be used as raw image: ".
    """
    if source.unusable is not None:
        return source.unusable
    values = source.values
    shape, dtype = values.shape, values.dtype
    if dtype.kind not in "buif":
        return f"its type {dtype} is not a real number"
    if not explicit and role is not None and source.meant_as not in (None, role):
        return f"its file says that it holds {source.meant_as}"
    sizes = (
        dict(zip(source.axes, shape, strict=True))
        if len(set(source.axes)) == len(source.axes)
        else {}
    )
    if not sizes or "y" not in sizes or "x" not in sizes:
        return f"its {len(shape)} axes {source.axes!r} are not (z, y, x) or (c, z, y, x)"
    colours = sizes.get("s", 1)
    if colours > 1 or (role == "raw" and _looks_like_colour(source)):
        return f"it is a colour image (RGB) of shape {shape}; save it as greyscale"
    spare = {axis: size for axis, size in sizes.items() if axis not in "czyxs" and size > 1}
    if spare:
        return f"its axis {'/'.join(spare)} is longer than 1: shape {shape} with axes {source.axes}"
    if min(shape) == 0:
        return f"it is empty: shape {shape}"
    return _why_wrong_kind(role, dtype, sizes, shape)


def _why_wrong_kind(
    role: Role | None, dtype: np.dtype[Any], sizes: Mapping[str, int], shape: tuple[int, ...]
) -> str | None:
    channels = sizes.get("c", 1)
    if role == "raw":
        if dtype.newbyteorder("=").name not in RAW_TYPES:
            return f"its type must be one of {', '.join(RAW_TYPES)}, not {dtype}"
        if channels > 1:
            return f"it has {channels} channels (RGB?): shape {shape}; one is expected"
    elif role == "labels":
        if dtype.kind not in "bui":
            return f"labels must be integers, not {dtype}"
        if channels > 1:
            return f"it has {channels} channels: shape {shape}; labels have one id per voxel"
    elif role == "affinities":
        if "c" not in sizes:
            return f"it has no channel axis: shape {shape}; (c, z, y, x) is expected"
        if dtype.kind not in "uf":
            return f"affinities must be unsigned integers or floats, not {dtype}"
    return None


def _looks_like_colour(source: ArraySource) -> bool:
    """Guess (Y, X, 3) apart from a volume that is three voxels wide."""
    shape = source.values.shape
    return source.axes == "zyx" and shape[2] in (3, 4) and min(shape[:2]) >= 32


def layout_of(source: ArraySource, role: Role | None) -> Layout:
    """Return where the axes lie; a channel axis of length 1 counts only for affinities."""
    places = {axis: place for place, axis in enumerate(source.axes)}
    channel = places.get("c")
    keep = role == "affinities" or source.meant_as == "affinities"
    if channel is not None and source.values.shape[channel] == 1 and not keep:
        channel = None
    return Layout(channel, places.get("z"), places["y"], places["x"])


def absurd_size(source: ArraySource) -> str | None:
    """Say why an array cannot be read in memory's bounds, before memory is asked for.

    Returns
    -------
    str or None
        A clause, if the array's byte count does not fit 63 bits or a chunk takes over 2 GiB.
    """
    shape, itemsize = source.values.shape, source.values.dtype.itemsize
    nbytes = math.prod(map(int, shape)) * itemsize
    if nbytes >= 2**63:
        return (
            f"it declares the absurd shape {shape} ({nbytes:.1e} bytes); the file is damaged or "
            "not meant to be read"
        )
    if source.decoded_bytes > LARGEST_CHUNK_BYTES:
        return (
            f"one chunk takes {source.decoded_bytes:.1e} bytes when unpacked, at most 2 GiB is "
            "allowed; store the array in smaller chunks"
        )
    return None


def refuse_os_error(error: BaseException, path: object) -> None:
    """Raise what the system says when it, and not the file's content, is to blame.

    Raises
    ------
    VolumeError
        If `error` is an OSError that carries an errno, such as permission denied.
    """
    if isinstance(error, OSError) and error.errno in _OF_THE_SYSTEM:
        reason = os.strerror(error.errno).lower()
        raise VolumeError(f"cannot read {str(path)!r}: {reason}.") from error


Closer = Callable[[], None]


@dataclass(frozen=True)
class Found:
    """The arrays of one opened file.

    Attributes
    ----------
    sources : list of ArraySource
        In the file's order.
    kind : str
        ``zarr``, ``hdf5``, ``tiff`` or ``slices``.
    explicit : bool
        The user's location named one array, not a container.
    close : callable
        Lets go of the file.
    mixed : str
        Why none of several arrays may be taken unless the user names it, as a clause; else empty.
    """

    sources: list[ArraySource]
    kind: str
    explicit: bool
    close: Closer = lambda: None
    mixed: str = ""
