"""Which array of a file a command means when the user did not say."""

from __future__ import annotations

from emds.errors import VolumeError
from emds.io.source import ArraySource, Found, Role, why_not

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
    reasons = [why_not(source, role, explicit=False) for source in sources]
    fitting = [source for source, reason in zip(sources, reasons, strict=True) if reason is None]
    for name in USUAL_NAMES[role] if role else ("",):
        for source in fitting:
            if source.name == name:
                return source
    declared = [source for source in fitting if role and source.meant_as == role]
    for candidates in (declared, fitting):
        if len(candidates) == 1:
            return candidates[0]
    if len(sources) == 1:
        raise VolumeError(f"cannot read {sources[0].location!r}{_as(role)}: {reasons[0]}.")
    if fitting:
        shown = declared or fitting
        lines = [f"  {source.described()}" for source in shown]
        raise VolumeError(
            f"cannot read {location!r}{_as(role)}: it holds {len(shown)} arrays that could be "
            f"meant:\n" + "\n".join(lines) + f"\nName one, e.g. {shown[0].location}"
        )
    lines = [
        f"  {source.described()}: {reason}" for source, reason in zip(sources, reasons, strict=True)
    ]
    raise VolumeError(
        f"cannot read {location!r}{_as(role)}: none of its {len(sources)} arrays fits:\n"
        + "\n".join(lines)
        + f"\nName one, e.g. {sources[0].location}"
    )


def _as(role: Role | None) -> str:
    words = {None: "", "raw": " as raw image", "labels": " as labels"}
    return words.get(role, f" as {role}")
