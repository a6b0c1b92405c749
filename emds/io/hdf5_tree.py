"""What an HDF5 file holds: walked link by link, so that no member of it hides the others."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from emds.io.source import MALFORMED, LazyArray

_DEEPEST = 64
_LONGEST_ATTRIBUTE = 2**16


@dataclass(frozen=True)
class Member:
    """A data set in a file, or what stands where one could be.

    Attributes
    ----------
    name : str
        Its path below the group that was walked.
    dataset : h5py.Dataset or None
        None if there is none that emds can open.
    reason : str
        Why there is none, as a clause.
    """

    name: str
    dataset: Any | None
    reason: str = ""


class Unreadable(LazyArray):
    """Stands for values that cannot be read at all."""

    def __init__(self, shape: tuple[int, ...] = (), itemsize: int = 0) -> None:
        self._shape = shape
        self._dtype = np.dtype(f"V{itemsize}")

    @property
    @override
    def shape(self) -> tuple[int, ...]:
        return self._shape

    @property
    @override
    def dtype(self) -> np.dtype[Any]:
        return self._dtype

    @override
    def __getitem__(self, index: tuple[slice | int, ...], /) -> NDArray[Any]:
        raise ValueError("it has no values that can be read")


def members(group: Any) -> Iterator[Member]:
    """Walk a group, in the order of names; each data set comes once, however many links it has.

    Soft links are passed over, since they only repeat what is there. Groups within one another
    more than 64 deep are not entered.
    """
    seen = {_address(group)}
    waiting: list[tuple[str, Any]] = [("", group)]
    while waiting:
        above, node = waiting.pop()
        inner = []
        for part in node:
            name = f"{above}/{part}" if above else part
            try:
                link = node.get(part, getlink=True)
                child = node[part] if isinstance(link, h5py.HardLink) else None
            except MALFORMED as error:
                yield Member(name, None, f"it cannot be opened: {error}")
                continue
            if isinstance(link, h5py.ExternalLink):
                yield Member(
                    name,
                    None,
                    f"it is an external link to {link.filename!r}, which emds does not follow. "
                    "Open that file itself",
                )
            if not isinstance(child, (h5py.Dataset, h5py.Group)) or _address(child) in seen:
                continue
            seen.add(_address(child))
            if isinstance(child, h5py.Dataset):
                yield Member(name, child)
            elif name.count("/") + 1 > _DEEPEST:
                yield Member(name, None, f"its groups are nested more than {_DEEPEST} deep")
            else:
                inner.append((name, child))
        waiting += reversed(inner)


def _address(node: Any) -> tuple[int, int]:
    info = h5py.h5o.get_info(node.id)
    return info.fileno, info.addr


def attributes_of(node: Any) -> dict[str, Any]:
    """Return the attributes of a group or data set; one that cannot be read says so itself."""
    attributes: dict[str, Any] = {}
    for name in node.attrs:
        try:
            size = int(np.prod(node.attrs.get_id(name).shape, dtype=object))
            if size <= _LONGEST_ATTRIBUTE:
                attributes[name] = node.attrs[name]
            else:
                attributes[name] = f"({size} values)"
        except MALFORMED as error:
            attributes[name] = f"(cannot be read: {error})"
    return attributes


def groups_above(dataset: Any) -> dict[str, dict[str, Any]]:
    """Return the attributes of all groups that a data set lies in, by path."""
    parts = (dataset.name or "").strip("/").split("/")[:-1]
    paths = ["/".join(parts[:depth]) for depth in range(len(parts) + 1)]
    return {path: attributes_of(dataset.file[path or "/"]) for path in paths}


def why_untyped(dataset: Any) -> str | None:
    """Say why the values of a data set have no shape or type in numpy, or None where they have."""
    if dataset.shape is None:
        return "it is a null data set, without shape and values"
    try:
        dataset.dtype  # noqa: B018
    except MALFORMED as error:
        return f"its values are of a type that numpy has no like of ({error})"
    return None
