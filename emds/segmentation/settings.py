"""How affinities become labels: proposed by a checkpoint, changed by a user, kept in an output."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Literal

from emds import numbers
from emds.numbers import Checked

LABELLERS = {
    "mutex-watershed": "emds.segmentation.labellers.mutex_watershed",
    "connected-components": "emds.segmentation.labellers.connected_components",
}
"""The ways from affinities to segments and their modules, see `emds.segmentation.labeller`."""

if TYPE_CHECKING:
    LabellerName = str
else:
    LabellerName = Literal[tuple(LABELLERS)]

Stitch = Literal["exact", "none"]
Backend = Literal["numba", "elf"]


@dataclass(frozen=True, slots=True)
class LabelSettings(Checked):
    """How affinities become labels.

    Attributes
    ----------
    labeller : str
        The way from affinities to segments, a key of `LABELLERS`.
    mutex_strides : (z, y, x)
        On which voxels mutex edges are used.
    min_size : int
        Segments smaller than this, in voxels, join a neighbour; 0 keeps all.
    bias : tuple of float
        Added to the logits of each channel before they are stored or segmented, see
        `emds.segmentation.bias`; empty where nothing is.
    backend : {"numba", "elf"}
        Implementation of the mutex watershed.
    stitch : {"exact", "none"}
        How blocks become one volume: ``exact`` has the result of the whole volume at once,
        ``none`` leaves the blocks apart.
    link_sections : float or None
        The least overlap at which segments of adjacent sections are one, see
        `emds.segmentation.after.linking`; None leaves sections apart that no offset connects.

    Raises
    ------
    UsageError
        If a value cannot be.
    """

    mutex_strides: numbers.SizeTriple = (1, 1, 1)
    min_size: numbers.Voxels = 0
    bias: tuple[numbers.Logit, ...] = ()
    backend: Backend = "numba"
    stitch: Stitch = "exact"
    link_sections: numbers.Overlap | None = None
    labeller: LabellerName = "mutex-watershed"

    def described(self) -> dict[str, Any]:
        """Return the settings as JSON primitives."""
        return asdict(self)
