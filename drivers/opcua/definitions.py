"""How the structures of a server lie in their bytes (DataTypeDefinition, since OPC UA 1.04).

In: nodes whose values are structures. Out: definitions for ``structures``, with those of the structures inside them.
What cannot be read (unions, types without a definition) is left out: its fields then have no value.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from drivers.opcua.learn import read_attribute
from drivers.opcua.library import ua
from drivers.opcua.paths import CALL_LIMIT, references
from drivers.opcua.plan import chunks
from drivers.opcua.session import Session
from drivers.opcua.structures import INT32, Field, Structure

DEPTH_MOST = 10  # of structures inside structures, and of types built upon others
_READABLE = {*range(1, 22)}  # the built-in types that are plain values (Part 6, 5.1.2), up to LocalizedText
_KINDS = {ua.StructureType.Structure: False, ua.StructureType.StructureWithOptionalFields: True}

_Known = dict[Any, Any]  # data type → its definition, the type it is built upon, or None


async def load(session: Session, nodes: Sequence[Any]) -> dict[Any, Structure]:
    """Encoding → structure, of everything that these variables may hold. Raises DriverError."""
    known: _Known = {}
    types = await read_attribute(session, nodes, ua.AttributeIds.DataType)
    wanted = _new(types, known)
    for _ in range(DEPTH_MOST):
        if not wanted:
            break
        known |= dict(
            zip(wanted, await read_attribute(session, wanted, ua.AttributeIds.DataTypeDefinition), strict=True)
        )
        without = [each for each in wanted if known[each] is None]
        known |= dict(zip(without, await _bases(session, without), strict=True))
        structures = [known[each] for each in wanted if _is_structure(known[each])]
        inner = [field.DataType for each in structures for field in each.Fields or ()]
        wanted = _new([*inner, *(known[each] for each in without)], known)
    found = {}
    for type_, definition in known.items():
        structure = _build(type_, known, DEPTH_MOST)
        if _is_structure(definition) and isinstance(structure, Structure):
            found[definition.DefaultEncodingId] = structure
    return found


def _is_structure(definition: Any) -> bool:
    return isinstance(definition, ua.StructureDefinition)


def _new(types: Iterable[Any], known: _Known) -> list[Any]:
    """Those that are not known and not built in, each once."""
    nodes = (each for each in types if isinstance(each, ua.NodeId))
    return list(dict.fromkeys(each for each in nodes if not _built_in(each) and each not in known))


def _built_in(type_: Any) -> bool:
    number = type_.Identifier
    return type_.NamespaceIndex == 0 and isinstance(number, int) and number <= ua.ObjectIds.Enumeration


async def _bases(session: Session, types: Sequence[Any]) -> list[Any]:
    """The type that each is built upon; None where the server does not say."""
    found: list[Any] = []
    for piece in chunks(types, CALL_LIMIT):
        answers = await references(
            session,
            piece,
            ua.NodeId(ua.ObjectIds.HasSubtype),
            direction=ua.BrowseDirection.Inverse,
            classes=ua.NodeClass.DataType,
        )
        bases = [each[0].NodeId if each else None for each in answers]
        found += [base and ua.NodeId(base.Identifier, base.NamespaceIndex) for base in bases]
    return found


def _build(type_: Any, known: _Known, depth: int) -> int | Structure | None:
    """How a type lies in its bytes; None where that is not known."""
    if depth == 0 or type_ is None:
        return None
    if _built_in(type_):
        number = INT32 if type_.Identifier == ua.ObjectIds.Enumeration else type_.Identifier
        return number if number in _READABLE else None
    definition: Any = known.get(type_)
    if isinstance(definition, ua.EnumDefinition):
        return INT32
    if not _is_structure(definition):
        return _build(definition, known, depth - 1)
    if definition.StructureType not in _KINDS:
        return None
    fields = []
    for each in definition.Fields or ():
        inner = _build(each.DataType, known, depth - 1)
        if inner is None or each.ValueRank not in (-1, 1):
            return None
        optional = _KINDS[definition.StructureType] and each.IsOptional
        fields.append(Field(each.Name, inner, each.ValueRank == 1, optional))
    return Structure(tuple(fields), _KINDS[definition.StructureType])
