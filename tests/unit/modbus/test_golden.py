"""Every type in every order, against bytes worked out by hand and, where it knows the type, against pymodbus.

The letters of an order are the bytes of the value from the most significant on, in the order in which they come.
"""

from __future__ import annotations

import struct
from typing import Any

import pytest
from pymodbus.client.mixin import ModbusClientMixin

from drivers.modbus.decode import Decoder
from drivers.modbus.plan import addresses_of, plan_group
from gateway.core.model import Value, groups
from gateway.core.quality import Status
from tests.support.modbus_links import make_link

ORDERS = {
    1: {"AB": ("big", "big"), "BA": ("little", "big")},
    2: {
        "ABCD": ("big", "big"),
        "CDAB": ("big", "little"),
        "BADC": ("little", "big"),
        "DCBA": ("little", "little"),
    },
    4: {
        "ABCDEFGH": ("big", "big"),
        "GHEFCDAB": ("big", "little"),
        "BADCFEHG": ("little", "big"),
        "HGFEDCBA": ("little", "little"),
    },
}

# type, bytes from the most significant on, value
GOLDEN: list[tuple[str, str, Value]] = [
    ("int16", "8000", -32768),
    ("int16", "00f2", 242),
    ("uint16", "fff1", 65521),
    ("int32", "f8a432eb", -123456789),
    ("uint32", "ee6b2800", 4_000_000_000),
    ("int64", "eeddef0b82167eeb", -1234567890123456789),
    ("uint64", "7fffffffffffffff", 2**63 - 1),
    ("float16", "5506", 80.4),
    ("float16", "c000", -2.0),
    ("float16", "0001", 6e-08),
    ("float16", "7bff", 65500.0),
    ("float32", "42a0cccd", 80.4),
    ("float32", "c61c3c00", -9999.0),
    ("float64", "3fd5555555555555", 1 / 3),
    ("acc16", "ffff", 65535),
    ("acc32", "00010000", 65536),
    ("acc64", "0000000100000000", 2**32),
    ("bcd16", "1234", 1234),
    ("bcd32", "00987654", 987654),
    ("bitfield16", "8001", 0x8001),
    ("bitfield32", "80000001", 0x80000001),
]
PYMODBUS = {"float16", "acc16", "acc32", "acc64", "bcd16", "bcd32", "bitfield16", "bitfield32"}


def decode(wire: bytes, *tags: dict[str, Any]) -> tuple[tuple[Value, ...], Any]:
    named = [{"name": f"t{i}", "register": 0, **tag} for i, tag in enumerate(tags)]
    (group,) = groups(make_link([{"id": "d", "tags": named}], 0).devices[0])
    blocks = plan_group(group)
    assert sum(block.size for block in blocks) == len(wire)
    return Decoder(addresses_of(group), [tag.kind for tag in group.tags], blocks).decode([wire])


