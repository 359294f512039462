"""One line file → one :class:`Line`, or all its mistakes.

In: the tree of the file, the templates, the site of the gateway. Out: links, devices and tags of the core, with
every default filled in. A mistake in one device hides nothing of the others.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from drivers import DRIVERS
from gateway.core.model import Device, Kind, Link, Tag
from gateway.core.options import DeviceOptions, LinkOptions, Names, TagOptions
from gateway.settings.model import Line, LineFile
from gateway.settings.templates import Template, Templates, merge, repeated, where
from gateway.settings.translate import SLUG, Mistakes, at, did_you_mean, show
from gateway.settings.tree import Node
from gateway.settings.validate import locate_files, valid, validate


@dataclass(frozen=True, slots=True)
class _Place:
    """Where devices stand."""

    site: str
    line: str
    area: str


def device_class(link: type[LinkOptions]) -> type[DeviceOptions]:
    """The options of the devices of such a link."""
    cls: type[DeviceOptions] = get_args(link.model_fields["devices"].annotation)[0]
    return cls


def build_line(
    tree: Node, templates: Templates, site: str | None, mistakes: Mistakes, look: bool = True
) -> Line | None:
    """The line that the file describes; None when its head or a link is mistaken. ``look``: at the files it names."""
    before = len(mistakes.found)
    file = validate(LineFile, _head(tree), mistakes)
    site = (file.site if file else None) or site
    if file and site is None:
        mistakes.add(tree, "site", "is missing; say it here or once in gateway.yaml")
    place = _Place(site or "", file.line if file else "", file.area if file else "")
    said = tree.map.get("links")
    nodes = said.items if said else []
    repeated(nodes, "link", "links", mistakes)
    _repeated_devices(nodes, mistakes)
    links = [
        _link(node, at(tree, ("links", i))[1], templates, place, mistakes, look)
        for i, node in enumerate(nodes)
        if isinstance(node.value, dict)
    ]
    if file is None or len(mistakes.found) > before:
        return None
    return Line(
        id=file.line,
        site=place.site,
        links=tuple(link for link in links if link),
        area=file.area,
        names=_names(file.names),
        file=tree.file,
    )


def _head(tree: Node) -> Node:
    """The file with links that are merely maps: each is validated on its own."""
    links = tree.map.get("links")
    if links is None or not isinstance(links.value, list):
        return tree
    short = [Node({}, node.file, node.line) if isinstance(node.value, dict) else node for node in links.items]
    return tree.replaced("links", Node(list(short), links.file, links.line))


def _repeated_devices(links: list[Node], mistakes: Mistakes) -> None:
    """A device id is an identity on the whole line, whatever link it hangs on."""
    seen: dict[str, Node] = {}
    for link in links:
        devices = link.map.get("devices")
        for device in devices.items if devices else []:
            name = device.text("id")
            if name is None:
                continue
            if name in seen:
                key = f"links[{link.text('id')}].devices[{name}].id"
                other = where(seen[name], device)
                mistakes.add(
                    device.map["id"], key, f"two devices of the line are called {name}; the other is in {other}"
                )
            seen.setdefault(name, device.map["id"])


# --------------------------------------------------------------------------------------------------------- a link


def _link(node: Node, key: str, templates: Templates, place: _Place, mistakes: Mistakes, look: bool) -> Link | None:
    said = node.map.get("type")
    if said is None:
        mistakes.add(node, f"{key}.type", f"is missing; allowed: {', '.join(DRIVERS)}")
        return None
    link_type = said.value
    if not isinstance(link_type, str) or link_type not in DRIVERS:
        mistakes.add(said, f"{key}.type", f"unknown type {show(said)}{did_you_mean(str(link_type), DRIVERS)}")
        return None
    protocol = DRIVERS[link_type]
    model = protocol.links[link_type]
    rest = Node({name: child for name, child in node.map.items() if name != "devices"}, node.file, node.line)
    full = locate_files(rest, Path(node.file).parent, mistakes, key, look)
    devices = node.map.get("devices")
    used: list[Template | None] = []
    if devices is not None:
        parts = list(_with_templates(node, key, protocol.name, templates, mistakes))
        used = [template for _, template in parts]
        full = full.replaced("devices", _list([tree for tree, _ in parts], devices))
    options = validate(model, full, mistakes, key)
    if options is None:
        _check_without_mistaken_devices(model, full, mistakes, key)
    built = list(_devices(options, model, full, key, used, place, mistakes))
    if options is None:
        return None
    return Link(
        id=options.id,
        type=link_type,
        devices=tuple(built),
        options=options.model_copy(update={"devices": ()}),  # the core devices say it all; no need to keep it twice
    )


def _check_without_mistaken_devices(model: type[LinkOptions], link: Node, mistakes: Mistakes, key: str) -> None:
    """Pydantic looks at a link as a whole only when all its parts are right: a device must not hide the link."""
    devices = link.map.get("devices")
    right = [node for node in (devices.items if devices else []) if valid(device_class(model), node)]
    if devices and 0 < len(right) < len(devices.items):
        validate(model, link.replaced("devices", _list(right, devices)), mistakes, key)


def _list(items: list[Node], like: Node) -> Node:
    return Node(list(items), like.file, like.line) if isinstance(like.value, list) else like


def _with_templates(
    link: Node, key: str, protocol: str, templates: Templates, mistakes: Mistakes
) -> Iterator[tuple[Node, Template | None]]:
    """The devices of a link, each with its template merged in."""
    for i, device in enumerate(link.map["devices"].items):
        within = at(link, ("devices", i), key)[1]
        tags = device.map.get("tags")
        repeated(tags.items if tags else [], "tag", f"{within}.tags", mistakes)
        said = device.map.get("template")
        name = said.value if said else None
        if said is None:
            yield device, None
            continue
        if not isinstance(name, str) or not re.fullmatch(SLUG, name):
            yield _without_tags(device), None
            continue
        template = templates.get(name)
        if template and template.protocol.name == protocol:
            yield merge(template, device, mistakes, within), template
            continue
        if template:
            wrong = f"{name} is a template for {template.protocol.name}, but this link speaks {protocol}"
            mistakes.add(said, f"{within}.template", wrong)
        elif missing := templates.missing(name):
            mistakes.add(said, f"{within}.template", missing)
        yield _without_tags(device), None


def _without_tags(device: Node) -> Node:
    """Of a device whose template cannot be had: half of what its tags need would stand there."""
    return Node({key: child for key, child in device.map.items() if key != "tags"}, device.file, device.line)


# ------------------------------------------------------------------------------------------------------- a device


def _devices(
    options: LinkOptions | None,
    model: type[LinkOptions],
    link: Node,
    key: str,
    used: list[Template | None],
    place: _Place,
    mistakes: Mistakes,
) -> Iterator[Device]:
    """The devices of a link; of a mistaken link those that are right, for what only shows now."""
    cls = device_class(model)
    together: Any = getattr(options, "devices", None)
    nodes = link.map["devices"].items if "devices" in link.map else []
    for i, node in enumerate(nodes):
        device = together[i] if together else valid(cls, node)
        if device is not None:
            tags = tuple(_tags(device, used[i], link, i, key, mistakes))
            yield _device(device, tags, used[i], place)


def _device(options: DeviceOptions, tags: tuple[Tag, ...], template: Template | None, place: _Place) -> Device:
    return Device(
        site=place.site,
        line=place.line,
        id=options.id,
        tags=tags,
        options=options.model_copy(update={"tags": ()}),  # as with the devices of a link
        area=place.area,
        equipment=options.equipment,
        names=_names(options.names),
        template=options.template or "",
        manufacturer=template.options.manufacturer if template else "",
        model=template.options.model if template else "",
        enabled=options.enabled,
    )


def _tags(
    device: DeviceOptions, template: Template | None, link: Node, i: int, key: str, mistakes: Mistakes
) -> Iterator[Tag]:
    """The tags of the i-th device of a link, and what is wrong with them that their keys alone do not show."""
    tags: tuple[TagOptions, ...] = device.tags  # type: ignore[attr-defined]
    if not tags and (template or not device.template):  # where a template is missing or broken, that was told
        node, name = at(link, ("devices", i), key)
        mistakes.add(node, f"{name}.tags", "a device needs tags, its own or those of a template")
    for j, tag in enumerate(tags):
        try:
            kind = tag.value_kind(device)
            trouble = contradiction(tag, kind)
            if not trouble:
                yield _tag(tag, kind, device)
        except ValueError as error:  # how a driver's options say that an address cannot be
            trouble = str(error)
        if trouble:
            node, name = at(link, ("devices", i, "tags", j), key)
            mistakes.add(node, name, trouble)


def contradiction(tag: TagOptions, kind: Kind) -> str:
    """Why a tag of this kind cannot be what it says; empty when it can."""
    given = tag.model_fields_set
    scaled = tag.scale != 1 or tag.offset != 0
    if kind in (Kind.TEXT, Kind.BOOL):
        numeric = ("scale", "offset", "range", "deadband", "wrap", "unit")
        wrong = [key for key in numeric if key in given and (key, tag.unit) != ("unit", "1")]
        if wrong:
            return f"a tag of kind {kind} has no {' and no '.join(wrong)}; those are for numbers"
    if kind is Kind.INT and scaled and (tag.scale != int(tag.scale) or tag.offset != int(tag.offset)):
        return "a tag of kind int needs a whole scale and offset; leave out kind, or say kind: float"
    return ""


def _tag(tag: TagOptions, kind: Kind, device: DeviceOptions) -> Tag:
    low, high = tag.range or ((0.0, tag.wrap) if tag.wrap else (None, None))
    return Tag(
        name=tag.name,
        kind=kind,
        address=tag.wire_address(device),
        unit=tag.unit,
        unit_given="unit" in tag.model_fields_set,
        scale=tag.scale,
        offset=tag.offset,
        low=low,
        high=high,
        deadband=tag.deadband,
        wrap=tag.wraps_at(),
        period_ns=round((tag.period_s or device.period_s) * 1e9),
        names=_names(tag.names),
        enum=tag.names_of_numbers(),
        bits=tag.names_of_bits(),
        description=tag.description,
    )


def _names(names: Names) -> dict[str, str]:
    return {language: name for language, name in (("en", names.en), ("zh", names.zh)) if name}


def check_template(template: Template, mistakes: Mistakes) -> None:
    """Everything that is wrong with a template and only shows when a device uses it."""
    nowhere = Node("check", "", 0)
    device = Node({"id": nowhere, "template": nowhere}, "", 0)
    link = Node({"devices": Node([merge(template, device, mistakes, "")], "", 0)}, "", 0)
    options = validate(
        device_class(next(iter(template.protocol.links.values()))), link.map["devices"].items[0], mistakes
    )
    if options is not None:
        list(_tags(options, template, link, 0, "", mistakes))
