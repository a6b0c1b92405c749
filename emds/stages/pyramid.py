"""``emds pyramid``: lower resolutions of an output, so that viewers open it at once."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path

from emds.errors import IncompleteError
from emds.execution import DoneLog, each_in_threads, run_blocks
from emds.geometry import Roi, Triple, iter_blocks
from emds.io import Volume
from emds.io.levels import GrowingImage, open_growing_images
from emds.io.location import parse_location
from emds.io.unfinished import refuse_unfinished
from emds.memory import threads_within
from emds.numbers import Levels, checked
from emds.progress import Progress
from emds.pyramid import Level, mean_of_windows, mode_of_windows, plan_levels
from emds.signals import Stop, stop_signal

_LISTED = 10
_REDUCE = {"raw": ("mean", mean_of_windows), "labels": ("mode", mode_of_windows)}


@dataclass(frozen=True, slots=True)
class Pyramid:
    """An image and its levels.

    Attributes
    ----------
    location : str
        The image.
    added : int
        Number of new levels.
    shapes : list of (Z, Y, X)
        Shapes of all levels, the image itself first.
    """

    location: str
    added: int
    shapes: list[Triple]

    def __str__(self) -> str:
        shapes = ", ".join(" × ".join(map(str, shape)) for shape in self.shapes)
        return f"{self.location}: {self.added} levels added; there are {shapes}"


@checked
def pyramid(
    location: str | Path, *, levels: Levels | None = None, progress: Progress | None = None
) -> list[Pyramid]:
    """Add lower resolutions to the images and labels of a container that emds wrote.

    Images are reduced by the mean, labels by the mode (see `emds.pyramid`), affinities not at
    all. Which axes a level halves follows from the voxel size (see `plan_levels`). A run that was
    stopped or killed leaves a valid container, and is finished by the same call.

    Parameters
    ----------
    location : str or Path
        The container.
    levels : int, optional
        Number of lower-resolution levels to add. By default as many as it takes until no axis
        has more than 256 voxels. Levels that exist stay.
    progress : callable, optional
        Told (chunks done, chunks, what).

    Raises
    ------
    VolumeError
        If emds did not write it.
    UsageError
        If it names a part of a container.
    OutputExistsError
        If another process is adding levels.
    IncompleteError
        If it names an output that no run has finished, or some chunks could not be made.
    InterruptedRunError
        If a signal asked to stop.
    """
    refuse_unfinished(location)
    with open_growing_images(parse_location(location)) as images, stop_signal() as stop:
        before = [image.count for image in images]
        plans = [_plan(image, levels) for image in images]
        for number in range(1, 1 + max(map(len, plans))):
            growing = [
                (image, plan[number - 1])
                for image, plan in zip(images, plans, strict=True)
                if image.count == number <= len(plan)
            ]
            for image, level in growing:
                _make(image, level, stop, progress)
            for image, level in growing:
                image.publish(level.factor, _REDUCE[image.role][0])
        for image in images:
            image.tidy()
        return [
            Pyramid(image.location, image.count - count, _shapes(image))
            for image, count in zip(images, before, strict=True)
        ]


def _plan(image: GrowingImage, count: int | None) -> list[Level]:
    with image.open_level(0) as whole:
        return plan_levels(whole.shape, whole.voxel_size, count)


def _shapes(image: GrowingImage) -> list[Triple]:
    shapes = []
    for number in range(image.count):
        with image.open_level(number) as level:
            shapes.append(level.shape)
    return shapes


def _make(image: GrowingImage, level: Level, stop: Stop, progress: Progress | None) -> None:
    """Make the next level of an image, chunk by chunk, up to naming it in the metadata."""
    reduce = _REDUCE[image.role][1]
    target = image.begin(level.shape)
    boxes = [block.write_roi for block in iter_blocks(target.roi, target.chunk_shape)]
    what = f"chunks of {target.location}"
    with image.open_level(image.count - 1) as source, DoneLog(image.done_folder) as log:
        done = {n for n in log.read() if n < len(boxes) and target.is_written(boxes[n])}
        pending = [number for number in range(len(boxes)) if number not in done]

        def make(number: int) -> None:
            box = boxes[number]
            window = source.read(_covered(box, level.factor, source))
            target.write(box, reduce(window, level.factor))
            target.sync(box)

        def finish(number: int) -> None:
            log.append(number)
            done.add(number)
            if progress is not None:
                progress(len(done), len(boxes), what)

        # A window of the source, the same in the making, and what becomes of it.
        held = 3 * Roi.whole(target.chunk_shape).size * prod(level.factor)
        work = each_in_threads(make, threads_within(held * source.dtype.itemsize))
        failures = run_blocks(work, pending, finish, stop)
    if failures:
        raise IncompleteError(_describe(failures, boxes, what))
    if len(done) < len(boxes):
        raise stop.error(
            f"with {len(boxes) - len(done)} {what} to do. Continue with the same command; until "
            "then the level is not seen."
        )
    image.settle(target)


def _covered(box: Roi, factor: Triple, source: Volume) -> Roi:
    """Return the voxels of the source that a box of the next level stands for."""
    (z, y, x), (fz, fy, fx), (dz, dy, dx) = box.offset, factor, box.shape
    return Roi((z * fz, y * fy, x * fx), (dz * fz, dy * fy, dx * fx)).intersect(source.roi)


def _describe(failures: dict[int, str], boxes: list[Roi], what: str) -> str:
    lines = [
        f"\n  voxels {boxes[number].offset} to {boxes[number].end}: {failures[number]}"
        for number in sorted(failures)[:_LISTED]
    ]
    if len(failures) > _LISTED:
        lines.append(f"\n  and {len(failures) - _LISTED} more")
    return (
        f"{len(failures)} of {len(boxes)} {what} could not be made; the others are kept. Mend the "
        f"cause and repeat the command.{''.join(lines)}"
    )
