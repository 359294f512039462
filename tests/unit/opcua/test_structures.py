"""Fields of structures from their bytes: by the definition or not at all."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.opcua.library import ua
from drivers.opcua.nodes import parse_path
from drivers.opcua.structures import STRUCTURE, Field, Structure, Typed, decode, walk
from drivers.opcua.wire import ARRAY

BOOLEAN, INT16, DOUBLE, STRING, DATE_TIME, TEXT = 1, 4, 11, 12, 13, 21
ENCODING = ua.NodeId(5000, 3)
PHASE = Structure((Field("Name", STRING), Field("Current", DOUBLE)))
MOTOR = Structure(
    (
        Field("Running", BOOLEAN),
        Field("Zones", INT16, array=True),
        Field("Phases", PHASE, array=True),
        Field("Main", PHASE),
        Field("Started", DATE_TIME),
        Field("Label", TEXT),
    )
)
L1, L2 = (struct.pack("<i2sd", 2, name, current) for name, current in ((b"L1", 1.5), (b"L2", 2.5)))
RIGHT = b"\x01" + struct.pack("<ihh", 2, -7, 8) + struct.pack("<i", 2) + L1 + L2 + L2 + bytes(8) + b"\x00"


def at(path: str, body: bytes | None = RIGHT, definitions: Any = None, encoding: Any = ENCODING) -> Typed | None:
    known = {ENCODING: MOTOR} if definitions is None else definitions
    return walk(ua.ExtensionObject(encoding, body), parse_path(path), known)


def test_each_field_has_the_type_of_its_definition() -> None:
    assert at("Running") == (BOOLEAN, True)
    assert at("Zones") == (INT16 | ARRAY, [-7, 8])
    assert at("Zones[1]") == (INT16, 8)
    assert at("Phases[1].Name") == (STRING, "L2")
    assert at("Main.Current") == (DOUBLE, 2.5)
    assert at("Main") == (STRUCTURE, {"Name": (STRING, "L2"), "Current": (DOUBLE, 2.5)})


@pytest.mark.parametrize(
    "path", ["Nothing", "Zones[2]", "Zones[0][0]", "Phases.Name", "Running.Deeper", "Main[0]", "Phases[2].Name"]
)
def test_what_is_not_there_is_nothing(path: str) -> None:
    assert at(path) is None


def test_bytes_of_another_encoding_or_length_are_not_read() -> None:
    assert at("Running", encoding=ua.NodeId(5001, 3)) is None
    assert at("Running", definitions={}) is None
    assert at("Running", RIGHT + b"\x00") is None
    assert at("Running", RIGHT[:-1]) is None
    assert at("Running", b"") is None
    assert at("Running", None) is None


def test_fields_that_are_left_out_move_the_others() -> None:
    fields = Field("A", INT16), Field("B", INT16, optional=True), Field("C", INT16, optional=True)
    structure = Structure(fields, optional=True)
    assert decode(structure, struct.pack("<Ihh", 0b10, 1, 3)) == {"A": (INT16, 1), "C": (INT16, 3)}
    assert decode(structure, struct.pack("<Ihhh", 0b11, 1, 2, 3)) == {"A": (INT16, 1), "B": (INT16, 2), "C": (INT16, 3)}
    assert decode(structure, struct.pack("<Ih", 0, 1)) == {"A": (INT16, 1)}


def test_an_array_that_cannot_be_is_not_waited_for() -> None:
    empty = Structure((Field("Nothing", Structure(()), array=True),))
    assert decode(empty, struct.pack("<i", 2**31 - 1)) == {}
    assert decode(empty, struct.pack("<i", -1)) == {"Nothing": (STRUCTURE | ARRAY, None)}


@given(at_byte=st.integers(0, len(RIGHT) - 1), byte=st.integers(0, 255), end=st.integers(0, len(RIGHT)))
def test_damaged_bytes_end_as_values_of_their_types_or_as_nothing(at_byte: int, byte: int, end: int) -> None:
    body = bytearray(RIGHT)
    body[at_byte] = byte
    for damaged in (bytes(body), bytes(body[:end]), bytes(body[end:])):
        found = decode(MOTOR, damaged)
        assert not found or [kind for kind, _ in found.values()] == [
            BOOLEAN,
            INT16 | ARRAY,
            STRUCTURE | ARRAY,
            STRUCTURE,
            DATE_TIME,
            TEXT,
        ]


@given(st.binary(max_size=80))
def test_any_bytes_at_all(body: bytes) -> None:
    found = decode(MOTOR, body)
    assert not found or len(found) == len(MOTOR.fields)


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a[", "a[]", "a[x]", "[0]", "a..b", "a[1234567]"])
def test_what_is_no_path_is_a_mistake_with_a_sentence(text: str) -> None:
    with pytest.raises(ValueError, match="a path is names of fields"):
        parse_path(text)
