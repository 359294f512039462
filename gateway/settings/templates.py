"""Instrument templates: read and checked once each, then laid under the devices that name them.

In: ``templates/<name>.yaml`` and the tree of a device. Out: the tree of the device with everything in it. What the
device says wins, key by key, also inside maps and inside a tag of the same name; other tags of the device come last.

A model of a family ``extends`` the template of another, in the same way: what it says wins, tags it adds come last,
``without`` leaves some out. What a template says about itself (model, source, verified) is never inherited.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import get_args

from drivers import PROTOCOLS, Protocol
from gateway.core.options import TemplateOptions
from gateway.settings.files import read
from gateway.settings.translate import SLUG, Mistakes, did_you_mean, show
from gateway.settings.tree import Node
from gateway.settings.validate import validate

OWN = {"model", "names", "source", "verified", "revision", "extends", "without"}
"""What a template says about itself alone."""

ABOUT = OWN - {"names"} | {"protocol", "manufacturer"}
"""What a template says about itself and its family; everything else it says about its devices."""


@dataclass(frozen=True, slots=True)
class Template:
    """One instrument model."""

    name: str
    protocol: Protocol
    options: TemplateOptions
    tree: Node  # without what it says about itself
    tags: dict[str, Node] = field(default_factory=dict)


@dataclass(slots=True)
class Templates:
    """The templates of one folder."""

    folder: Path
    mistakes: Mistakes
    _loaded: dict[str, Template | None] = field(default_factory=dict)

    def get(self, name: str) -> Template | None:
        """The template; None where it is broken, which its own mistakes tell, or missing."""
        if name not in self._loaded:
            path = self.folder / f"{name}.yaml"
            self._loaded[name] = load_template(path, self.mistakes) if path.is_file() else None
        return self._loaded[name]

    def missing(self, name: str) -> str:
        """Why there is no such template, as a sentence; empty when there is one."""
        if (self.folder / f"{name}.yaml").is_file():
            return ""
        names = sorted(path.stem for path in self.folder.glob("*.yaml")) if self.folder.is_dir() else []
        return f"there is no template {name}.yaml in {self.folder}{did_you_mean(name, names)}"


def load_template(path: Path, mistakes: Mistakes) -> Template | None:
    """Read and check one template file."""
    tree = read(path, mistakes)
    return template_of(tree, mistakes) if tree else None


def template_of(tree: Node, mistakes: Mistakes) -> Template | None:
    """Check one template file that was read already."""
    protocol = _protocol(tree, mistakes)
    if protocol is None:
        return None
    said, family = tree, _with_family(tree, mistakes)
    if family is None:
        return None
    tree = family
    repeated = _repeated_tags(said, mistakes)
    options = validate(protocol.template, tree, mistakes)
    if options is None or repeated:
        return None
    rest = Node({key: child for key, child in tree.map.items() if key not in ABOUT}, tree.file, tree.line)
    tags = {str(tag.text("name")): tag for tag in tree.map["tags"].items}
    return Template(Path(tree.file).stem, protocol, options, rest, tags)


def _with_family(tree: Node, mistakes: Mistakes, below: tuple[str, ...] = ()) -> Node | None:
    """The tree on top of that of the template it extends; None where that cannot be had."""
    said = tree.map.get("extends")
    name = said.value if said else None
    if said is None or not isinstance(name, str) or not re.fullmatch(SLUG, name):
        return tree  # a name that is none is told when the tree is validated
    file = Path(tree.file)
    chain = (*below, file.stem)
    if name in chain:
        circle = " extends ".join((*chain[chain.index(name) :], name))
        mistakes.add(said, "extends", f"{circle}: a template cannot extend itself")
        return None
    parents = Templates(file.parent, mistakes)
    if missing := parents.missing(name):
        mistakes.add(said, "extends", missing)
        return None
    parent = read(file.parent / f"{name}.yaml", mistakes)
    parent = _with_family(parent, mistakes, chain) if parent else None
    if parent is None:
        return None
    if parent.text("protocol") != tree.text("protocol"):
        wrong = f"{name} is a template for {parent.text('protocol')}, this one for {tree.text('protocol')}"
        mistakes.add(said, "extends", wrong)
        return None
    return _extended(name, parent, tree, mistakes)


def _extended(name: str, parent: Node, tree: Node, mistakes: Mistakes) -> Node:
    """Both templates in one tree."""
    inherited = {key: child for key, child in parent.map.items() if key not in OWN}
    merged = _over(Node(inherited, tree.file, tree.line), tree)
    own = tree.map.get("tags")
    if own is not None and not isinstance(own.value, list):
        return merged  # a mistake, told when it is validated
    tags = {str(tag.text("name")): tag for tag in parent.map["tags"].items} if "tags" in parent.map else {}
    left_out = _names_said(tree, "without", name, tags, mistakes, "")
    tags = {key: tag for key, tag in tags.items() if key not in left_out}
    more = _laid_over(tags, own.items if own else [], name, _protocol(tree, mistakes), mistakes, "")
    place = own or tree
    return merged.replaced("tags", Node([*tags.values(), *more], place.file, place.line))


def _protocol(tree: Node, mistakes: Mistakes) -> Protocol | None:
    known = {protocol.name: protocol for protocol in PROTOCOLS}
    said = tree.map.get("protocol")
    if said is None:
        mistakes.add(tree, "protocol", f"is missing; allowed: {', '.join(known)}")
        return None
    protocol = known.get(said.value) if isinstance(said.value, str) else None
    if protocol is None:
        mistakes.add(said, "protocol", f"unknown protocol {show(said)}{did_you_mean(str(said.value), known)}")
    return protocol


def _repeated_tags(tree: Node, mistakes: Mistakes) -> bool:
    tags = tree.map.get("tags")
    return tags is not None and repeated(tags.items, "tag", "tags", mistakes)


def repeated(items: list[Node], noun: str, within: str, mistakes: Mistakes) -> bool:
    """Whether two tags, or two links, have one name; a mistake for each that comes later."""
    key = "name" if noun == "tag" else "id"
    seen: dict[str, Node] = {}
    for item in items:
        name = item.text(key)
        if name is not None and seen.setdefault(name, item) is not item:
            other = where(seen[name].map[key], item)
            mistakes.add(item.map[key], f"{within}[{name}]", f"two {noun}s are called {name}; the other is in {other}")
    return len(seen) < sum(item.text(key) is not None for item in items)


def where(node: Node, seen_from: Node) -> str:
    """``line 7``, or ``file:7`` from another file."""
    return f"line {node.line}" if node.file == seen_from.file else f"{node.file}:{node.line}"


def merge(template: Template, device: Node, mistakes: Mistakes, within: str) -> Node:
    """The tree of the device on top of that of its template."""
    merged = _over(Node({k: v for k, v in template.tree.map.items() if k != "tags"}, device.file, device.line), device)
    own = device.map.get("tags")
    if own is not None and not isinstance(own.value, list):
        return merged  # a mistake, told when it is validated
    chosen = _chosen(template, device, mistakes, within)
    tags = {name: tag for name, tag in template.tags.items() if name in chosen}
    more = _laid_over(tags, own.items if own else [], template.name, template.protocol, mistakes, within, template.tags)
    place = own or device
    return merged.replaced("tags", Node([*tags.values(), *more], place.file, place.line))


def _laid_over(
    tags: dict[str, Node],
    own: list[Node],
    owner: str,
    protocol: Protocol | None,
    mistakes: Mistakes,
    within: str,
    known: Mapping[str, Node] | None = None,
) -> list[Node]:
    """Put ``own`` tags on top of those of the same name, in place; the others are returned.

    A tag that the owner does not know and that is not complete either was probably meant to be one of its.
    """
    more: list[Node] = []
    for tag in own:
        name = tag.text("name")
        if name in tags:
            tags[name] = _over(tags[name], tag)
            continue
        more.append(tag)
        names = tags if known is None else known
        if name and name not in names and protocol and not _needed(protocol) <= set(tag.map):
            key = f"{within}.tags[{name}].name".removeprefix(".")
            mistakes.add(tag.map["name"], key, f"{owner} has no tag {name}{did_you_mean(name, names)}")
    return more


def _needed(protocol: Protocol) -> set[str]:
    """The keys that no tag can do without."""
    model = get_args(protocol.template.model_fields["tags"].annotation)[0]
    return {info.alias or key for key, info in model.model_fields.items() if info.is_required()}


def _over(below: Node, above: Node) -> Node:
    """Maps key by key; of anything else the upper one."""
    if not isinstance(below.value, dict) or not isinstance(above.value, dict):
        return above
    entries = dict(below.value)
    for key, child in above.value.items():
        entries[key] = _over(entries[key], child) if key in entries else child
    return Node(entries, above.file, above.line)


def _chosen(template: Template, device: Node, mistakes: Mistakes, within: str) -> set[str]:
    """The template's tags that the device wants: ``only`` these, all ``without`` those."""
    chosen = set(template.tags)
    for key in ("only", "without"):
        names = _names_said(device, key, template.name, template.tags, mistakes, within)
        if names:
            chosen = chosen & names if key == "only" else chosen - names
    return chosen


def _names_said(
    tree: Node, key: str, owner: str, known: Mapping[str, Node], mistakes: Mistakes, within: str
) -> set[str]:
    """The names of tags that stand under ``key``; a mistake for each that the owner does not have."""
    said = tree.map.get(key)
    names = {item.value: item for item in said.items if isinstance(item.value, str)} if said else {}
    for name, item in names.items():
        if name not in known:
            place = f"{within}.{key}".removeprefix(".")
            mistakes.add(item, place, f"{owner} has no tag {name}{did_you_mean(name, known)}")
    return set(names)
