"""What on the disk is ours: the mark of an unfinished output, and what is in a folder beside ours.

Whatever stands at ``X.partial`` is only touched if it is a folder whose mark says that it is the
unfinished form of ``X``, and only removed if nothing lies in it that emds did not write.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from pathlib import Path
from typing import Any

import emds
from emds.errors import OutputExistsError
from emds.files import write_text
from emds.io.location import ZARR_METADATA
from emds.io.locks import close, lock, open_folder
from emds.io.mark import attributes_of, is_written_by_emds, is_zarr_array

WORK_FOLDER = ".emds"
REPLACED = "replaced"
"""Where in the work folder the old output waits until the new one has taken its place."""

_MARK = "output.json"
_WORK_FILES = re.compile(
    r"(output|run|metadata|reproduce)\.json|[0-9a-f]+\.json\.gz|done-.+\.jsonl|\d+\.(npz|txt)"
    r"|\w+\.npy|state\.pt|stop|workers\.lock|\..+\.emds"
)
_METADATA = {*ZARR_METADATA, ".zattrs", ".zmetadata"}
_CHUNKS = re.compile(r"c|\d+(\.\d+)*")  # of version 3, and of version 2
_TORN = re.compile(r".+\.[0-9a-f]+\.partial")
"""How zarr names a file that it is writing."""


def write_mark(folder: Path, target: Path, **facts: Any) -> None:
    """Say in a folder that emds made it, and of which output it is the unfinished form."""
    content = {"emds": emds.__version__, "output": target.name, **facts}
    write_text(folder / WORK_FOLDER / _MARK, json.dumps(content) + "\n")


def read_mark(folder: Path, target: Path) -> dict[str, Any] | None:
    """Return what `write_mark` said of the output `target`; None if `folder` is not ours."""
    work = folder / WORK_FOLDER
    if any(path.is_symlink() or not path.is_dir() for path in (folder, work)):
        return None
    try:
        content = json.loads((work / _MARK).read_bytes())
    except (OSError, ValueError):
        return None
    is_ours = isinstance(content, dict) and content.get("output") == target.name
    return content if is_ours else None


def why_not_replaceable(target: Path) -> str | None:
    """Say why what lies at a target is never overwritten, as a clause; None if it may be."""
    if target.is_symlink():
        return f"is a link to {str(target.readlink())!r}, which emds does not follow to write"
    if target.is_file():
        return None
    if not target.is_dir():
        return "is neither a file nor a folder"
    if not is_written_by_emds(target):
        return "is a folder that emds did not write"
    foreign = first_foreign(target)
    return None if foreign is None else f"holds {str(foreign)!r}, which emds did not write"


def first_foreign(
    folder: Path, *, unfinished: bool = False, but_for: str | None = None
) -> Path | None:
    """Return something in a zarr folder that emds did not write; None if there is nothing.

    Parameters
    ----------
    folder : Path
        A container, or the unfinished form of one.
    unfinished : bool
        What a killed process has left may be half of what it was to be.
    but_for : str, optional
        Name of the file that a folder is to hold which is no zarr.
    """
    for path in sorted(folder.iterdir()):
        if path.name == but_for and not path.is_symlink():
            continue
        is_work = path.name == WORK_FOLDER and path.is_dir() and not path.is_symlink()
        found = _foreign_work(path) if is_work else _foreign(path, unfinished)
        if found is not None:
            return found
    return None


def _foreign_work(work: Path) -> Path | None:
    """Return what has no name of a file of a run in a work folder, or is a link."""
    for folder, folders, names in os.walk(work):
        if Path(folder) == work and REPLACED in folders:
            folders.remove(REPLACED)
        for name in (*folders, *names):
            path = Path(folder, name)
            if path.is_symlink() or (name in names and not _WORK_FILES.fullmatch(name)):
                return path
    return None


def _foreign(path: Path, unfinished: bool) -> Path | None:
    if path.is_symlink():
        return path
    if not path.is_dir():
        torn = unfinished and _TORN.fullmatch(path.name)
        return None if path.name in _METADATA or torn else path
    inside = sorted(path.iterdir())
    if is_zarr_array(path):
        if "emds" not in attributes_of(path) and not unfinished:
            return path
        chunks = [each for each in inside if _CHUNKS.fullmatch(each.name)]
        found = next(filter(None, (_foreign_chunk(each, unfinished) for each in chunks)), None)
        if found is not None:
            return found
        inside = [each for each in inside if each not in chunks]
    found = next(filter(None, (_foreign(each, unfinished) for each in inside)), None)
    if found is None and inside and not (unfinished or is_written_by_emds(path)):
        return path  # a group with attributes and no array
    return found


def _foreign_chunk(path: Path, unfinished: bool) -> Path | None:
    """Return what has no name of a chunk in a folder of chunks, or is a link."""
    if path.is_symlink():
        return path
    for folder, folders, names in os.walk(path):
        for name in (*folders, *names):
            torn = unfinished and _TORN.fullmatch(name)
            if not (_CHUNKS.fullmatch(name) or torn) or os.path.islink(Path(folder, name)):
                return Path(folder, name)
    return None


def holds_work(partial: Path) -> bool:
    """Say whether anything was done in an unfinished container but setting it up."""
    for folder, folders, names in os.walk(partial):
        if Path(folder) == partial and WORK_FOLDER in folders:
            folders.remove(WORK_FOLDER)
        if any(name not in _METADATA and not _TORN.fullmatch(name) for name in names):
            return True
    return (partial / WORK_FOLDER / "done").exists()


def remove_torn(folder: Path) -> None:
    """Remove what zarr was writing below a folder when it was killed."""
    for path in list(folder.rglob("*.partial")):
        if _TORN.fullmatch(path.name) and path.is_file() and not path.is_symlink():
            path.unlink()


def remove_contents(folder: Path) -> None:
    """Empty a marked folder, but for its mark."""
    for path in folder.iterdir():
        if path.name != WORK_FOLDER:
            remove(path)
    for path in (folder / WORK_FOLDER).iterdir():
        if path.name != _MARK:
            remove(path)


def remove_marked(folder: Path) -> None:
    """Remove a marked folder, in such an order that what a kill leaves of it has its mark."""
    remove_contents(folder)
    passing = passing_name(folder)
    folder.rename(passing)
    remove(passing)


def remove_mark(target: Path) -> None:
    """Remove the work folder from an output that is finished, its mark last."""
    work = target / WORK_FOLDER
    for path in work.iterdir():
        if path.name != _MARK:
            remove(path)
    remove(work / _MARK)
    work.rmdir()


def claim_folder(folder: Path, command: str) -> None:
    """Make a folder for a command to fill, now and when it is repeated.

    Raises
    ------
    OutputExistsError
        If something is in it, and no mark says that the command has filled it.
    """
    mark = folder / WORK_FOLDER / f"{command}.json"
    if mark.is_file():
        return
    if folder.exists() and any(path.name != WORK_FOLDER for path in folder.iterdir()):
        raise OutputExistsError(
            f"{folder} holds something that emds {command} did not put there. Choose another --out "
            f"(if an earlier version of emds began it, make an empty file {str(mark)!r})."
        )
    write_text(mark, json.dumps({"emds": emds.__version__}) + "\n")


def passing_name(partial: Path) -> Path:
    """Return a name for a moment, under which a folder gets its mark or loses it."""
    return partial.with_name(f".{partial.name}.{os.getpid()}.emds")


def sweep_passing(partial: Path) -> None:
    """Remove what killed processes have left under such names: folders with a mark, at most."""
    pattern = re.compile(re.escape(f".{partial.name}.") + r"(\d+)\.emds")
    for path in partial.parent.iterdir():
        found = pattern.fullmatch(path.name)
        if found is None or _is_of_another(int(found[1])):
            continue
        handle = open_folder(path)
        if handle is not None and lock(handle, fcntl.LOCK_EX) and holds_only_mark(path):
            remove(path)
        close(handle)


def holds_only_mark(folder: Path) -> bool:
    """Say whether nothing but a mark, perhaps a torn one, is in a folder."""
    below = {path.relative_to(folder).parts for path in folder.rglob("*")}
    return below <= {(WORK_FOLDER,), (WORK_FOLDER, _MARK), (WORK_FOLDER, f".{_MARK}.emds")}


def _is_of_another(process: int) -> bool:
    return process != os.getpid() and Path("/proc", str(process)).exists()


def remove(path: Path) -> None:
    """Remove a file or a whole folder, if it is there; of a link, the link."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
