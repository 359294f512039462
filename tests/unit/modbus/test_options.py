from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from drivers.modbus.options import Address, ModbusDevice, ModbusTag, Order, Type
from gateway.core.model import Kind
from tests.support.modbus_links import make_link


def tag(**keys: Any) -> ModbusTag:
    return ModbusTag.model_validate({"name": "t", "register": 0, **keys})


def device(**keys: Any) -> ModbusDevice:
    return ModbusDevice.model_validate({"id": "d", **keys})


def test_a_tag_takes_the_defaults_of_its_device() -> None:
    whole = device(function=4, word_order="little")
    assert tag(register=7, type="float32").wire_address(whole) == Address(
        4, 7, 2, Type.FLOAT32, Order.BIG, Order.LITTLE, 0, ()
    )
    own = tag(function=3, type="float32", word_order="big", byte_order="little").wire_address(whole)
    assert own == Address(3, 0, 2, Type.FLOAT32, Order.LITTLE, Order.BIG, 0, ())


def test_coils_are_bits_without_saying_so() -> None:
    address = tag(register=9).wire_address(device(function=1))
    assert (address.type, address.words) == (Type.BIT, 1)


@pytest.mark.parametrize(
    ("keys", "kind"),
    [
        ({}, Kind.INT),
        ({"scale": 0.1}, Kind.FLOAT),
        ({"offset": -40}, Kind.FLOAT),
        ({"type": "float64"}, Kind.FLOAT),
        ({"type": "bit", "bit": 0}, Kind.BOOL),
        ({"function": 2}, Kind.BOOL),
        ({"type": "string", "length": 2}, Kind.TEXT),
        ({"type": "int32", "kind": "float"}, Kind.FLOAT),
    ],
)
def test_the_kind_follows_from_the_type(keys: dict[str, Any], kind: Kind) -> None:
    options = tag(**keys)
    assert options.value_kind(device()) is kind
    options.wire_address(device())  # and goes with it


def test_a_signed_sentinel_is_the_raw_value_of_its_bits() -> None:
    given = tag(type="int16", invalid=[-32768, 0x7FFF, -1])
    assert given.wire_address(device()).invalid == (0x8000, 0x7FFF, 0xFFFF)
    assert tag(type="int32", invalid=[-1]).wire_address(device()).invalid == (0xFFFF_FFFF,)


@pytest.mark.parametrize("kind", ["modbus-rtu", "modbus-rtu-over-tcp"])
def test_address_0_of_a_bus_answers_nobody(kind: str) -> None:
    devices = [{"id": "all", "address": 0, "tags": [{"name": "a", "register": 0}]}]
    make_link(devices, 1)  # over TCP it is often the device with the plug itself
    with pytest.raises(ValidationError, match="all has address 0, which speaks to all of a bus"):
        make_link(devices, "/dev/ttyS9" if kind == "modbus-rtu" else 1, type=kind)


@pytest.mark.parametrize(
    ("keys", "wrap"),
    [
        ({}, None),
        ({"wrap": 1e6}, 1e6),
        ({"type": "acc16"}, 65_536),
        ({"type": "acc32", "scale": 0.1}, 429_496_729.6),
        ({"type": "acc32", "wrap": 1e6}, 1e6),
        ({"type": "acc64"}, None),
        ({"type": "acc32", "offset": 5}, None),  # where it begins again is not 0
        ({"type": "acc32", "scale_from": {"register": 9}}, None),
    ],
)
def test_where_a_counter_begins_again(keys: dict[str, Any], wrap: float | None) -> None:
    assert tag(**keys).wraps_at() == wrap


@pytest.mark.parametrize(
    ("keys", "sentence"),
    [
        ({"type": "string"}, "type: string needs length: how many registers it takes"),
        ({"type": "int16", "length": 1}, "length belongs to type: string; type: int16 has a length of its own"),
        ({"register": 65535, "type": "float32"}, "register 65535 and the 1 behind it go beyond 65535"),
        ({"register": 65536}, "less than or equal to 65535"),
        ({"type": "int16", "invalid": [0x10000]}, "invalid takes raw values from 0 to 0xFFFF for type: int16"),
        ({"type": "uint16", "invalid": [-1]}, "invalid takes raw values from 0 to 0xFFFF for type: uint16; -1 is none"),
        ({"type": "int16", "invalid": [-32769]}, "-32769 is none"),
        ({"type": "float32", "invalid": [-9999]}, "the number -9999 stands there as 0xC61C3C00"),
    ],
)
def test_what_a_tag_alone_cannot_be(keys: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        tag(**keys)


@pytest.mark.parametrize(
    ("keys", "whole", "sentence"),
    [
        ({"type": "uint16"}, {"function": 1}, "function 1 reads single bits: leave out type: uint16"),
        ({"bit": 3}, {}, "bit picks one bit of a register"),
        ({"bit": 3, "type": "bit"}, {"function": 2}, "bit picks one bit of a register"),
        ({"type": "bit"}, {}, "type: bit needs bit"),
        ({"invalid": [1]}, {"function": 1}, "invalid is for numbers"),
        ({"invalid": [1], "type": "string", "length": 1}, {}, "invalid is for numbers"),
        ({"type": "float64"}, {"limits": {"max_registers": 3}}, "its 4 registers do not fit into one request"),
        (
            {"type": "float32", "register": 1},
            {"limits": {"max_registers": 2, "even_start": True}},
            "its 2 registers do not fit into one request",
        ),
        ({"type": "float32", "kind": "int"}, {}, "kind: int cannot hold this type; allowed: float"),
        ({"type": "string", "length": 1, "kind": "float"}, {}, "kind: float cannot hold this type; allowed: text"),
        ({"kind": "text"}, {}, "kind: text cannot hold this type; allowed: int, float, bool"),
    ],
)
def test_what_a_tag_cannot_be_in_its_device(keys: dict[str, Any], whole: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        tag(**keys).wire_address(device(**whole))
