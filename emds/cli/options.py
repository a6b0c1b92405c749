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
    "TIFF, Zarr or HDF5 file, or folder of TIFF/PNG slices. Name an array inside it as "
    "file.h5:volumes/raw or file.zarr/raw."
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
        help="Box to work on, in voxels, end excluded. A bound or an axis that is left out means "
        "the whole axis.",
    ),
]
CheckpointFile = Annotated[
    Path | None,
    typer.Option(
        "--checkpoint",
        "-m",
        metavar="FILE",
        help="Model file from `emds train`.  [default: the shipped one for this volume]",
    ),
]
VoxelSize = Annotated[
    tuple[float, float, float] | None,
    typer.Option(
        callback=in_range(numbers.VoxelSize),
        metavar="Z Y X",
        help="Voxel size in nanometres, if the input states none or a wrong one.",
    ),
]
# Typed Any: `--intensity auto` becomes a word, anything else two numbers.
IntensityRange = Annotated[
    tuple[Any, Any] | None,
    typer.Option(
        callback=parse_intensity,
        metavar="LOW HIGH",
        help="Grey values that correspond to 0 and 255 of an 8-bit image, or auto: the 0.5 and "
        "99.5 percentiles of the image.  [needed unless the input is uint8]",
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
        help="Volume to write: OME-Zarr (.zarr), TIFF (.tif) or HDF5 (.h5). Only OME-Zarr can be "
        "resumed or shared among processes.",
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
        help="Size of a network tile, voxels.  [default: 1 and twice the training crop]",
    ),
]
Overlap = Annotated[
    Triple | None,
    typer.Option(
        callback=in_range(numbers.MarginTriple),
        metavar="Z Y X",
        help="How much neighbouring tiles share, voxels.  [default: a quarter of the tile]",
    ),
]
BlockShape = Annotated[
    Triple | None,
    typer.Option(
        callback=in_range(numbers.SizeTriple),
        metavar="Z Y X",
        help="Size of a block, voxels; never changes the result.  [default: by memory]",
    ),
]
BatchSize = Annotated[
    int | None,
    typer.Option(
        callback=in_range(numbers.BatchSize),
        metavar="N",
        help="Tiles in one batch.  [default: by device]",
    ),
]
Device = Annotated[str, typer.Option(metavar="NAME", help="auto, cpu, cuda, cuda:N or mps.")]
Precision = Annotated[
    Literal["fp32", "bf16"],
    typer.Option(help="Arithmetic of the network; bf16 is for recent GPUs."),
]
Tta = Annotated[
    bool,
    typer.Option(
        "--tta",
        help="Test-time augmentation: average over 8 rotations and reflections of a section (8 "
        "times slower), or 16 of a stack (16 times slower).",
    ),
]
Uncertainty = Annotated[
    bool,
    typer.Option(
        "--uncertainty",
        help="Also write the per-voxel standard deviation of the images that --tta averages, in "
        "grey levels.",
    ),
]
Image = Annotated[
    Literal["fused", "coarse"],
    typer.Option(
        help="Which denoised image to write: fused is the final one, coarse that of the denoiser."
    ),
]
Labeller = Annotated[
    LabellerName,
    typer.Option(
        help="Method that turns affinities into segments; connected-components is a baseline."
    ),
]
Backend = Annotated[
    Literal["numba", "elf"],
    typer.Option(help="Implementation of the mutex watershed: that of emds, or that of elf."),
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
        help="Mask of the same shape as NOISY, or with a position of its own; voxels where it is 0 "
        "get id 0. The paper's protocol uses the ground truth as mask.",
    ),
]
MinSize = Annotated[
    int | None,
    typer.Option(
        callback=in_range(numbers.Voxels),
        metavar="N",
        help="Merge segments smaller than this, in voxels, into a neighbour.  "
        "[default: the checkpoint's]",
    ),
]

LinkSections = Annotated[
    float | None,
    typer.Option(
        callback=in_range(numbers.Overlap),
        metavar="IOU",
        help="(2-D models) Give segments of adjacent sections one id if each is the other's best "
        "match and their IoU is at least IOU, such as 0.5.",
    ),
]

LabelBlockShape = Annotated[
    Triple | None,
    typer.Option(
        callback=in_range(numbers.SizeTriple),
        metavar="Z Y X",
        help="Size of a block of labels, voxels; never changes the result.  [default: by memory]",
    ),
]

StitchMode = Annotated[
    Literal["exact", "none"],
    typer.Option(
        help="exact: the labels do not depend on the blocks. none: segments end at block borders."
    ),
]

# How it is spread over processes and machines.
Resume = Annotated[bool, typer.Option("--resume", help="Continue a run that was interrupted.")]
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
        help="Compute part K of N (1 to N), or `slurm` for the part of this task of a job array; "
        "then run `emds merge`.",
    ),
]
Launcher = Annotated[
    str,
    typer.Option(
        metavar="WORDS",
        help="Words to put before the command of each worker, such as `srun --exact -n1 -c4`, so "
        "that it runs on another machine that sees the same files.",
    ),
]
MaxMemory = Annotated[
    str | None,
    typer.Option(
        metavar="SIZE",
        help="Memory to use, approximately, such as 2GiB; workers share it. Counts Python and "
        "libraries (400 MiB), blocks and tables, but not the network.  [default: a quarter of the "
        "RAM]",
    ),
]
MaxResidual = Annotated[
    int | None,
    typer.Option(
        callback=in_range(numbers.Count),
        metavar="N",
        help="Maximum number of inter-block edges held in memory; larger graphs are solved in "
        "groups. Never changes the result.  [default: by memory]",
    ),
]
VerifyInput = Annotated[
    Literal["files", "full"],
    typer.Option(
        help="How to check that the input did not change during the run. files: read again only "
        "what was read from files whose size or time has changed. full: read everything again at "
        "the end.",
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Print the plan and its cost; write nothing.")
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
        "Sections to validate on, end excluded; nothing is learnt from them.  [default: the last "
        "third of the region, from 4 to 24 sections]",
    ),
]
InitialParts = Annotated[
    list[Any] | None,
    typer.Option(
        "--init",
        parser=parse_part,
        metavar="PART=PATH",
        help="Initialise a network (denoiser, segmenter, fusion) from a checkpoint, or a TransUNet "
        "from published .npz weights; repeatable.",
    ),
]
