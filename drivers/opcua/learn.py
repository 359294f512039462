"""What a server says about its variables beside their values: unit, range, and the names of an enumeration's numbers.

In: tags with their nodes in this session. Out: what the server says of each, for the tags of which the line file says
nothing. Read once per session, before the first value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import isfinite
from typing import Any

from drivers.opcua import plan
from drivers.opcua.library import ua
from drivers.opcua.paths import CALL_LIMIT, PROPERTY, references
from drivers.opcua.requests import ReadRequest
from drivers.opcua.session import Session
from drivers.opcua.units import UNECE, ucum
from gateway.core.model import Kind, Tag

NUMBERS = (Kind.FLOAT, Kind.INT)
NAMES_MOST = 1000  # of one enumeration: more are a mistake of the server, and every meta message carries them
NAME_LENGTH = 100

_ENUM = ("EnumStrings", "EnumValues")
_PROPERTIES = ("EngineeringUnits", "EURange", *_ENUM)


@dataclass(frozen=True, slots=True)
class Said:
    """What the server says of one variable."""

    unit: str = ""  # UCUM; empty: nothing that is known
    sign: str = ""  # what people read, where ``unit`` is empty
    range: tuple[float, float] | None = None
    enum: Mapping[int, str] = field(default_factory=dict)


def asks(tag: Tag) -> bool:
    """Whether the line file leaves something open that the server may say.

    A tag that is scaled has another unit than the server's variable, so there the file has the word.
    """
    if tag.kind not in NUMBERS or tag.scale != 1 or tag.offset:
        return False
    return not tag.unit_given or tag.low is None or (tag.kind is Kind.INT and not tag.enum)


def taught(configured: Tag, now: Tag, said: Said) -> Tag:
    """The tag with what the server says in the place of what the file leaves open; ``now``: as it was known before."""
    unit = said.unit if said.unit and not configured.unit_given else now.unit
    low, high = said.range if said.range and configured.low is None else (now.low, now.high)
    enum = said.enum if said.enum and not configured.enum and now.kind is Kind.INT else now.enum
    if (unit, low, high, enum) == (now.unit, now.low, now.high, now.enum):
        return now
    return replace(now, unit=unit, low=low, high=high, enum=enum)


async def learn(session: Session, nodes: Mapping[Any, bool]) -> Mapping[Any, Said]:
    """What the server says of each node; of its enumeration only where the mapping says True. Raises DriverError."""
    told = await _properties(session, list(nodes), _PROPERTIES)
    names = {node: _names(strings, values) for node, (_, _, strings, values) in told.items()}
    types = await _types(session, [node for node, enum in nodes.items() if enum and not names[node]])
    by_type = await _enumerations(session, list(dict.fromkeys(types.values())))
    return {
        node: Said(*_unit(unit), _range(limits), names[node] or by_type.get(types.get(node), {}))
        for node, (unit, limits, _, _) in told.items()
    }


async def _properties(session: Session, nodes: Sequence[Any], names: Sequence[str]) -> dict[Any, list[Any]]:
    """Node → the values of its properties of these names (m,); None where it has none."""
    told: dict[Any, list[Any]] = {node: [None] * len(names) for node in nodes}
    places: list[tuple[Any, Any, int]] = []  # NodeId of a property, whose it is, which
    for piece in plan.chunks(nodes, CALL_LIMIT):
        for node, found in zip(piece, await references(session, piece, PROPERTY), strict=True):
            places += [
                (ua.NodeId(each.NodeId.Identifier, each.NodeId.NamespaceIndex), node, names.index(each.BrowseName.Name))
                for each in found
                if each.BrowseName.NamespaceIndex == 0 and each.BrowseName.Name in names
            ]
    values = await read_attribute(session, [property_ for property_, _, _ in places], ua.AttributeIds.Value)
    for (_, node, which), value in zip(places, values, strict=True):
        told[node][which] = value
    return told


async def _types(session: Session, nodes: Sequence[Any]) -> dict[Any, Any]:
    """Node → its data type, where that is not a plain one of the standard."""
    types = await read_attribute(session, nodes, ua.AttributeIds.DataType)
    return {
        node: kind
        for node, kind in zip(nodes, types, strict=True)
        if isinstance(kind, ua.NodeId) and not (kind.NamespaceIndex == 0 and kind.Identifier <= _BUILT_IN)
    }


_BUILT_IN = 29  # up to here: plain numbers, texts, and their abstract parents (Part 6, 5.1.2)


async def _enumerations(session: Session, types: Sequence[Any]) -> dict[Any, Mapping[int, str]]:
    """Data type → names of its numbers, from its definition (since 1.04) or its properties (before)."""
    definitions = await read_attribute(session, types, ua.AttributeIds.DataTypeDefinition)
    properties = await _properties(session, types, _ENUM)
    return {
        kind: _fields(definition) or _names(*properties[kind])
        for kind, definition in zip(types, definitions, strict=True)
    }


async def read_attribute(session: Session, nodes: Sequence[Any], attribute: int) -> list[Any]:
    """An attribute of each node; None where it cannot be read."""
    found: list[Any] = []
    for piece in plan.chunks(nodes, plan.call_limit(session.nodes_per_read)):
        answers = await session.read(ReadRequest(piece, attribute))
        found += [None if code else value for value, code in zip(answers.values, answers.status, strict=True)]
    return found


def _unit(told: Any) -> tuple[str, str]:
    if not isinstance(told, ua.EUInformation):
        return "", ""
    sign = str(told.DisplayName.Text or "")
    unit = ucum(told.UnitId, sign, str(told.NamespaceUri or UNECE))
    return unit, "" if unit else sign


def _range(told: Any) -> tuple[float, float] | None:
    if isinstance(told, ua.Range) and isfinite(told.Low) and isfinite(told.High) and told.Low < told.High:
        return told.Low, told.High
    return None


def _names(strings: Any, values: Any) -> dict[int, str]:
    """Of EnumStrings, counted from 0, or EnumValues, which say their numbers (Part 3, 8.40; Part 8, 5.3.3)."""
    if isinstance(values, list) and all(isinstance(each, ua.EnumValueType) for each in values):
        return _some((int(each.Value), each.DisplayName.Text) for each in values)
    if isinstance(strings, list) and all(isinstance(each, ua.LocalizedText) for each in strings):
        return _some(enumerate(each.Text for each in strings))
    return {}


def _fields(definition: Any) -> dict[int, str]:
    """Of an EnumDefinition."""
    if not isinstance(definition, ua.EnumDefinition):
        return {}
    return _some((int(each.Value), each.DisplayName.Text or each.Name) for each in definition.Fields or ())


def _some(pairs: Any) -> dict[int, str]:
    named = {number: str(name)[:NAME_LENGTH] for number, name in pairs if name}
    return named if len(named) <= NAMES_MOST else {}
