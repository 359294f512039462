"""Reading files into trees: the only I/O of the settings besides looking at secret files."""

from __future__ import annotations

from pathlib import Path

from gateway.settings.translate import Mistakes
from gateway.settings.tree import MAX_BYTES, Node, parse


def read(path: Path, mistakes: Mistakes) -> Node | None:
    """The map that a YAML file holds; None, and mistakes, where it cannot be read or is something else."""
    file = str(path)
    mistakes.read(file)
    nowhere = Node(None, file, 0)
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
    except FileNotFoundError:
        mistakes.add(nowhere, "", "the file does not exist")
        return None
    except (OSError, ValueError) as error:
        mistakes.add(nowhere, "", f"the file cannot be read: {getattr(error, 'strerror', None) or error}")
        return None
    tree, found = parse(data, file)
    mistakes.extend(found)
    if tree and not isinstance(tree.value, dict):
        mistakes.add(tree, "", "must be a map of keys, one 'key: value' per line")
        return None
    return tree
