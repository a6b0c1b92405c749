"""What a run was asked to do, kept beside its unfinished output."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from emds.compare import differences
from emds.errors import OutputExistsError
from emds.files import write_text


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run that can be continued.

    Attributes
    ----------
    request : dict
        With which another process can take part.
    identity : dict
        All that decides what is written: configuration, model, input, grid, version. A run is
        continued only by one that has the same.
    """

    request: Mapping[str, Any]
    identity: Mapping[str, Any]

    def save(self, path: Path) -> None:
        """Write it whole or not at all."""
        content: dict[str, Any] = {"request": self.request, "identity": self.identity}
        content["sha256"] = _hash(content)
        write_text(path, json.dumps(content, indent=1))

    @classmethod
    def load(cls, path: Path) -> RunRecord:
        """Read what `save` wrote.

        Raises
        ------
        OutputExistsError
            If the file is damaged.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            if content.pop("sha256") != _hash(content):
                raise ValueError("its hash does not fit")
            return cls(content["request"], content["identity"])
        except (ValueError, KeyError, TypeError, AttributeError):
            raise OutputExistsError(
                f"{path} is damaged, so the run it belongs to cannot be continued. Start anew "
                "with --overwrite."
            ) from None

    def refuse_other(self, identity: Mapping[str, Any], place: str) -> None:
        """Refuse to continue this run as one that would write something else.

        Raises
        ------
        OutputExistsError
            With every field that differs.
        """
        same = json.loads(json.dumps(identity))  # as it looks after a round trip
        found = differences(self.identity, same)
        if found:
            raise OutputExistsError(
                f"{place} was begun by another run, which this one cannot continue: "
                f"{'; '.join(found)}. Repeat the first command, or start anew with --overwrite."
            )


def _hash(content: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
