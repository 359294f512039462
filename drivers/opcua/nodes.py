"""Addresses of OPC UA variables as text: ``nsu=urn:plc:skid;s=Reactor.Pressure``. Pure; knows no library.

In: what a technician wrote. Out: a :class:`Node`, and its namespace index in one server's namespace array. The index of
a namespace may be another one after every restart of the server, so it is looked up at every session (F17).
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

STANDARD = "http://opcfoundation.org/UA/"  # namespace 0

_SYNTAX = re.compile(
    r"(?:nsu=(?P<uri>[^;]+);|ns=(?P<index>[0-9]{1,5});)?(?P<type>[isgb])=(?P<identifier>.+)", re.DOTALL
)


@dataclass(frozen=True, slots=True)
class Node:
    """One node, independent of any session."""

    namespace: str | int  # a URI, or an index that the technician insists on
    identifier: Identifier  # its type tells which of i= s= g= b= it is


def parse(text: str) -> Node:
    """The node that ``text`` names (OPC UA Part 6, 5.1.12); raises ValueError with a sentence.

    >>> parse("nsu=urn:plc:skid;s=Reactor.Pressure")
    Node(namespace='urn:plc:skid', identifier='Reactor.Pressure')
    >>> parse("i=2258")
    Node(namespace=0, identifier=2258)
    """
    match = _SYNTAX.fullmatch(text)
    if not match:
        raise ValueError("a node is written nsu=<namespace uri>;s=<name>, or with i=<number>, g=<guid>, b=<base64>")
    namespace: str | int = int(match["index"] or 0)
    if match["uri"]:
        namespace = match["uri"].replace("%3B", ";").replace("%3b", ";").replace("%25", "%")
    elif int(namespace) > 65_535:
        raise ValueError("a namespace index is at most 65535")
    return Node(namespace, _identifier(match["type"], match["identifier"]))


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
