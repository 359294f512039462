"""The tags of one device in a line file, read and replaced; every other byte of the file stays. Pure.

In: the text of a line file. Out: the device's tags as they are in force, or the text with others in their place. The
block ``tags:`` of that device is written anew, one tag per line; comments inside it are lost, all others stay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import yaml

from gateway.core.errors import GatewayError
from gateway.settings.flow import flow
from gateway.settings.spreadsheet import Tag
from gateway.settings.templates import Templates, merge
from gateway.settings.translate import Mistakes
from gateway.settings.tree import Node


@dataclass(frozen=True, slots=True)
class InForce:
    """The tags of a device, and those of them that come from its template."""

    tags: tuple[Tag, ...]
    inherited: Mapping[str, Tag]


def device_node(tree: Node, device: str) -> Node | None:
    """Where the device stands."""
    links = tree.map.get("links")
    for link in links.items if links else []:
        devices = link.map.get("devices")
        for each in devices.items if devices else []:
            if each.text("id") == device:
                return each
    return None


def in_force(device: Node, templates: Templates) -> InForce:
    """The tags with those of the template, as ``merge`` puts them together."""
    name = device.text("template")
    template = templates.get(name) if name else None
    if template is None:
        own = device.map.get("tags")
        return InForce(tuple(_tag(tag) for tag in own.items) if own else (), {})
    merged = merge(template, device, Mistakes(), "")
    inherited = {key: _tag(node) for key, node in template.tags.items()}
    return InForce(tuple(_tag(tag) for tag in merged.map["tags"].items), inherited)


def _tag(node: Node) -> Tag:
    tag: Tag = node.plain()
    return tag


def normal(tag: Tag) -> Tag:
    """Without what says nothing, so that two tags that mean the same are equal."""
    plain = {key: _normal_value(value) for key, value in tag.items()}
    return {key: value for key, value in plain.items() if value not in (None, "", [], {})}


def _normal_value(value: Any) -> Any:
    return {k: v for k, v in value.items() if v not in (None, "")} if isinstance(value, dict) else value


@dataclass(frozen=True, slots=True)
class Difference:
    """What an import would do."""

    added: tuple[Tag, ...]
    removed: tuple[Tag, ...]
    changed: tuple[tuple[Tag, Tag], ...]  # before, after

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def lines(self) -> Iterator[str]:
        """For people: + added, - removed, ~ changed."""
        for tag in self.removed:
            yield f"- {tag['name']}"
        for tag in self.added:
            yield f"+ {flow(tag)}"
        for old, new in self.changed:
            keys = [key for key in dict.fromkeys([*old, *new]) if old.get(key) != new.get(key)]
            steps = ", ".join(f"{key}: {_or_nothing(old, key)} -> {_or_nothing(new, key)}" for key in keys)
            yield f"~ {new['name']}: {steps}"


def _or_nothing(tag: Tag, key: str) -> str:
    return flow(tag[key]) if key in tag else "nothing"


def difference(before: Sequence[Tag], after: Sequence[Tag]) -> Difference:
    """By name; the order of tags means nothing."""
    old = {tag["name"]: normal(tag) for tag in before}
    new = {tag["name"]: normal(tag) for tag in after}
    return Difference(
        added=tuple(tag for name, tag in new.items() if name not in old),
        removed=tuple(tag for name, tag in old.items() if name not in new),
        changed=tuple((old[name], tag) for name, tag in new.items() if name in old and old[name] != tag),
    )


def own_tags(wanted: Sequence[Tag], inherited: Mapping[str, Tag]) -> list[Tag]:
    """What the line file must say so that ``wanted`` is in force: of the template's tags only what differs.

    Raises GatewayError for a key that the template says and the sheet leaves empty: a device cannot unsay it.
    """
    said: list[Tag] = []
    for tag in map(normal, wanted):
        below = inherited.get(tag["name"])
        if below is None:
            said.append(tag)
            continue
        below = normal(below)
        gone = [key for key in below if key not in tag]
        if gone:
            raise GatewayError(
                f"{tag['name']}: the template says {', '.join(gone)}, which a device can change but not leave empty"
            )
        changes = {key: value for key, value in tag.items() if below.get(key) != value}
        if changes:
            said.append({"name": tag["name"], **changes})
    return said


# ------------------------------------------------------------------------------------------------------- the text


def with_tags(text: str, device: str, tags: Sequence[Tag]) -> str:
    """The text of the line file with these as the device's own tags. Raises GatewayError where that cannot be done."""
    if text.startswith("\ufeff"):  # the parser does not count it
        return "\ufeff" + with_tags(text[1:], device, tags)
    mapping = _mapping_of(text, device)
    newline = "\r\n" if "\r\n" in text else "\n"
    for key, value in mapping.value:
        if key.value == "tags":
            return _replaced(text, key, value, tags, newline)
    return _inserted(text, mapping, tags, newline)


def _mapping_of(text: str, device: str) -> yaml.MappingNode:
    root = yaml.compose(text, Loader=yaml.CSafeLoader)
    for link in _items(root, "links"):
        for node in _items(link, "devices"):
            for key, value in node.value:
                if key.value == "id" and value.value == device and isinstance(node, yaml.MappingNode):
                    return node
    raise GatewayError(f"the device {device} does not stand in the text by itself; edit it by hand")


def _items(node: yaml.Node | None, name: str) -> Sequence[Any]:
    if isinstance(node, yaml.MappingNode):
        for key, value in node.value:
            if key.value == name and isinstance(value, yaml.SequenceNode):
                return list(value.value)
    return ()


def _replaced(text: str, key: yaml.Node, value: yaml.Node, tags: Sequence[Tag], newline: str) -> str:
    start, end = value.start_mark.index, value.end_mark.index
    if text[start] in "&!":
        raise GatewayError("the tags are used by another device, too (an anchor, &…); edit them by hand")
    if start < key.end_mark.index:
        raise GatewayError("the tags are those of another device (an alias, *…); edit them by hand")
    if not isinstance(value, yaml.SequenceNode) or not value.value:
        return text[:start] + _flowing(tags) + text[end:]
    if value.flow_style:
        separator = newline + " " * (value.start_mark.column + 1) if newline in text[start:end] else " "
        return text[:start] + _flowing(tags, separator) + text[end:]
    end = start + _content(text[start:end], newline)
    if not tags:
        return text[:start] + "[]" + text[end:]
    indent = " " * value.start_mark.column
    return text[:start] + (newline + indent).join(f"- {flow(tag)}" for tag in tags) + text[end:]


def _content(block: str, newline: str) -> int:
    """How much of it is the list: blank lines and lines of comment at its end belong to what follows."""
    lines = block.split(newline)
    while len(lines) > 1 and (not lines[-1].strip() or lines[-1].lstrip().startswith("#")):
        lines.pop()
    return len(newline.join(lines))


def _flowing(tags: Sequence[Tag], separator: str = " ") -> str:
    return "[" + f",{separator}".join(map(flow, tags)) + "]"


def _inserted(text: str, mapping: yaml.MappingNode, tags: Sequence[Tag], newline: str) -> str:
    """A device that had no tags of its own."""
    if mapping.flow_style:
        end = mapping.end_mark.index - 1
        return f"{text[:end].rstrip()}, tags: {_flowing(tags)}{text[end:]}"
    start = mapping.start_mark.index
    end = start + _content(text[start : mapping.end_mark.index], newline)
    indent = " " * mapping.value[0][0].start_mark.column
    block = "".join(f"{newline}{indent}  - {flow(tag)}" for tag in tags)
    return f"{text[:end]}{newline}{indent}tags:{block}{text[end:]}"
