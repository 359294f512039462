"""Addresses of OPC UA variables as text: ``nsu=urn:plc:skid;s=Reactor.Pressure``. Pure; knows no library.

In: what a technician wrote. Out: a :class:`Node`, or a :class:`Way` of browse names for servers whose identifiers
change, and namespace indexes in one server's namespace array. The index of a namespace may be another one after every
restart of the server, so it is looked up at every session (F17), and a way is walked at every session.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias
from uuid import UUID

Identifier: TypeAlias = int | str | UUID | bytes
Path: TypeAlias = tuple[str | int, ...]  # of a field: names, and positions in arrays

STEPS_MOST = 50  # of a way
STANDARD = "http://opcfoundation.org/UA/"  # namespace 0

_SYNTAX = re.compile(
    r"(?:nsu=(?P<uri>[^;]+);|ns=(?P<index>[0-9]{1,5});)?(?P<type>[isgb])=(?P<identifier>.+)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Node:
    """One node, independent of any session."""

    namespace: str | int  # a URI, or an index that the technician insists on
    identifier: Identifier  # its type tells which of i= s= g= b= it is


_STEP = re.compile(r"/(?:\[(?P<uri>[^\]]*)\])?(?P<name>(?:[^/&\[\]]|&.)+)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Way:
    """A browse path from Objects on: (namespace uri, browse name) of each step."""

    steps: tuple[tuple[str, str], ...]


def parse(text: str) -> Node | Way:
    """The node that ``text`` names (OPC UA Part 6, 5.1.12); raises ValueError with a sentence.

    >>> parse("nsu=urn:plc:skid;s=Reactor.Pressure")
    Node(namespace='urn:plc:skid', identifier='Reactor.Pressure')
    >>> parse("i=2258")
    Node(namespace=0, identifier=2258)
    >>> parse("/[urn:plc:skid]Reactor/Pressure")
    Way(steps=(('urn:plc:skid', 'Reactor'), ('urn:plc:skid', 'Pressure')))
    """
    if text.startswith("/"):
        return _way(text)
    match = _SYNTAX.fullmatch(text)
    if not match:
        raise ValueError("a node is written nsu=<namespace uri>;s=<name>, or with i=<number>, g=<guid>, b=<base64>")
    namespace: str | int = int(match["index"] or 0)
    if match["uri"]:
        namespace = match["uri"].replace("%3B", ";").replace("%3b", ";").replace("%25", "%")
    elif int(namespace) > 65_535:
        raise ValueError("a namespace index is at most 65535")
    return Node(namespace, _identifier(match["type"], match["identifier"]))


def _way(text: str) -> Way:
    """A namespace holds until another one is named; ``[]`` is the standard's own. & before a character: it is one."""
    steps: list[tuple[str, str]] = []
    at, uri = 0, None
    while at < len(text):
        step = _STEP.match(text, at)
        if not step:
            break
        if step["uri"] is not None:
            uri = step["uri"] or STANDARD
        if uri is None:
            raise ValueError("the first name of a browse path says its namespace: /[urn:plc:skid]Reactor/Pressure")
        steps.append((uri, re.sub("&(.)", r"\1", step["name"], flags=re.DOTALL)))
        at = step.end()
    if at < len(text) or len(steps) > STEPS_MOST:
        raise ValueError(
            "a browse path is written /[namespace uri]Name/Name, with & before a / & [ or ] that belongs to a name"
        )
    return Way(tuple(steps))


def _identifier(kind: str, text: str) -> Identifier:
    if kind == "s":
        return text
    if kind == "i":
        if not (text.isascii() and text.isdigit() and int(text) < 2**32):
            raise ValueError("i= is followed by a number from 0 to 4294967295")
        return int(text)
    if kind == "g":
        try:
            return UUID(text)
        except ValueError:
            raise ValueError("g= is followed by a GUID such as 09087e75-8e5e-499b-954f-f2a9603db28a") from None
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ValueError("b= is followed by base64 text") from None


def text_of(identifier: Identifier, namespace: str) -> str:
    """The address of a node as a line file has it; ``parse`` reads it back.

    >>> text_of("Reactor;1", "urn:plc;x"), text_of(2258, "http://opcfoundation.org/UA/")
    ('nsu=urn:plc%3Bx;s=Reactor;1', 'i=2258')
    """
    match identifier:
        case str():
            text = f"s={identifier}"
        case int():
            text = f"i={identifier}"
        case UUID():
            text = f"g={identifier}"
        case _:
            text = f"b={base64.b64encode(identifier).decode()}"
    if namespace == STANDARD:
        return text
    return f"nsu={namespace.replace('%', '%25').replace(';', '%3B')};{text}"


def indexes_of(way: Way, namespaces: Sequence[str]) -> tuple[tuple[int, str], ...] | None:
    """The way with the namespace indexes of a server; None where it lacks a namespace.

    >>> indexes_of(parse("/[urn:plc]Reactor/[]EURange"), ("http://opcfoundation.org/UA/", "urn:server", "urn:plc"))
    ((2, 'Reactor'), (0, 'EURange'))
    """
    if any(uri not in namespaces for uri, _ in way.steps):
        return None
    return tuple((namespaces.index(uri), name) for uri, name in way.steps)


def index_of(node: Node, namespaces: Sequence[str]) -> int | None:
    """The namespace index of the node in a server with these namespaces; None where the server has no such one.

    >>> index_of(parse("nsu=urn:plc:skid;i=7"), ("http://opcfoundation.org/UA/", "urn:server", "urn:plc:skid"))
    2
    """
    if isinstance(node.namespace, int):
        return node.namespace if node.namespace < len(namespaces) else None
    try:
        return namespaces.index(node.namespace)
    except ValueError:
        return None


def parse_path(text: str) -> Path:
    """The steps to a field of a structure; raises ValueError with a sentence.

    >>> parse_path("Motor.Phases[2].Current")
    ('Motor', 'Phases', 2, 'Current')
    """
    steps: list[str | int] = []
    for part in text.split("."):
        match = re.fullmatch(r"([^.\[\]]+)((?:\[[0-9]{1,6}\])*)", part)
        if not match:
            raise ValueError("a path is names of fields with dots between, an element as [2]: Motor.Phases[2].Current")
        steps += [match[1], *map(int, re.findall("[0-9]+", match[2]))]
    return tuple(steps)
