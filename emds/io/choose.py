"""Which array of a file a command means when the user did not say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from emds.errors import VolumeError
from emds.io.runs import one_line
from emds.io.source import ArraySource, Found, Role, why_not

_LISTED = 20

# The first of these that a file holds is taken without asking.
USUAL_NAMES: dict[Role, tuple[str, ...]] = {
    "raw": ("volumes/raw", "", "raw"),
    "labels": ("volumes/labels/neuron_ids", "labels/neurons", "neuron_ids", "neurons"),
    "affinities": ("affinities", "volumes/affinities"),
}


def choose_array(location: str, found: Found, role: Role | None) -> ArraySource:
    """Return the array that is meant.

    An array that the user named is taken as it is; otherwise the usual name for the role, then
    the only array that can play it.

    Parameters
    ----------
    location : str
        What the user wrote; used in messages.
    found : Found
        The arrays of the file.
    role : Role or None
        What the command needs.

    Raises
    ------
    VolumeError
        If no array fits, or several do: the message lists them and shows how to name one.
    """
    sources = found.sources
    if not sources:
        raise VolumeError(f"cannot read {location!r}: it holds no arrays.")
    if found.explicit:
        reason = why_not(sources[0], role, explicit=True)
        if reason:
            raise VolumeError(f"cannot read {sources[0].location!r}{_as(role)}: {reason}.")
        return sources[0]
    if found.mixed:
        raise VolumeError(
            f"cannot read {location!r}{_as(role)}: {found.mixed}. It holds {len(sources)} arrays, "
            f"and each leaves out the others:\n{_list(sources)}\n"
            f"Name the one that is meant, e.g. {one_line(sources[0].location)}"
        )
    reasons = [why_not(source, role, explicit=False) for source in sources]
    fitting = [source for source, reason in zip(sources, reasons, strict=True) if reason is None]
    for name in USUAL_NAMES[role] if role else ("",):
        for source in fitting:
            if source.name == name:
                return source
    declared = [source for source in fitting if role and source.meant_as == role]
    for candidates in (declared, fitting):
        if len(candidates) == 1:
            return _with_left_out(candidates[0], sources)
    if len(sources) == 1:
        raise VolumeError(f"cannot read {sources[0].location!r}{_as(role)}: {reasons[0]}.")
    if fitting:
        shown = declared or fitting
        raise VolumeError(
            f"cannot read {location!r}{_as(role)}: it holds {len(shown)} arrays that could be "
            f"meant:\n{_list(shown)}\nName one, e.g. {one_line(shown[0].location)}"
        )
    raise VolumeError(
        f"cannot read {location!r}{_as(role)}: none of its {len(sources)} arrays fits:\n"
        f"{_list(sources, reasons)}\nName one, e.g. {one_line(sources[0].location)}"
    )


def _list(sources: Sequence[ArraySource], reasons: Sequence[str | None] | None = None) -> str:
    lines = [f"  {source.described()}" for source in sources[:_LISTED]]
    if reasons is not None:
        lines = [f"{line}: {reason}" for line, reason in zip(lines, reasons, strict=False)]
    if len(sources) > _LISTED:
        lines.append(f"  and {len(sources) - _LISTED} more")
    return "\n".join(lines)


def _with_left_out(chosen: ArraySource, sources: Sequence[ArraySource]) -> ArraySource:
    """Remark on images beside the chosen one that nothing but their type or axes ruled out."""
    others = [
        source
        for source in sources
        if source is not chosen
        and source.meant_as in (None, chosen.meant_as)
        and source.values.dtype.kind in "buif"
        and len(source.values.shape) > 1
    ]
    if not others:
        return chosen
    more = f" and {len(others) - 1} more" if len(others) > 1 else ""
    remark = f"it is the only array that fits; beside it is {others[0].described()}{more}"
    return replace(chosen, remarks=(*chosen.remarks, remark))


def _as(role: Role | None) -> str:
    words = {None: "", "raw": " as raw image", "labels": " as labels"}
    return words.get(role, f" as {role}")