@pytest.mark.parametrize(("kind", "straight", "value"), GOLDEN)
def test_every_order(kind: str, straight: str, value: Value) -> None:
    raw = bytes.fromhex(straight)
    for letters, (byte_order, word_order) in ORDERS[len(raw) // 2].items():
        wire = bytes(raw[ord(letter) - ord("A")] for letter in letters)
        (got,), status = decode(wire, {"type": kind, "byte_order": byte_order, "word_order": word_order})
        assert (got, status) == (value, None), letters
        assert type(got) is type(value)


@pytest.mark.parametrize(("kind", "straight", "value"), [row for row in GOLDEN if row[0] not in PYMODBUS])
def test_pymodbus_reads_the_same(kind: str, straight: str, value: Value) -> None:
    """An implementation that is not ours; it knows word orders, and no byte orders."""
    raw = bytes.fromhex(straight)
    registers = list(struct.unpack(f">{len(raw) // 2}H", raw))
    for word_order in ("big", "little"):
        came = registers if word_order == "big" else registers[::-1]
        theirs = ModbusClientMixin.convert_from_registers(
            came,
            ModbusClientMixin.DATATYPE[kind.upper()],
            word_order="big" if word_order == "big" else "little",
        )
        wire = struct.pack(f">{len(came)}H", *came)
        (ours,), _ = decode(wire, {"type": kind, "word_order": word_order})
        assert ours == value
        assert theirs == pytest.approx(value, rel=1e-7) if isinstance(value, float) else theirs == value


@pytest.mark.parametrize("raw", ["7c00", "fc00", "7e00"])
def test_f11_a_half_that_is_no_number(raw: str) -> None:
    assert decode(bytes.fromhex(raw), {"type": "float16"}) == ((None,), (Status.BAD_SENSOR_FAILURE,))


def test_every_half_comes_as_the_shortest_text_that_means_it() -> None:
    for bits in range(0, 0x7C00, 7):
        raw = struct.pack(">H", bits)
        (value,), _ = decode(raw, {"type": "float16"})
        assert isinstance(value, float)
        assert struct.pack(">e", value) == raw


@pytest.mark.parametrize("raw", ["00a1", "f000"])
def test_f22_what_is_no_decimal_digit(raw: str) -> None:
    assert decode(bytes.fromhex(raw), {"type": "bcd16"}) == ((None,), (Status.BAD_TYPE_MISMATCH,))


@pytest.mark.parametrize(
    ("number", "keys", "value"),
    [
        (0, {}, "idle"),
        (3, {}, "running"),
        (7, {}, "7"),  # the map has no name for it: what the device said
        (3, {"kind": "int"}, 3),
    ],
)
def test_numbers_with_names(number: int, keys: dict[str, Any], value: Value) -> None:
    tag = {"enum": {0: "idle", 3: "running"}, **keys}
    assert decode(struct.pack(">H", number), tag) == ((value,), None)


def test_f11_the_number_that_means_no_number() -> None:
    tag = {"enum": {0: "idle"}, "invalid": [0xFFFF]}
    assert decode(b"\xff\xff", tag) == ((None,), (Status.BAD_SENSOR_FAILURE,))


@pytest.mark.parametrize(
    ("raw", "text"),
    [("00000000", ""), ("00000001", "hot"), ("00020001", "hot, door open"), ("80000000", "bit 31")],
)
def test_bits_with_names(raw: str, text: str) -> None:
    tag = {"type": "bitfield32", "bits": {17: "door open", 0: "hot"}}
    assert decode(bytes.fromhex(raw), tag) == ((text,), None)


@pytest.mark.parametrize(
    ("raw", "factor", "value"),
    [
        (1234, -2, 12.34),
        (-5, 0, -5.0),
        (2301, -1, 230.1),
        (7, 3, 7000.0),
        (7, -10, 7e-10),
        (7, -32768, None),  # 0x8000: SunSpec's "not implemented"
        (7, 11, None),
    ],
)
def test_the_scale_stands_in_another_register(raw: int, factor: int, value: Value) -> None:
    tag = {"type": "int16", "scale_from": {"register": 1}}
    status = None if value is not None else (Status.BAD_SENSOR_FAILURE,)
    assert decode(struct.pack(">hh", raw, factor), tag) == ((value,), status)


def test_several_values_share_a_factor_and_may_read_it_too() -> None:
    factor: dict[str, Any] = {"register": 2, "type": "int16"}
    tags: list[dict[str, Any]] = [
        {"type": "int16", "scale_from": {"register": 2}},
        {"register": 1, "type": "int16", "scale_from": {"register": 2}},
        factor,
        {"register": 3, "scale_from": {"register": 4, "type": "uint16", "meaning": "multiplier"}},
    ]
    assert decode(struct.pack(">hhhHH", 15, 20, -1, 6, 7), *tags) == ((1.5, 2.0, -1, 42.0), None)


def test_a_sentinel_comes_before_its_factor() -> None:
    tag = {"type": "int16", "invalid": [0x8000], "scale_from": {"register": 1}}
    assert decode(b"\x80\x00\x00\x01", tag) == ((None,), (Status.BAD_SENSOR_FAILURE,))
