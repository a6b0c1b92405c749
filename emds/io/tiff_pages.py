"""Which pages of a TIFF file make up its images, and which would be left out of them.

tifffile groups pages into series. It takes some pages for alike without looking at them and
leaves out others without a word, so every page of the file is looked at here.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from xml.etree import ElementTree

import tifffile

from emds.errors import VolumeError
from emds.io.runs import in_runs
from emds.io.source import MALFORMED
from emds.io.tiff_page import orientation_of

# Series that tifffile makes of pages alone, or of shapes that it wrote itself.
_PLAIN = {"shaped", "generic", "uniform", ""}


@dataclass(frozen=True)
class Stacks:
    """The images of a TIFF file.

    Attributes
    ----------
    series : list of tifffile.TiffPageSeries
        In the file's order.
    mixed : str
        Why none of several may be taken unless it is named, as a clause; else empty.
    unread : list of str
        What else is in the file.
    """

    series: list[tifffile.TiffPageSeries]
    mixed: str
    unread: list[str]


@dataclass(frozen=True)
class _Page:
    """What decides whether pages are of one kind, and what a person calls it."""

    hash: int
    orientation: int
    reduced: bool
    described: str
    subifds: int

    @property
    def kind(self) -> tuple[int, int, bool]:
        return self.hash, self.orientation, self.reduced


def find_stacks(tiff: tifffile.TiffFile, path: object) -> Stacks:
    """Group the pages of a file into stacks, none of them left out in silence.

    Sections of one kind that were written one by one are one stack.

    Raises
    ------
    VolumeError
        If the pages do not fit what the file's metadata (ImageJ, OME, ...) say of them.
    """
    pages = _all_pages(tiff)
    mixed = ""
    series = [
        entry
        for entry in _series(tiff, pages, path)
        if not any(page is not None and page.is_subifd for page in entry.pages)
    ]
    if all(entry.kind in _PLAIN for entry in series):
        series = _plain_stacks(tiff, series, pages)
        if len(series) > 1:
            mixed = _differences(pages) or "its pages were written as several stacks"
    else:
        _check_described(tiff, series, pages, path)
    used = {number for entry in series for number in _numbers(entry)}
    rest = [number for number in range(len(pages)) if number not in used]
    unread = [f"{_named(rest)} ({pages[rest[0]].described})"] if rest else []
    most = max((page.subifds for page in pages), default=0)
    if most:
        unread.append(f"{most} subIFD{'s' * (most > 1)} of a page (lower resolutions, thumbnails)")
    return Stacks(series, mixed, unread)


def _series(
    tiff: tifffile.TiffFile, pages: Sequence[_Page], path: object
) -> list[tifffile.TiffPageSeries]:
    different = _differences(pages)
    if different:
        tiff.is_uniform = False  # tifffile looks at four pages and takes the others for alike
    try:
        return tiff.series
    except MALFORMED as error:
        if different:
            raise VolumeError(
                f"cannot read {str(path)!r}: it is described as one image, but {different}. Write "
                "the pages again in one kind."
            ) from error
        raise


def _all_pages(tiff: tifffile.TiffFile) -> list[_Page]:
    frames, tiff.pages.useframes = tiff.pages.useframes, False
    try:
        return [_looked_at(page.aspage()) for page in tiff.pages]
    finally:
        tiff.pages.useframes = frames


def _looked_at(page: tifffile.TiffPage) -> _Page:
    orientation = orientation_of(page)
    names = [getattr(page.photometric, "name", str(page.photometric))]
    if page.compression != 1:
        names.append(getattr(page.compression, "name", str(page.compression)))
    if orientation != 1:
        names.append(f"orientation {orientation}")
    if page.is_reduced:
        names.append("reduced image")
    return _Page(
        page.hash,
        orientation,
        bool(page.is_reduced),
        f"{page.dtype} {page.shape} {', '.join(names)}",
        len(page.subifds or ()),
    )


def _plain_stacks(
    tiff: tifffile.TiffFile, series: list[tifffile.TiffPageSeries], pages: Sequence[_Page]
) -> list[tifffile.TiffPageSeries]:
    """Return one stack for pages of one kind, as written, else one for each kind."""
    full = [number for number, page in enumerate(pages) if not page.reduced]
    numbers = [_numbers(entry) for entry in series]
    in_order = [number for taken in numbers for number in taken] == full
    if len({pages[number].kind for number in full}) <= 1:
        if in_order and (len(series) == 1 or any(len(pages_of) > 1 for pages_of in numbers)):
            return series
        return [_stack(tiff, full)] if full else series
    shaped = all(entry.kind == "shaped" for entry in series)
    alike = all(len({pages[number].kind for number in taken}) == 1 for taken in numbers)
    if shaped and in_order and alike:
        return series
    groups: dict[tuple[int, int, bool], list[int]] = {}
    for number in full:
        groups.setdefault(pages[number].kind, []).append(number)
    return [_stack(tiff, group) for group in groups.values()]


def _stack(tiff: tifffile.TiffFile, numbers: Sequence[int]) -> tifffile.TiffPageSeries:
    tiff.pages.useframes = False
    taken = [tiff.pages[number].aspage() for number in numbers]
    first = taken[0]
    return tifffile.TiffPageSeries(
        taken, (len(taken), *first.shape), first.dtype, "I" + first.axes, kind="generic"
    )


def _numbers(series: tifffile.TiffPageSeries) -> list[int]:
    """Return which pages of the file a series holds; one page may stand for those behind it."""
    taken = [page.treeindex[0] for page in series.pages if page is not None]
    if len(taken) == 1 and not series.is_truncated and series.keyframe.size:
        taken = list(range(taken[0], taken[0] + math.prod(series.shape) // series.keyframe.size))
    return taken


def _check_described(
    tiff: tifffile.TiffFile,
    series: Sequence[tifffile.TiffPageSeries],
    pages: Sequence[_Page],
    path: object,
) -> None:
    for entry in series:
        taken = [page for page in entry.pages if page is not None]
        kinds = {pages[page.treeindex[0]].kind for page in taken}
        if len(kinds) > 1:
            raise VolumeError(
                f"cannot read {str(path)!r}: its {entry.kind} metadata describe one image, but "
                f"{_differences(pages)}. Write the pages again in one kind."
            )
        planes = math.prod(entry.shape) // max(1, entry.keyframe.size)
        if len(entry.pages) not in (1, planes):
            raise VolumeError(
                f"cannot read {str(path)!r}: its {entry.kind} metadata describe {planes} planes, "
                f"the file holds {len(entry.pages)}. Correct the metadata, or write the file again."
            )
    if tiff.is_ome and tiff.ome_metadata and series and series[0].kind == "ome":
        images = len(ElementTree.fromstring(tiff.ome_metadata).findall("./{*}Image/{*}Pixels"))
        if images != len(series):
            raise VolumeError(
                f"cannot read {str(path)!r}: its OME metadata describe {images} images, the pages "
                f"of {len(series)} can be found. The others lie in other files or are lost."
            )


def _differences(pages: Sequence[_Page]) -> str:
    """Say which pages are unlike most of a file, or nothing where all are alike."""
    pages = [page for page in pages if not page.reduced] or pages
    counted = Counter(page.kind for page in pages)
    (usual, _), *others = counted.most_common()
    if not others:
        return ""
    first = next(number for number, page in enumerate(pages) if page.kind == usual)
    odd = [number for number, page in enumerate(pages) if page.kind != usual]
    described = dict.fromkeys(pages[number].described for number in odd)
    return (
        f"{_named(odd)} ({'; '.join(list(described)[:3])}) of {len(pages)} "
        f"{'is' if len(odd) == 1 else 'are'} unlike page {first} ({pages[first].described})"
    )


def _named(numbers: Sequence[int]) -> str:
    return f"page{'s' * (len(numbers) > 1)} {in_runs(numbers)}"
