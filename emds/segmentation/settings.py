"""How affinities become labels: proposed by a checkpoint, changed by a user, kept in an output."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from emds.errors import UsageError
from emds.geometry import Triple

LABELLERS = {
    "mutex-watershed": "emds.segmentation.labellers.mutex_watershed",
    "connected-components": "emds.segmentation.labellers.connected_components",
}
"""The ways from affinities to segments and their modules, see `emds.segmentation.labeller`."""

Stitch = Literal["exact", "none"]
Backend = Literal["numba", "elf"]


@dataclass(frozen=True, slots=True)
class LabelSettings:
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
        Of the mutex watershed.
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

    mutex_strides: Triple = (1, 1, 1)
    min_size: int = 0
    bias: tuple[float, ...] = ()
    backend: Backend = "numba"
    stitch: Stitch = "exact"
    link_sections: float | None = None
    labeller: str = "mutex-watershed"

    def __post_init__(self) -> None:
        if len(self.mutex_strides) != 3 or min(self.mutex_strides) < 1:
            raise UsageError(
                f"mutex_strides must be three numbers from 1 up, not {self.mutex_strides}."
            )
        if self.labeller not in LABELLERS:
            raise UsageError(
                f"labeller must be one of {', '.join(LABELLERS)}, not {self.labeller!r}."
            )
        if self.min_size < 0:
            raise UsageError(f"min_size must be 0 voxels or more, not {self.min_size}.")
        if self.backend not in ("numba", "elf"):
            raise UsageError(f"backend must be 'numba' or 'elf', not {self.backend!r}.")
        if self.stitch not in ("exact", "none"):
            raise UsageError(f"stitch must be 'exact' or 'none', not {self.stitch!r}.")
        if self.link_sections is not None and not 0 < self.link_sections <= 1:
            raise UsageError(
                f"link_sections must be above 0 and at most 1, not {self.link_sections:g}: it is "
                "the least overlap of two segments, shared pixels over all that they cover."
            )

    def described(self) -> dict[str, Any]:
        """Return the settings as JSON primitives."""
        return asdict(self)
