"""gateway.yaml and PILOT_GATEWAY__… variables → GatewayFile, put together by pydantic-settings.

``PILOT_GATEWAY__SINKS__INFLUXDB__URL`` is ``sinks.influxdb.url``. A variable wins over the file, an empty one does
not count (compose files set variables to nothing), one that no key answers to is a mistake like any other unknown key.

The order of the sources and the merging are the library's; the sources are ours, because its own environment source
asks only for the variables it knows (a misspelt one is ignored) and neither of its sources says where a value stood.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource

from gateway.settings.model import GatewayFile
from gateway.settings.translate import Mistakes
from gateway.settings.tree import Node
from gateway.settings.validate import attempt

PREFIX = "PILOT_GATEWAY__"


def gateway_file(file: Node, environ: Mapping[str, str], mistakes: Mistakes) -> tuple[GatewayFile | None, Node]:
    """The options, or None and mistakes; and the tree of everything that was said, each value with its place."""
    trees = (_variables(environ, file, mistakes), file)  # the first wins
    everything = _Everything(GatewayFile)

    class Here(GatewayFile):
        """GatewayFile from these sources."""

        @classmethod
        def settings_customise_sources(
            cls, settings_cls: type[BaseSettings], *_: Any, **__: Any
        ) -> tuple[PydanticBaseSettingsSource, ...]:
            return (*(_Said(settings_cls, tree) for tree in trees), everything)

    options = attempt(GatewayFile, Here, lambda: _placed(everything.values, trees), mistakes)
    return options, _placed(everything.values, trees)


class _Said(PydanticBaseSettingsSource):
    """Everything that a tree says, also under keys that nobody knows."""

    def __init__(self, settings_cls: type[BaseSettings], tree: Node) -> None:
        super().__init__(settings_cls)
        self._tree = tree

    def __call__(self) -> dict[str, Any]:
        values: dict[str, Any] = self._tree.plain()
        return values

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return self().get(field_name), field_name, False


class _Everything(PydanticBaseSettingsSource):
    """Asked last: says nothing, and keeps what the others said together."""

    values: Mapping[str, Any]

    def __call__(self) -> dict[str, Any]:
        self.values = self.current_state
        return {}

    def get_field_value(self, field: FieldInfo, field_name: str) -> tuple[Any, str, bool]:
        return None, field_name, False


def _placed(value: object, said: Sequence[Node]) -> Node:
    """A merged value with its place. ``said``: what stands there in each source that says something; the first wins."""
    if not isinstance(value, dict):
        return said[0]
    maps = [node for node in said if isinstance(node.value, dict)]
    below = {key: _placed(child, [node.map[key] for node in maps if key in node.map]) for key, child in value.items()}
    return Node(below, maps[-1].file, maps[-1].line)


# ------------------------------------------------------------------------------------------------- the variables


def _variables(environ: Mapping[str, str], file: Node, mistakes: Mistakes) -> Node:
    """The tree that the variables whose names begin with ``PILOT_GATEWAY__`` make."""
    tree = Node({}, "environment", 0)
    for variable in sorted(environ):
        if variable.startswith(PREFIX) and environ[variable].strip():
            source = f"environment {variable}"
            mistakes.read(source)
            steps = variable.removeprefix(PREFIX).lower().split("__")
            if not all(steps):
                mistakes.add(Node(None, source, 0), "", f"not a name; write {PREFIX}KEY or {PREFIX}KEY__KEY")
                continue
            leaf = Node(environ[variable].strip(), source, 0, from_text=True)
            tree = _put(tree, _spelt(steps, file), leaf)
    return tree


def _spelt(steps: Sequence[str], file: Node) -> list[str]:
    """A variable cannot hold ``-``: PLANT_MQTT also means the key ``plant-mqtt``, where the file has one."""
    names: list[str] = []
    for step in steps:
        near = (key for key in file.map if key.lower().replace("-", "_") == step)
        names.append(step if step in file.map else next(near, step))
        file = file.map.get(names[-1], Node(None, "", 0))
    return names


def _put(tree: Node, steps: Sequence[str], leaf: Node) -> Node:
    if not steps:
        return leaf
    child = tree.map.get(steps[0])
    if child is None or not isinstance(child.value, dict):
        child = Node({}, leaf.file, 0)
    return tree.replaced(steps[0], _put(child, steps[1:], leaf))
