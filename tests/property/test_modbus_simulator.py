"""What is set in a simulator is what the driver's plan and decoder make of its answers, for any map and any value."""

from __future__ import annotations

import struct
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.decode import Decoder
from drivers.modbus.options import WORDS, Type
from drivers.modbus.plan import addresses_of, plan_group
from drivers.modbus.simulator import ModbusSimulator
from gateway.core.model import Group, Value, groups
from gateway.core.text import shortest_float32
from tests.support.modbus_links import make_link

UNIT = 3
INTEGERS = {"int16": 16, "int32": 32, "int64": 64, "uint16": 16, "uint32": 32, "uint64": 63}
text = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=6)
float32 = st.floats(width=32, allow_nan=False, allow_infinity=False).map(lambda x: shortest_float32([x])[0])
ORDERS = st.fixed_dictionaries(
    {"byte_order": st.sampled_from(["big", "little"]), "word_order": st.sampled_from(["big", "little"])}
)


def value_of(type_: str) -> st.SearchStrategy[Value]:
    if type_ in INTEGERS:
        bits = INTEGERS[type_]
        return st.integers(-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if type_[0] == "i" else st.integers(0, 2**bits - 1)
    return {"float32": float32, "float64": st.floats(allow_nan=False, allow_infinity=False), "string": text}.get(
        type_, st.booleans()
    )


@st.composite
def maps(draw: st.DrawFn) -> tuple[dict[str, Any], dict[str, Value]]:
    """A device as in a line file, and a value for each of its tags."""
    tags: list[dict[str, Any]] = []
    values: dict[str, Value] = {}
    register = draw(st.integers(0, 5))
    for i in range(draw(st.integers(1, 15))):
        type_ = draw(st.sampled_from([*INTEGERS, "float32", "float64", "bit", "string", "coil"]))
        tag: dict[str, Any] = {"name": f"t{i}", "register": register, "type": type_, **draw(ORDERS)}
        if type_ == "coil":
            tag = {"name": f"t{i}", "register": register, "function": draw(st.sampled_from([1, 2]))}
        elif type_ == "bit":
            tag["bit"] = draw(st.integers(0, 15))
        elif type_ == "string":
            tag["length"] = 3
        tags.append(tag)
        values[f"t{i}"] = draw(value_of(type_))
        register += {"coil": 1, "string": 3}.get(type_) or WORDS[Type(type_)]
        register += draw(st.sampled_from([0, 0, 0, 1, 30]))
    limits = {"even_start": draw(st.booleans()), "even_count": draw(st.booleans()), "max_gap": 7}
    limits["max_registers"] = draw(st.integers(8, 125))
    return {"id": "d", "address": UNIT, "tags": tags, "limits": limits}, values


@given(maps())
def test_what_is_set_is_what_is_read(device: tuple[dict[str, Any], dict[str, Value]]) -> None:
    written, values = device
    link = make_link([written], 0)
    simulator = ModbusSimulator(link)
    simulator.set("d", values)
    (group,) = groups(link.devices[0])
    assert read(simulator, group) == values
    assert simulator.writes == 0


def read(simulator: ModbusSimulator, group: Group) -> dict[str, Value]:
    blocks = plan_group(group)
    answers = []
    for block in blocks:
        answer = simulator.answer(struct.pack(">BBHH", UNIT, block.function, block.start, block.count))
        assert answer[:3] == bytes((UNIT, block.function, block.size)), f"{block} was refused"
        answers.append(answer[3:])
    kinds = [tag.kind for tag in group.tags]
    read, status = Decoder(addresses_of(group), kinds, blocks).decode(answers)
    assert status is None
    return {tag.name: value for tag, value in zip(group.tags, read, strict=True)}
