"""How a user names a volume: a path, and perhaps a key inside it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from emds.errors import VolumeError
from emds.io.foreign import foreign_error, foreign_folder, why_no_address
from emds.io.regular import refuse_special

Kind = Literal["zarr", "hdf5", "tiff", "png", "slices"]

ZARR_METADATA = ("zarr.json", ".zarray", ".zgroup")
SLICE_SUFFIXES = (".tif", ".tiff", ".png")
_HDF5_MAGIC = b"\x89HDF\r\n\x1a\n"
_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")


@dataclass(frozen=True)
class Location:
    """A file or folder, what kind it is, and the key of an array or group inside it."""

    path: Path
    kind: Kind
    key: str


def parse_location(location: str | Path, key: str | None = None) -> Location:
    """Find the file or folder that a location starts with, and its kind.

    Accepted are ``path``, ``path.zarr/inner/array`` and ``file.h5:volumes/raw`` (a colon or a
    slash before the key, for zarr and HDF5 alike).

    Parameters
    ----------
    location : str or Path
        As the user wrote it.
    key : str, optional
        Key inside it, added to the one in `location`.

    Raises
    ------
    VolumeError
        If nothing is there, or it is no kind of file that emds reads.
    """
    try:
        return _parse(str(location), key)
    except PermissionError as error:
        raise VolumeError(f"cannot read {str(location)!r}: permission denied.") from error


def _parse(text: str, key: str | None) -> Location:
    reason = why_no_address(text)
    if reason is not None:
        raise VolumeError(f"{reason}.")
    path, inner = _split(text)
    if path is None:
        raise VolumeError(f"cannot read {text!r}: there is no such file or folder.")
    keys = [part for part in (inner, key) if part]
    full_key = "/".join("/".join(keys).replace("\\", "/").strip("/").split("/"))
    if path.is_dir():
        root = _zarr_root(path)
        if root is not None:
            inside = path.relative_to(root).as_posix()
            parts = [part for part in (inside, full_key) if part not in ("", ".")]
            return Location(root, "zarr", "/".join(parts))
        _refuse_key(text, inner)
        return Location(path, _kind_of_folder(path, text), full_key)
    return Location(path, kind_of_file(path), full_key)


def _split(text: str) -> tuple[Path | None, str]:
    """Cut a location into the longest part that exists and the key behind it."""
    path = Path(text)
    if path.exists():
        return path, ""
    for place in (i for i, letter in enumerate(text) if letter == ":"):
        if place and Path(text[:place]).exists():
            return Path(text[:place]), text[place + 1 :]
    for parent in path.parents:
        if parent.is_file() or (parent.is_dir() and _is_zarr(parent)):
            return parent, path.relative_to(parent).as_posix()
        if parent.is_dir():
            break
    return None, ""


def _refuse_key(text: str, inner: str) -> None:
    if inner:
        raise VolumeError(
            f"cannot read {text!r}: {inner!r} names an array inside a folder that is not zarr."
        )


def _is_zarr(folder: Path) -> bool:
    return any((folder / name).is_file() for name in ZARR_METADATA)


def _zarr_root(folder: Path) -> Path | None:
    """Return the outermost zarr group that holds `folder`, so that keys are always whole."""
    if not _is_zarr(folder):
        return None
    root = folder
    while root.name and root.parent != root and _is_zarr(root.parent):
        root = root.parent
    return root


def _kind_of_folder(folder: Path, text: str) -> Kind:
    if any(child.suffix.lower() in SLICE_SUFFIXES for child in folder.iterdir()):
        return "slices"
    raise VolumeError(
        f"cannot read {text!r}: the folder is neither zarr (no {', '.join(ZARR_METADATA)}) nor "
        f"does it hold slices ({', '.join(SLICE_SUFFIXES)}). {foreign_folder(folder)}".rstrip()
    )


def kind_of_file(path: Path) -> Kind:
    """Tell a file's kind by its first bytes, whatever its name.

    Raises
    ------
    VolumeError
        If it is of none that emds reads, or no regular file.
    """
    if path.name in ("zarr.json", ".zarray", ".zgroup", ".zattrs"):
        raise VolumeError(f"cannot read {str(path)!r}: name the folder, {path.parent}.")
    refuse_special(path)
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError as error:
        raise VolumeError(
            f"cannot read {str(path)!r}: {(error.strerror or 'unknown').lower()}."
        ) from error
    if start == _HDF5_MAGIC:
        return "hdf5"
    if start == _PNG_MAGIC:
        return "png"
    if start[:4] in _TIFF_MAGIC:
        return "tiff"
    if _is_hdf5(path):
        return "hdf5"
    raise foreign_error(path)


def _is_hdf5(path: Path) -> bool:
    """Say whether HDF5 begins further in: MATLAB puts a header of its own before it."""
    import h5py

    return bool(h5py.is_hdf5(path))
