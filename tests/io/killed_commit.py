"""A process that is killed at every step of replacing an output, and what it then finds.

Run as a program, for it forks; the argument is the folder to work in. It prints one JSON object for
every step of every kind of output.
"""

import itertools
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path

from emds.errors import EmdsError
from emds.io.output import PendingOutput

EVENTS = {"os.rename", "os.remove", "os.rmdir", "os.mkdir"}


def whole(path: Path) -> str | None:
    """Which output lies at a path, if all of it does."""
    file = path / "0" / "c" / "0" if path.suffix == ".zarr" else path
    return file.read_text() if file.is_file() else None


def write(target: Path, text: str, overwrite: bool, armed: Callable[[], None] = int) -> None:
    output = PendingOutput(target, overwrite=overwrite, folder=target.suffix == ".zarr")
    fill(output.content, text, folder=target.suffix == ".zarr")
    armed()
    output.commit()


def fill(content: Path, text: str, folder: bool) -> None:
    if not folder:
        content.write_text(text)
        return
    attributes = {"attributes": {"emds": {}}}
    (content / "zarr.json").write_text(json.dumps(attributes | {"node_type": "group"}))
    (content / "0" / "c").mkdir(parents=True)
    (content / "0" / "zarr.json").write_text(json.dumps(attributes | {"node_type": "array"}))
    (content / "0" / "c" / "0").write_text(text)


def killed_at(step: int, target: Path, committing: bool) -> bool:
    """Replace the output in a process of its own that ends at a step; say whether it did.

    Where it is only killed while `committing`, all has been written by then.
    """
    child = os.fork()
    if child == 0:
        count = 0

        def end(event: str, arguments: object) -> None:
            nonlocal count
            count += event in EVENTS
            if event in EVENTS and count == step:
                os._exit(9)

        def arm() -> None:
            sys.addaudithook(end)

        if not committing:
            arm()
        write(target, "new", True, arm if committing else int)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


def after(target: Path, claim: str) -> str | None:
    """What the next command finds, or why it ends; then what it leaves at the target."""
    try:
        output = PendingOutput(
            target, overwrite=False, folder=target.suffix == ".zarr", claim=claim
        )
        if claim == "resume":
            output.commit()
        else:
            output.abort()
    except EmdsError:
        pass
    return whole(target)


def main() -> None:
    folder = Path(sys.argv[1])
    for kind, claim in itertools.product(("zarr", "tif"), ("new", "resume")):
        step = 0
        while True:
            step += 1
            place = folder / f"{kind}-{claim}-{step}"
            place.mkdir(parents=True)
            target = place / f"out.{kind}"
            write(target, "old", overwrite=False)
            killed = killed_at(step, target, claim == "resume")
            found = {"kind": kind, "claim": claim, "step": step, "at_once": whole(target)}
            found["next"] = after(target, claim)
            write(target, "last", overwrite=True)
            found |= {"last": whole(target), "names": sorted(os.listdir(place))}
            print(json.dumps(found | {"killed": killed}))
            if not killed:
                break


if __name__ == "__main__":
    main()
