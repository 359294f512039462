"""Corners of decoding; types × orders are in tests/property and, against foreign servers, in tests/system."""

from __future__ import annotations

import struct
from typing import Any

import pytest

from drivers.modbus.decode import Decoder
from drivers.modbus.plan import addresses_of, plan_group
from gateway.core.model import Value, groups
from gateway.core.quality import Status
from tests.support.modbus_links import make_link


def decode(answer: bytes | Status, *tags: dict[str, Any], **device: Any) -> tuple[tuple[Value, ...], Any]:
    """All tags in one block that is answered like this."""
    named = [{"name": f"t{i}", **tag} for i, tag in enumerate(tags)]
    (group,) = groups(make_link([{"id": "d", "tags": named, **device}], 0).devices[0])
    blocks = plan_group(group)
    return Decoder(addresses_of(group), [tag.kind for tag in group.tags], blocks).decode([answer])


def test_a_float32_says_what_the_instrument_said() -> None:
    """80.4 and not 80.4000015258789."""
    values, status = decode(struct.pack(">f", 80.4), {"register": 0, "type": "float32"})
    assert (values, status) == ((80.4,), None)


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize(("code", "type_"), [("f", "float32"), ("d", "float64")])
def test_f11_what_is_no_number_is_none(odd: float, code: str, type_: str) -> None:
    words = struct.calcsize(code) // 2
    values, status = decode(
        struct.pack(f">{code}{code}", odd, 1.5),
        {"register": 0, "type": type_},
        {"register": words, "type": type_},
    )
    assert values == (None, 1.5)
    assert status == (Status.BAD_SENSOR_FAILURE, 0)


@pytest.mark.parametrize(
    ("type_", "raw", "invalid", "value"),
    [
        ("int16", "8000", 0x8000, None),
        ("int16", "8001", 0x8000, -32767),
        ("uint16", "ffff", 0xFFFF, None),
        ("int32", "80000000", 0x80000000, None),
        ("int64", "8000000000000000", 0x8000000000000000, None),
        ("uint64", "ffffffffffffffff", 0xFFFFFFFFFFFFFFFF, None),
        ("float32", "c61c3c00", 0xC61C3C00, None),  # -9999
        ("float32", "80000000", 0x80000000, None),  # minus zero is not zero
        ("float32", "00000000", 0x80000000, 0.0),
    ],
)
def test_f11_raw_values_that_mean_not_available(type_: str, raw: str, invalid: int, value: Value) -> None:
    values, status = decode(bytes.fromhex(raw), {"register": 0, "type": type_, "invalid": [invalid]})
    assert values == (value,)
    assert status == (None if value is not None else (Status.BAD_SENSOR_FAILURE,))


def test_f12_a_uint64_beyond_int64_is_none_but_fits_a_float() -> None:
    raw = b"\xff" * 8
    assert decode(raw, {"register": 0, "type": "uint64"}) == ((None,), (Status.BAD_TYPE_MISMATCH,))
    assert decode(raw, {"register": 0, "type": "uint64", "kind": "float"}) == ((float(2**64 - 1),), None)
    assert decode(b"\x7f" + raw[1:], {"register": 0, "type": "uint64"}) == ((2**63 - 1,), None)


@pytest.mark.parametrize(
    ("raw", "text"),
    [
        (b"R-101\0", "R-101"),
        (b"R-101 ", "R-101"),
        (b"ab\0xyz", "ab"),
        (b"a\x07b\x1b\x7f ", "ab"),
        (b"\xb0C\x85 \r\n", "°C"),
        (b"\0\0\0\0\0\0", ""),
        (b"      ", ""),
    ],
)
def test_texts_are_cut_and_clean(raw: bytes, text: str) -> None:
    assert decode(raw, {"register": 0, "type": "string", "length": 3}) == ((text,), None)


def test_texts_know_the_order_of_bytes_and_not_that_of_words() -> None:
    tag = {"register": 0, "type": "string", "length": 2, "byte_order": "little", "word_order": "little"}
    assert decode(b"badc", tag) == (("abcd",), None)


def test_tags_may_share_registers() -> None:
    """A status word as a number, as bits, and as half of something wider."""
    values, status = decode(
        bytes.fromhex("0005 0001"),
        {"register": 0, "type": "uint32"},
        {"register": 0, "type": "bit", "bit": 0},
        {"register": 0, "type": "bit", "bit": 1},
        {"register": 0, "type": "bit", "bit": 2, "kind": "int"},
        {"register": 1},
        {"register": 0, "type": "int16", "scale": 0.5},
    )
    assert values == (0x50001, True, False, 1, 1, 5.0)
    assert [type(value) for value in values] == [int, bool, bool, int, int, float]
    assert status is None


def test_tags_of_other_orders_in_one_block() -> None:
    values, _ = decode(
        bytes.fromhex("42a0cccd cccd42a0 a042cdcc cdcca042"),
        {"register": 0, "type": "float32"},
        {"register": 2, "type": "float32", "word_order": "little"},
        {"register": 4, "type": "float32", "byte_order": "little"},
        {"register": 6, "type": "float32", "byte_order": "little", "word_order": "little"},
    )
    assert values == (80.4,) * 4


def test_a_refused_block_gives_its_tags_the_status() -> None:
    assert decode(Status.BAD_DEVICE_FAILURE, {"register": 0, "type": "float32"}, {"register": 2}) == (
        (None, None),
        (Status.BAD_DEVICE_FAILURE,) * 2,
    )
    assert decode(Status.BAD_DEVICE_FAILURE, {"register": 0}, {"register": 9}, function=1)[0] == (None, None)
