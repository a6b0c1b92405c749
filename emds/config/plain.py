"""YAML that a person wrote, read as plain data; what could mean two things is refused."""

from __future__ import annotations

import re
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml
from typing_extensions import override

from emds.errors import ConfigError
from emds.files import note_input

_LARGEST_BYTES = 2**20
_DEEPEST = 20
_MOST_VALUES = 10_000
_PLAIN_TAGS = {
    f"tag:yaml.org,2002:{kind}"
    for kind in ("str", "int", "float", "bool", "null", "map", "seq", "merge", "value")
}
# By kind: what looks like something else, and what YAML 1.1 makes of it.
_MISLEADING = {
    "bool": (re.compile(r"yes|no|on|off|y|n", re.IGNORECASE), "a truth value"),
    "int": (re.compile(r"[-+]?0[0-7_]+|.*:.*"), "a number to the base 8 or 60"),
    "float": (re.compile(r".*:.*"), "a number to the base 60"),
    "timestamp": (re.compile(r".*", re.DOTALL), "a date"),
}


def read_mapping(file: Path, what: str) -> dict[str, Any]:
    """Read a YAML or JSON file of keys and values.

    Parameters
    ----------
    file : Path
        At most 1 MiB.
    what : str
        What messages call it, e.g. ``config file``.

    Raises
    ------
    ConfigError
        If it cannot be read or holds something else; if a key comes twice in a mapping, or it is
        nested or refers to itself beyond all reason. The message names the line.
    """
    note_input(file)
    try:
        with file.open("rb") as stream:
            content = stream.read(_LARGEST_BYTES + 1)
        text = content.decode("utf-8")
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot read {what} {file}: {error}") from None
    if len(content) > _LARGEST_BYTES:
        raise ConfigError(f"cannot read {what} {file}: it has over 1 MiB; is it the right file?")
    values = parse_yaml(text, f"cannot read {what} {file}")
    if not isinstance(values, dict):
        raise ConfigError(f"{what} {file} must hold a mapping of keys, not {values!r:.60}.")
    for key in values:
        if not isinstance(key, str):
            raise ConfigError(f"{what} {file} must have words as keys, not {key!r:.60}.")
    return values


def parse_yaml(text: str, complaint: str) -> Any:
    """Read one YAML value.

    Parameters
    ----------
    text : str
        The YAML text.
    complaint : str
        Beginning of the error message.

    Raises
    ------
    ConfigError
        As `read_mapping`.

    Examples
    --------
    >>> parse_yaml("{lr: 1e-3, betas: [0.9, 0.99]}", "--set")
    {'lr': '1e-3', 'betas': [0.9, 0.99]}
    >>> parse_yaml("{lr: 1, lr: 2}", "--set optimizer")
    Traceback (most recent call last):
    emds.errors.ConfigError: --set optimizer: line 1, column 9: the key 'lr' comes twice.
    """
    try:
        return _Loader(text).get_single_data()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        raise ConfigError(f"{complaint}: {place}{reason}.") from None
    except (yaml.YAMLError, ValueError, OverflowError, LookupError, TypeError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise ConfigError(f"{complaint}: {reason:.200}.") from None


class _Loader(yaml.SafeLoader):
    """Plain data, of a depth and a size that a person writes, and with each key once."""

    def __init__(self, text: str) -> None:
        self._depth = 0
        self._values: dict[yaml.Node, int] = {}
        super().__init__(text)

    @override
    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event: yaml.Event = super().peek_event()  # type: ignore[no-untyped-call]
        self._depth += 1
        if self._depth > _DEEPEST:
            raise _refusal(f"nested more than {_DEEPEST} deep", event)
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        if isinstance(node, yaml.ScalarNode):
            _refuse_ambiguous(node)
        elif node is not None and node.tag not in _PLAIN_TAGS:
            raise _refusal(f"a value of the kind {node.tag!r} is no plain data", node)
        if isinstance(event, yaml.AliasEvent) and node not in self._values:
            raise _refusal("it holds itself", event)
        # A node that is referred to counts each time: it is a value each time.
        if node is not None and node not in self._values:
            self._values[node] = 1 + sum(self._values.get(inner, 1) for inner in _inside(node))
            if self._values[node] > _MOST_VALUES:
                raise _refusal(f"over {_MOST_VALUES} values", event)
        return node

    @override
    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            if not isinstance(key, Hashable):
                continue  # refused below
            if key in seen:
                raise _refusal(f"the key {key!r:.60} comes twice", key_node)
            seen.add(key)
        return super().construct_mapping(node, deep)


def _refuse_ambiguous(node: yaml.ScalarNode) -> None:
    """Refuse what YAML 1.1, which PyYAML reads, takes for something else than it looks like."""
    kind, text = node.tag.rpartition(":")[2], str(node.value)
    found = _MISLEADING.get(kind)
    if found is not None and found[0].fullmatch(text):
        raise _refusal(
            f"{text!r:.60} is {found[1]} to YAML. Write it otherwise, or in quotes", node
        )
    if node.tag not in _PLAIN_TAGS:
        raise _refusal(f"a value of the kind {node.tag!r} is no plain data", node)


def _inside(node: yaml.Node) -> list[yaml.Node]:
    if isinstance(node, yaml.MappingNode):
        return [inner for pair in node.value for inner in pair]
    return list(node.value) if isinstance(node, yaml.SequenceNode) else []


def _refusal(problem: str, place: yaml.Node | yaml.Event) -> yaml.MarkedYAMLError:
    mark: Any = place.start_mark
    return yaml.MarkedYAMLError(problem=problem, problem_mark=mark)
