"""The way in: :func:`load` for a gateway, :func:`load_line_file` for one line by itself."""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from gateway.core.errors import ConfigError
from gateway.settings.files import read
from gateway.settings.lines import build_line
from gateway.settings.model import ApiOptions, GatewayFile, Line, Settings, SinkOptions
from gateway.settings.sources import gateway_file
from gateway.settings.templates import Templates
from gateway.settings.translate import SLUG, Mistakes, did_you_mean, show
from gateway.settings.tree import Node
from gateway.settings.validate import locate_files, valid, validate
from gateway.sinks import SINKS


def load(path: Path | str, environ: Mapping[str, str] = os.environ) -> Settings:
    """Everything that gateway.yaml, its line files, their templates and the environment say.

    ``path``: gateway.yaml or the folder that holds it. Raises ConfigError with every mistake of all of them.
    """
    file = Path(path)
    file = file / "gateway.yaml" if file.is_dir() else file
    mistakes = Mistakes()
    tree = read(file, mistakes)
    if tree is None:
        if file.is_file():  # its lines are where they usually are, and may be mistaken too
            _lines(Node({"site": Node("unknown", str(file), 0)}, str(file), 0), None, file.parent, mistakes)
        raise ConfigError(mistakes.in_order())
    options, tree = gateway_file(tree, environ, mistakes)
    folder = file.parent.absolute()
    sinks = _sinks(tree, folder, mistakes)
    api = _section(tree, "api", folder, mistakes)
    _check_api(tree, mistakes)
    lines = _lines(tree, options, file.parent, mistakes)
    if mistakes.found or options is None:
        raise ConfigError(mistakes.in_order())
    journal = options.journal.model_copy(update={"directory": folder / options.journal.directory})
    return Settings(
        gateway=options.gateway,
        site=options.site,
        journal=journal,
        sinks=sinks,
        api=options.api.model_copy(update={"token_file": api.text("token_file")}),
        log=options.log,
        lines=tuple(lines),
        file=file,
    )


def load_line_file(path: Path | str, site: str | None = None, templates: Path | None = None, look: bool = True) -> Line:
    """One line file by itself, as ``check``, ``read`` and ``simulate`` take it; raises ConfigError.

    Where not given, ``site`` and the folder of the templates come from the gateway.yaml in a folder above, else the
    folder is the nearest ``templates`` beside or above the file. ``look`` False: the files of secrets and certificates
    that it names need not be there, for whoever plays the line and does not read it.
    """
    mistakes = Mistakes()
    tree = read(Path(path), mistakes)
    if tree is None:
        raise ConfigError(mistakes.in_order())
    return load_line(tree, mistakes, site, templates, look)


def load_line(
    tree: Node, mistakes: Mistakes, site: str | None = None, templates: Path | None = None, look: bool = True
) -> Line:
    """The same for a line file that was read already."""
    file = Path(tree.file)
    above = _gateway_above(file)
    folder = templates or _templates_above(file, above)
    site = site or (above.text("site") if above else None)
    line = build_line(tree, Templates(folder, mistakes), site, mistakes, look)
    if mistakes.found or line is None:
        raise ConfigError(mistakes.in_order())
    return line


def templates_beside(file: Path) -> Path:
    """The folder of the templates that a line file takes where nobody says another."""
    return _templates_above(file, _gateway_above(file))


# ------------------------------------------------------------------------------------------------- gateway.yaml


def _section(tree: Node, name: str, folder: Path, mistakes: Mistakes) -> Node:
    section = tree.map.get(name)
    return locate_files(section, folder, mistakes, name) if section and section.map else Node({}, tree.file, 0)


def _check_api(tree: Node, mistakes: Mistakes) -> None:
    """Whoever can reach the API over the network must show a token."""
    section = tree.map.get("api")
    api = valid(ApiOptions, section) if section else None
    if api and not api.loopback and not api.token and not api.token_file:
        node = tree.map["api"].map["host"]
        mistakes.add(
            node, "api.host", f'"{api.host}" can be reached by others; give token or token_file too, or use 127.0.0.1'
        )


def _sinks(tree: Node, folder: Path, mistakes: Mistakes) -> dict[str, SinkOptions]:
    node = tree.map.get("sinks")
    sinks: dict[str, SinkOptions] = {}
    spellings: dict[str, str] = {}
    for name, sink in (node.map if node else {}).items():
        key = f"sinks.{name}"
        if not re.fullmatch(SLUG, name) or len(name) > 64:
            mistakes.add(sink, key, f'"{name}" cannot be a name; allowed: lower-case letters a-z, digits, - and _')
            continue
        twin = spellings.setdefault(name.replace("-", "_"), name)
        if twin != name:
            mistakes.add(sink, key, f"{twin} and {name} could not be told apart in the environment; rename one")
        if isinstance(sink.value, dict):
            options = _sink(name, sink, folder, mistakes)
            if options is not None:
                sinks[name] = options
    return sinks


