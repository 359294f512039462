"""One tree, one model: the validated options, or the mistakes.

YAML's own types count: a quoted number is text, 1 is not true. Only what came from the environment, where all is
text, is read again as YAML where text does not fit.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from gateway.settings.translate import Mistakes, translate, type_errors
from gateway.settings.tree import Node, parse

Model = TypeVar("Model", bound=BaseModel)


def validate(model: type[Model], tree: Node, mistakes: Mistakes, within: str = "") -> Model | None:
    """The options that ``tree`` says; None and mistakes where it is wrong."""
    return attempt(model, lambda: _strictly(model, tree), lambda: tree, mistakes, within)


def attempt(
    model: type[Model], make: Callable[[], Model], tree: Callable[[], Node], mistakes: Mistakes, within: str = ""
) -> Model | None:
    """What ``make`` makes of the tree; None and mistakes where it raises ValidationError."""
    while True:
        try:
            return make()
        except ValidationError as error:
            texts = type_errors(error, tree())
            if not texts:
                mistakes.extend(translate(error, model, tree(), within))
                return None
            for node in texts:
                _read_as_yaml(node)


def valid(model: type[Model], tree: Node) -> Model | None:
    """The options that ``tree`` says, or None: for a look at something whose mistakes are told elsewhere."""
    try:
        return _strictly(model, tree)
    except ValidationError:
        return None


def _strictly(model: type[Model], tree: Node) -> Model:
    """Through JSON, because that is where pydantic's strict mode takes a list for a tuple and a word for an enum."""
    return model.model_validate_json(json.dumps(tree.plain()), strict=True)


def _read_as_yaml(node: Node) -> None:
    """A value from the environment is not text after all; what cannot be read stays as it is."""
    node.from_text = False
    tree, trouble = parse(str(node.value).encode(errors="replace"), node.file)
    if tree and not trouble:
        node.value = _placed(tree, node.file).value


def _placed(tree: Node, file: str) -> Node:
    """The same without line numbers, which mean nothing in a variable."""
    if isinstance(tree.value, dict):
        return Node({key: _placed(child, file) for key, child in tree.value.items()}, file, 0)
    if isinstance(tree.value, list):
        return Node([_placed(child, file) for child in tree.value], file, 0)
    return Node(tree.value, file, 0)


def locate_files(tree: Node, folder: Path, mistakes: Mistakes, within: str = "", look: bool = True) -> Node:
    """Every ``…_file`` (and ``pki`` folder) in a map and the maps below it made absolute, and files looked at: can
    they be read? ``look`` False: whoever asks does not use them.

    Relative paths start at the folder of the file they are written in.
    """
    children = dict(tree.map)
    for name, child in tree.map.items():
        key = f"{within}.{name}".removeprefix(".")
        if isinstance(child.value, dict):
            children[name] = locate_files(child, folder, mistakes, key, look)
        elif name == "pki" and isinstance(child.value, str) and child.value:
            children[name] = Node(str(folder / child.value), child.file, child.line)
        elif name.endswith("_file") and isinstance(child.value, str) and child.value:
            path = folder / child.value
            children[name] = Node(str(path), child.file, child.line)
            trouble = _unreadable(path, name) if look else ""
            if trouble:
                mistakes.add(child, key, trouble)
            if name.removesuffix("_file") in tree.map:
                mistakes.add(child, key, f"give {name.removesuffix('_file')} or {name}, not both")
                del children[name]
    return Node(children, tree.file, tree.line)


def _unreadable(path: Path, name: str) -> str:
    """Why the file cannot be used; empty when it can."""
    try:
        with path.open("rb") as file:
            content = file.read(65_537)
    except FileNotFoundError:
        return f"{path} does not exist"
    except PermissionError:
        return f"{path} may not be read by this user; give it read access (chmod, chown)"
    except (OSError, ValueError) as error:
        return f"{path} cannot be read: {getattr(error, 'strerror', None) or error}"
    if not content.strip():
        return f"{path} is empty"
    if name in ("token_file", "password_file") and len(content) > 65_536:
        return f"{path} is too large for a secret"
    return ""
