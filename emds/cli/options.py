"""Options that several commands share: one name, one unit and one help text for each."""

from __future__ import annotations

import re
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand
from typing_extensions import override

from emds import numbers
from emds.errors import UsageError
from emds.geometry import Triple
from emds.segmentation.settings import LabellerName

NoiseKind = Literal["gaussian-poisson", "film", "gaussian", "poisson"]
_INTENSITY, _AUTO = "--intensity", "auto"


class Protocol(Enum):
    """Choices of ``--protocol``; Typer repeats enums, but not Literals."""

    VOLUME = "volume"
    STRICT = "strict"
    PAPER = "paper"
    RELEASED = "released"
    ALL = "all"


_VOLUME_HELP = (
    "TIFF, Zarr or HDF5 file, or a folder of TIFF/PNG slices; an array inside it may be named "
    "with it, as in file.h5:volumes/raw or file.zarr/raw."
)


def in_range(kind: Any) -> Callable[[Any], Any]:
    """Return a callback of an option that refuses what a type of `emds.numbers` does not allow."""

    def callback(value: Any) -> Any:
        try:
            return value if value is None else numbers.check(kind, value, "it")
        except UsageError as error:
            raise typer.BadParameter(str(error).rstrip(".")) from None

    return callback


class EmdsCommand(TyperCommand):
    """A command whose ``--intensity`` takes two words, or the one word ``auto``."""

    @override
    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        return super().parse_args(ctx, _auto_twice(args))


def _auto_twice(args: list[str]) -> list[str]:
    """Give ``--intensity auto`` the second word that the parser waits for.

    Examples
    --------
    >>> _auto_twice(["a.tif", "--intensity", "auto", "--tta", "--intensity=auto"])
    ['a.tif', '--intensity', 'auto', 'auto', '--tta', '--intensity', 'auto', 'auto']
    """
    words: list[str] = []
    for word in args:
        if word == f"{_INTENSITY}={_AUTO}":
            words += [_INTENSITY, _AUTO, _AUTO]
        elif word == _AUTO and words[-1:] == [_INTENSITY]:
            words += [_AUTO, _AUTO]
        else:
            words.append(word)
    return words


def parse_intensity(words: tuple[str, str] | None) -> Any:
    """Read two grey values, or what `_auto_twice` made of ``auto``; None stays None."""
    value = _AUTO if words == (_AUTO, _AUTO) else words
    return in_range(numbers.Intensity)(value)


def parse_sections(text: str | tuple[int, int]) -> tuple[int, int]:
    """Read ``z0:z1``, a half-open range of sections.

    Examples
    --------
    >>> parse_sections("56:200")
    (56, 200)
    """
    if isinstance(text, tuple):
        return text
    match = re.fullmatch(r"(\d{1,12}):(\d{1,12})", text.strip())
    if match is None or int(match[1]) >= int(match[2]):
        raise typer.BadParameter(
            f"{text!r} must be a range of sections z0:z1 with z0 < z1, such as 56:200"
        )
    return int(match[1]), int(match[2])


def parse_part(text: str | tuple[str, str]) -> tuple[str, str]:
    """Read ``denoiser=PATH``.

    Examples
    --------
    >>> parse_part("denoiser=runs/dn/best.pt")
    ('denoiser', 'runs/dn/best.pt')
    """
    if isinstance(text, tuple):
        return text
    part, _, path = text.partition("=")
    if part not in ("denoiser", "segmenter", "fusion") or not path:
        raise typer.BadParameter(
            f"{text!r} must look like denoiser=PATH (or segmenter=PATH, fusion=PATH)"
        )
    return part, path


def _sections(name: str, text: str) -> Any:
    return typer.Option(name, parser=parse_sections, metavar="Z0:Z1", help=text)


# What is read.
RawVolume = Annotated[str, typer.Argument(metavar="RAW", help=f"Clean image. {_VOLUME_HELP}")]
AnyVolume = Annotated[str, typer.Argument(metavar="VOLUME", help=f"Image. {_VOLUME_HELP}")]
NoisyVolume = Annotated[str, typer.Argument(metavar="NOISY", help=f"Image. {_VOLUME_HELP}")]
Key = Annotated[
    str | None,
    typer.Option("--key", "-k", metavar="NAME", help="Array inside the input, e.g. volumes/raw."),
]
RoiText = Annotated[
    str | None,
    typer.Option(
        "--roi",
        metavar="Z0:Z1,Y0:Y1,X0:X1",
        help="Box to work on, in voxels, end excluded; a bound or an axis left out is whole.",
    ),
]
CheckpointFile = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        "-m",
        metavar="FILE",
        help="Model file from `emds train`.  [default: the shipped one that suits]",
    ),
]
VoxelSize = Annotated[
    tuple[float, float, float] | None,
    typer.Option(
        callback=in_range(numbers.VoxelSize),
        metavar="Z Y X",
        help="Voxel size in nanometres, where the input does not say or is wrong.",
    ),
]
# Typed Any: `--intensity auto` becomes a word, anything else two numbers.
IntensityRange = Annotated[
    tuple[Any, Any] | None,
    typer.Option(
        callback=parse_intensity,
        metavar="LOW HIGH",
        help="Grey values that correspond to 0 and 255 of an 8-bit image, or auto: those that "
        "leave half a percent of the image out on either side.  [needed unless the input is uint8]",
    ),
]