def _sink(name: str, node: Node, folder: Path, mistakes: Mistakes) -> SinkOptions | None:
    """One sink; its name says its type where nothing else does."""
    key = f"sinks.{name}"
    if "type" not in node.map and name in SINKS:
        node = node.replaced("type", Node(name, node.file, node.line))
    said = node.map.get("type")
    if said is None:
        mistakes.add(node, f"{key}.type", f"is missing; allowed: {', '.join(SINKS)}")
        return None
    if not isinstance(said.value, str) or said.value not in SINKS:
        mistakes.add(said, f"{key}.type", f"unknown type {show(said)}{did_you_mean(str(said.value), SINKS)}")
        return None
    options = validate(SINKS[said.value].options, locate_files(node, folder, mistakes, key), mistakes, key)
    url = node.map.get("url")
    if options and url and isinstance(url.value, str) and "@" in url.value.split("://")[-1].split("/")[0]:
        mistakes.add(url, f"{key}.url", "holds a user or password; use token, token_file or the environment")
    return cast("SinkOptions | None", options)


# -------------------------------------------------------------------------------------------------------- lines


def _lines(tree: Node, options: GatewayFile | None, folder: Path, mistakes: Mistakes) -> list[Line]:
    """Every line file that ``lines`` names, also when gateway.yaml itself is mistaken."""
    patterns = options.lines if options else _texts(tree.map.get("lines")) or ("lines/*.yaml",)
    name = options.templates if options else tree.text("templates") or "templates"
    site = options.site if options else tree.text("site")
    templates = Templates(folder / name, mistakes)
    place = tree.map.get("lines") or Node(None, tree.file, 0)
    lines: list[Line] = []
    seen: dict[tuple[str, str], str] = {}
    links: dict[str, tuple[str, str]] = {}
    for path in _files(patterns, folder, place, mistakes):
        file = read(path, mistakes)
        line = build_line(file, templates, site, mistakes) if file else None
        if file and (said := file.map.get("line")) and isinstance(said.value, str):
            identity = (file.text("site") or site or "", said.value)
            if identity in seen:
                mistakes.add(
                    said, "line", f"two lines are called {'/'.join(identity)}; the other is in {seen[identity]}"
                )
            seen.setdefault(identity, f"{path}:{said.line}")
        if file:
            _check_links(file, links, mistakes)
        if line:
            lines.append(line)
    return lines


def _check_links(file: Node, seen: dict[str, tuple[str, str]], mistakes: Mistakes) -> None:
    """Logs and the status page know a link by its id alone, so two lines may not share one."""
    links = file.map.get("links")
    for link in links.items if links else []:
        name = link.text("id")
        if name is None:
            continue
        there, place = seen.setdefault(name, (file.file, f"{file.file}:{link.map['id'].line}"))
        if there != file.file:
            mistakes.add(link.map["id"], f"links[{name}].id", f"two links are called {name}; the other is in {place}")


def _texts(node: Node | None) -> tuple[str, ...]:
    return tuple(item.value for item in node.items if isinstance(item.value, str)) if node else ()


def _files(patterns: Sequence[str], folder: Path, place: Node, mistakes: Mistakes) -> list[Path]:
    found: dict[Path, None] = {}
    for i, pattern in enumerate(patterns):
        paths = sorted(glob.glob(str(Path(glob.escape(str(folder))) / pattern), recursive=True))
        files = [Path(path) for path in paths if Path(path).is_file()]
        if not files:
            at = place.items[i] if i < len(place.items) else place
            mistakes.add(at, "lines", f"no file is called {folder / pattern}; a gateway needs at least one line")
        found |= dict.fromkeys(files)
    return list(found)


def _gateway_above(file: Path) -> Node | None:
    for folder in file.absolute().parents[:3]:
        path = folder / "gateway.yaml"
        if path.is_file():
            return read(path, Mistakes())  # its mistakes are not those of the line
    return None


def _templates_above(file: Path, gateway: Node | None) -> Path:
    if gateway:
        return Path(gateway.file).parent / (gateway.text("templates") or "templates")
    folders = [folder / "templates" for folder in file.absolute().parents]
    return next((folder for folder in folders if folder.is_dir()), folders[0])
