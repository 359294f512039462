"""A field of a structure, which a tag names with ``path: Motor.Phases[2].Current``. Pure.

In: the value of a variable, decoded as far as asyncua knows its type, and the definitions that ``definitions`` has read
from the server. Out: the field with its built-in type. Bytes are only read by the definition that the server gives for
their very encoding (Part 6, 5.2.6); anything else is no value, so that nothing is taken from the wrong place.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum
from typing import Any, TypeAlias

from drivers.opcua.library import Buffer, ua, unpack_builtin
from drivers.opcua.nodes import Path
from drivers.opcua.wire import ARRAY

STRUCTURE: int = ua.VariantType.ExtensionObject.value
INT32: int = ua.VariantType.Int32.value
ELEMENTS_MOST = 100_000  # of an array inside a structure

_ALIASES = {"UtcTime": ua.VariantType.DateTime.value, "Duration": ua.VariantType.Double.value}


@dataclass(frozen=True, slots=True)
class Field:
    """One field, as it lies in the bytes."""

    name: str
    type: int | Structure  # built-in, or a structure inside this one
    array: bool = False
    optional: bool = False


@dataclass(frozen=True, slots=True)
class Structure:
    """A data type of the server."""

    fields: tuple[Field, ...]
    optional: bool = False  # some fields may be left out; a mask in front says which


Definitions: TypeAlias = Mapping[Any, Structure]
"""NodeId of the binary encoding → what lies in it."""

Typed: TypeAlias = tuple[int, Any]
"""Built-in type (| ARRAY), value; a structure is STRUCTURE and a mapping from name to Typed, or what asyncua made."""


def walk(value: Any, path: Path, definitions: Definitions) -> Typed | None:
    """What lies at the end of the path; None where there is no such thing, or nobody knows how to read it."""
    found: Typed | None = (STRUCTURE, value)
    for step in path:
        if found is None:
            return None
        kind, value = found
        if isinstance(step, int):
            inside = kind & ARRAY and value is not None and step < len(value)
            found = (kind & ~ARRAY, value[step]) if inside else None
        else:
            found = _field(value, step, definitions) if kind == STRUCTURE else None
    return found


def _field(value: Any, name: str, definitions: Definitions) -> Typed | None:
    if isinstance(value, ua.ExtensionObject):
        structure = definitions.get(value.TypeId)
        value = decode(structure, value.Body) if structure and value.Body else {}
    if isinstance(value, Mapping):
        return value.get(name)
    if is_dataclass(value):
        return next((_known(each.type, getattr(value, name)) for each in fields(value) if each.name == name), None)
    return None


def _known(annotation: object, value: Any) -> Typed | None:
    """A field of a structure that asyncua knows, from its annotation, such as ``'ua.UInt32'``."""
    name = str(annotation).strip("'\"").removeprefix("ua.")
    if isinstance(value, Enum):
        return INT32, int(value.value)
    if name in _ALIASES:
        return _ALIASES[name], value
    if name in ua.VariantType.__members__:
        return ua.VariantType[name].value, value
    return (STRUCTURE, value) if is_dataclass(value) else None


def decode(structure: Structure, body: bytes) -> dict[str, Typed]:
    """The fields that are in the bytes; empty where they are not just what the definition says."""
    data = Buffer(body)
    try:
        found = _decode(structure, data)
    except (ua.UaError, ValueError, IndexError, EOFError, OverflowError, struct.error):
        return {}
    return found if len(data) == 0 else {}


def _decode(structure: Structure, data: Any) -> dict[str, Typed]:
    mask = unpack_builtin(ua.VariantType.UInt32, data) if structure.optional else 0
    found: dict[str, Typed] = {}
    for field in structure.fields:
        if field.optional:
            mask, there = mask >> 1, mask & 1
            if not there:
                continue
        if field.array:
            count = unpack_builtin(ua.VariantType.Int32, data)
            if count > ELEMENTS_MOST:
                raise ValueError("an array that cannot be")
            values = [_decode_one(field.type, data) for _ in range(count)] if count >= 0 else None
            found[field.name] = (_kind(field.type) | ARRAY, values)
        else:
            found[field.name] = (_kind(field.type), _decode_one(field.type, data))
    return found


def _kind(type_: int | Structure) -> int:
    return STRUCTURE if isinstance(type_, Structure) else type_


def _decode_one(type_: int | Structure, data: Any) -> Any:
    return _decode(type_, data) if isinstance(type_, Structure) else unpack_builtin(ua.VariantType(type_), data)
