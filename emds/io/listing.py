"""The files that volumes are read from: whether they are what they were, without reading them."""

from __future__ import annotations

import gzip
import hashlib
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from emds.errors import DataError
from emds.files import write_whole
from emds.io.location import ZARR_METADATA, Location, parse_location
from emds.io.mark import attributes_of
from emds.io.multiscale import level_paths
from emds.io.source_volume import SourceVolume
from emds.io.volume import LayeredVolume, Volume

_METADATA = (*ZARR_METADATA, ".zattrs", ".zmetadata")

Facts = tuple[int, int, int]
"""Of a file: bytes, and when its content and its entry changed, ns."""


@dataclass(frozen=True, slots=True)
class Listing:
    """Files with their sizes and times.

    Attributes
    ----------
    files : dict
        Facts by path; paths begin with the number of the volume, and go on from where it lies.
    roots : tuple of str
        Where each volume lies; no part of what is compared.
    """

    files: dict[str, Facts]
    roots: tuple[str, ...]

    @property
    def digest(self) -> str:
        """A short hash, equal for equal files."""
        content = json.dumps(sorted(self.files.items())).encode()
        return hashlib.blake2b(content, digest_size=8).hexdigest()

    def save(self, folder: Path) -> None:
        """Keep it in a folder, under its hash."""
        path = folder / f"{self.digest}.json.gz"
        if path.exists():
            return
        with write_whole(path) as file:
            file.write(gzip.compress(json.dumps(self.files).encode(), compresslevel=1))

    def changed_since(self, folder: Path, digest: str) -> str | None:
        """Name a file that is not as in the listing of some hash; None if that is not known."""
        try:
            with gzip.open(folder / f"{digest}.json.gz", "rt", encoding="utf-8") as file:
                before = {name: tuple(facts) for name, facts in json.load(file).items()}
        except (OSError, EOFError, ValueError, TypeError, AttributeError):
            return None
        names = sorted(before.keys() | self.files.keys())
        changed = (name for name in names if before.get(name) != self.files.get(name))
        for name in changed:
            number, _, inner = name.partition("/")
            return str(Path(self.roots[int(number)], inner))
        return None


def list_files(*volumes: Volume | None) -> Listing:
    """List the files that volumes are read from; those in memory have none.

    Of zarr these are the chunks and the metadata, of a folder its slices.

    Raises
    ------
    DataError
        If they are gone.
    """
    files: dict[str, Facts] = {}
    roots = []
    for number, volume in enumerate(volumes):
        whole = volume and lowest(volume)
        if not isinstance(whole, SourceVolume):
            roots.append("")
            continue
        place = parse_location(whole.location)
        root = place.path if place.path.is_dir() else place.path.parent
        roots.append(str(root))
        try:
            for path, facts in _files_of(place):
                inner = Path(path).relative_to(root).as_posix()
                files[f"{number}/{inner}"] = (facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)
        except OSError as error:
            reason = (error.strerror or "unknown").lower()
            raise DataError(
                f"cannot read {whole.location!r} any more: {error.filename}: {reason}. Put it back."
            ) from error
    return Listing(files, tuple(roots))


def lowest(volume: Volume) -> Volume:
    """Return the volume that reads the files, below all that cuts or changes what it gives."""
    while isinstance(volume, LayeredVolume):
        volume = volume.whole
    return volume


def _files_of(place: Location) -> Iterator[tuple[str, os.stat_result]]:
    if place.kind == "slices":
        from emds.io.slices_volume import slice_files

        for file in slice_files(place.path):
            yield str(file), file.stat()
    elif place.kind == "zarr":
        folder = _array_folder(place)
        yield from _below(str(folder))
        while folder != place.path:
            folder = folder.parent
            for name in _METADATA:
                if (folder / name).is_file():
                    yield str(folder / name), (folder / name).stat()
    else:
        yield str(place.path), place.path.stat()


def _array_folder(place: Location) -> Path:
    """Return where the array of a zarr location lies: that of an OME image is its level 0."""
    folder = place.path / place.key
    for level in level_paths(attributes_of(folder))[:1]:
        return folder / level
    return folder


def _below(folder: str) -> Iterator[tuple[str, os.stat_result]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _below(entry.path)
            else:
                yield entry.path, entry.stat()