# What is written.
OutContainer = Annotated[
    str, typer.Option("--out", "-o", metavar="PATH", help="OME-Zarr container to write.")
]
OutImage = Annotated[
    str,
    typer.Option(
        "--out",
        "-o",
        metavar="PATH",
        help="Volume to write: OME-Zarr (.zarr), or in one go TIFF (.tif) or HDF5 (.h5).",
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an output that exists.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]

# How it is computed.
Tile = Annotated[
    Triple | None,
    typer.Option(
        callback=in_range(numbers.TileTriple),
        metavar="Z Y X",
        help="What the network sees at once, voxels.  [default: 1 and twice the training crop]",
    ),
]
Overlap = Annotated[
    Triple | None,
    typer.Option(
        callback=in_range(numbers.MarginTriple),
        metavar="Z Y X",
        help="What neighbouring tiles share, voxels.  [default: a quarter of the tile]",
    ),
]
BlockShape = Annotated[
    Triple | None,
    typer.Option(
        callback=in_range(numbers.SizeTriple),
        metavar="Z Y X",
        help="Voxels worked on at once; never changes the result.  [default: chosen by size]",
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        callback=in_range(numbers.BatchSize),
        metavar="N",
        help="Tiles computed together.  [default: by device]",
    ),
]
Device = Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")]
Precision = Annotated[
    Literal["fp32", "bf16"], typer.Option(help="Arithmetic; bf16 is for recent GPUs.")
]
Tta = Annotated[
    bool,
    typer.Option(
        "--tta",
        help="Test-time augmentation: average over the 8 ways to turn and mirror a section, or the "
        "16 of a stack; as many times slower.",
    ),
]
Uncertainty = Annotated[
    bool,
    typer.Option(
        "--uncertainty",
        help="Also write how far the images differ that --tta averages, as a standard deviation "
        "in grey values.",
    ),
]
Image = Annotated[
    Literal["fused", "coarse"],
    typer.Option(help="Which denoised image to write: the final or the denoiser's own."),
]
Labeller = Annotated[
    LabellerName,
    typer.Option(help="The way from affinities to segments."),
]
Backend = Annotated[
    Literal["numba", "elf"], typer.Option(help="Mutex watershed: ours, or the one of elf.")
]
MutexStrides = Annotated[
    Triple | None,
    typer.Option(
        callback=in_range(numbers.SizeTriple),
        metavar="Z Y X",
        help="Use mutex edges at every n-th voxel only.  [default: the checkpoint's]",
    ),
]
Mask = Annotated[
    str | None,
    typer.Option(
        metavar="VOLUME",
        help="Integers on the grid of NOISY; where they are 0, ids are 0. The paper's protocol "
        "gives the ground truth here.",
    ),
]
MinSize = Annotated[
    int | None,
    typer.Option(
        callback=in_range(numbers.Voxels),
        metavar="N",
        help="Segments smaller than this, in voxels, join a neighbour.  "
        "[default: the checkpoint's]",
    ),
]

LinkSections = Annotated[
    float | None,
    typer.Option(
        callback=in_range(numbers.Overlap),
        metavar="IOU",
        help="Where sections are segmented one by one: let segments of neighbouring ones be one "
        "that are each other's best match and share this much of what they cover, such as 0.5.",
    ),
]

LabelBlockShape = Annotated[
    Triple | None,
    typer.Option(
        callback=in_range(numbers.SizeTriple),
        metavar="Z Y X",
        help="Voxels segmented at once; never changes the result.  [default: chosen by size]",
    ),
]

StitchMode = Annotated[
    Literal["exact", "none"],
    typer.Option(
        help="exact: the labels of the whole volume, whatever the blocks. none: leave blocks apart."
    ),
]

# How it is spread over processes and machines.
Resume = Annotated[
    bool, typer.Option("--resume", help="Continue a run that was stopped or killed.")
]
Workers = Annotated[
    int,
    typer.Option(
        callback=in_range(numbers.Processes),
        metavar="N",
        help="Processes that share the work; one GPU each.",
    ),
]
ShardText = Annotated[
    str | None,
    typer.Option(
        "--shard",
        metavar="K/N",
        help="Do the K-th of N parts (1 to N), or `slurm` for this task of a job array; then "
        "`emds merge` finishes.",
    ),
]
Launcher = Annotated[
    str,
    typer.Option(
        metavar="WORDS",
        help="Put before the command of each worker, such as `srun --exact -n1 -c4`: they may then "
        "run on other machines that see the same files.",
    ),
]
MaxMemory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="About what a process may use, such as 2GiB: Python and libraries (400 MiB), blocks "
        "and tables, but not what the network takes.  [default: a quarter of the RAM]",
    ),
]
MaxResidual = Annotated[
    int | None,
    typer.Option(
        callback=in_range(numbers.Count),
        metavar="N",
        help="Edges between blocks that are solved at once; more are contracted in groups first. "
        "Never changes the result.  [default: by memory]",
    ),
]
VerifyInput = Annotated[
    Literal["files", "full"],
    typer.Option(
        help="Blocks made from another input than is there are refused. files: read again what "
        "was read when files had other sizes or times. full: read all again, at the end.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the plan and its costs; write nothing.")
]

# What is trained.
# Typed Any: of a tuple, Typer would expect as many words as it has items.
TrainSections = Annotated[Any, _sections("--train", "Sections to train on, end excluded.")]
ValidationSections = Annotated[
    Any, _sections("--validation", "Sections held out for choosing the best checkpoint.")
]
HeldOutSections = Annotated[
    Any,
    _sections(
        "--held-out",
        "Sections to judge by, never to learn from, end excluded.  [default: the last third of "
        "the region, from 4 to 24 of them]",
    ),
]
InitialParts = Annotated[
    list[Any] | None,
    typer.Option(
        "--init",
        parser=parse_part,
        metavar="PART=PATH",
        help="Start a network (denoiser, segmenter, fusion) from a checkpoint, a TransUNet also "
        "from published .npz weights; repeatable.",
    ),
]
