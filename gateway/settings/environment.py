"""PILOT_GATEWAY__… variables laid over the tree of gateway.yaml. Pure.

``PILOT_GATEWAY__SINKS__INFLUXDB__URL`` is ``sinks.influxdb.url``. A variable wins over the file, an empty one does
not count (compose files set variables to nothing), one that no key answers to is a mistake like any other unknown
key: pydantic-settings would ignore it, and cannot say which variable a mistake came from.
"""

from __future__ import annotations

from collections.abc import Mapping

from gateway.settings.translate import Mistakes
from gateway.settings.tree import Node

PREFIX = "PILOT_GATEWAY__"


def overlay(tree: Node, environ: Mapping[str, str], mistakes: Mistakes) -> Node:
    """The tree with every variable that begins with ``PILOT_GATEWAY__`` put in."""
    for variable in sorted(environ):
        if variable.startswith(PREFIX) and environ[variable].strip():
            source = f"environment {variable}"
            mistakes.read(source)
            steps = variable.removeprefix(PREFIX).lower().split("__")
            if not all(steps):
                mistakes.add(Node(None, source, 0), "", f"not a name; write {PREFIX}KEY or {PREFIX}KEY__KEY")
                continue
            tree = _put(tree, steps, Node(environ[variable].strip(), source, 0, from_text=True))
    return tree


def _put(tree: Node, steps: list[str], leaf: Node) -> Node:
    name = _spelling(tree, steps[0])
    if len(steps) == 1:
        return tree.replaced(name, leaf)
    child = tree.map.get(name)
    if child is None or not isinstance(child.value, dict):
        child = Node({}, leaf.file, 0)
    return tree.replaced(name, _put(child, steps[1:], leaf))


def _spelling(tree: Node, name: str) -> str:
    """A variable cannot hold ``-``: PLANT_MQTT also means the key ``plant-mqtt``, where there is one."""
    if name in tree.map:
        return name
    return next((key for key in tree.map if key.lower().replace("-", "_") == name), name)
