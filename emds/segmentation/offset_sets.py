"""Which partners to predict: named sets of offsets, chosen by the shape of a voxel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

from emds.errors import ConfigError
from emds.segmentation.affinities import PAPER_OFFSETS, AffinitySpec, Offset

OffsetSet = Literal["planar", "isotropic", "anisotropic", "auto"]

_LONGEST_CUBE = 2.0  # voxels longer than this along z, in units of y and x, are no cubes any more


def attract_neighbours(offsets: Sequence[Offset]) -> AffinitySpec:
    """Let the partners one voxel away along an axis attract, and all others be mutexes.

    Examples
    --------
    >>> attract_neighbours([(-1, 0, 0), (-1, -1, 0), (0, 0, -9)]).attractive
    (True, False, False)
    """
    chosen = tuple(offsets)
    return AffinitySpec(chosen, tuple(sum(map(abs, offset)) == 1 for offset in chosen))


def _with_z(along: Sequence[int], tilted: tuple[int, int]) -> AffinitySpec:
    """Return the paper's offsets, the neighbour below, and mutexes across sections.

    Parameters
    ----------
    along : sequence of int
        How many sections below a voxel its mutex partners straight along z lie.
    tilted : (int, int)
        Sections below, and voxels aside along either axis, of the partners on a slope: where a
        thin process runs obliquely, a partner straight below lies in its neighbour.
    """
    below, aside = tilted
    slopes = ((-aside, 0), (0, -aside), (aside, 0), (0, aside))
    return attract_neighbours(
        (
            (-1, 0, 0),
            *PAPER_OFFSETS,
            *((-dz, 0, 0) for dz in along),
            *((-below, dy, dx) for dy, dx in slopes),
        )
    )


OFFSET_SETS: Mapping[str, AffinitySpec] = {
    "planar": attract_neighbours(PAPER_OFFSETS),
    "isotropic": _with_z(along=(2, 3), tilted=(2, 5)),
    "anisotropic": _with_z(along=(2,), tilted=(1, 5)),
}
"""``planar``: the paper's ten. ``isotropic``: for cubes, up to three sections below.
``anisotropic``: for voxels some five times as long along z, up to two sections below."""


def choose_offsets(
    asked: OffsetSet | Sequence[Offset],
    voxel_size: tuple[float, float, float] | None,
    attractive: int | None = None,
) -> AffinitySpec:
    """Return the offsets that a configuration means.

    Parameters
    ----------
    asked : str or sequence of (dz, dy, dx)
        A key of `OFFSET_SETS`; ``auto``, which is ``isotropic`` for voxels up to twice as long
        along z as across and ``anisotropic`` for longer ones; or the offsets themselves.
    voxel_size : (z, y, x) or None
        Nanometres; only ``auto`` asks for it.
    attractive : int, optional
        How many of the first offsets attract. Left out, the nearest neighbours do.

    Raises
    ------
    ConfigError
        If ``auto`` is asked for and the voxel size is unknown, or there are fewer offsets than
        shall attract.

    References
    ----------
    Wolf et al., The Mutex Watershed and its Objective, arXiv:1904.12654: long mutex edges in the
    section, short ones and slopes across sections.

    Examples
    --------
    >>> spec = choose_offsets("auto", (40.0, 8.0, 8.0))
    >>> [o for o, attracts in zip(spec.offsets, spec.attractive) if attracts]
    [(-1, 0, 0), (0, -1, 0), (0, 0, -1)]
    >>> [o for o in spec.offsets if o[0] < -1 or o[0] and any(o[1:])]
    [(-2, 0, 0), (-1, -5, 0), (-1, 0, -5), (-1, 5, 0), (-1, 0, 5)]
    >>> choose_offsets("auto", (10.0, 10.0, 10.0)) == OFFSET_SETS["isotropic"]
    True
    >>> choose_offsets([(0, -1, 0), (0, 0, -1)], None, attractive=1).attractive
    (True, False)
    """
    named = _set_for(voxel_size) if asked == "auto" else asked
    offsets = OFFSET_SETS[named].offsets if isinstance(named, str) else tuple(named)
    if attractive is None:
        return attract_neighbours(offsets)
    if attractive > len(offsets):
        raise ConfigError(
            f"config: attractive = {attractive} must not exceed the number of offsets, "
            f"{len(offsets)}."
        )
    return AffinitySpec(offsets, tuple(i < attractive for i in range(len(offsets))))


def _set_for(voxel_size: tuple[float, float, float] | None) -> str:
    if voxel_size is None:
        raise ConfigError(
            "config: offsets = auto goes by the voxel size, which the training images do not "
            "state. Name a set: offsets=isotropic, anisotropic or planar."
        )
    z, y, x = voxel_size
    return "isotropic" if z <= _LONGEST_CUBE * max(y, x) else "anisotropic"
