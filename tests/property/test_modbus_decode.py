"""What was put into registers comes out of them, for every type and order, and nothing else ever does."""

from __future__ import annotations

import math
import struct
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import isfinite

from hypothesis import given
from hypothesis import strategies as st

from drivers.modbus.decode import Decoder
from drivers.modbus.options import WORDS, Address, Limits, Order, Type
from drivers.modbus.plan import plan
from gateway.core.model import Kind, Value
from gateway.core.quality import GOOD, Status
from gateway.core.text import render, speed_up

NUMBERS = [t for t in Type if t.startswith(("int", "uint")) or t in (Type.FLOAT32, Type.FLOAT64)]
KINDS = {Type.FLOAT32: Kind.FLOAT, Type.FLOAT64: Kind.FLOAT, Type.BIT: Kind.BOOL, Type.STRING: Kind.TEXT}
MEASURED = st.floats(2**-10, 2**36, width=32)
orders = st.sampled_from(list(Order))


@dataclass(frozen=True)
class Case:
    """A tag, the registers that stand for it, and what must come out: worked out byte by byte."""

    address: Address
    kind: Kind
    registers: bytes
    value: Value
    status: int


def wire(big_endian: bytes, byte_order: Order, word_order: Order) -> bytes:
    """The definition of the two orders, in its plainest form."""
    words = [big_endian[i : i + 2] for i in range(0, len(big_endian), 2)]
    if word_order is Order.LITTLE:
        words = words[::-1]
    if byte_order is Order.LITTLE:
        words = [word[::-1] for word in words]
    return b"".join(words)


def meaning(raw: bytes, kind: Type) -> tuple[Value, int]:
    """What big-endian bytes mean, without struct where that is possible."""
    if kind in (Type.FLOAT32, Type.FLOAT64):
        number = struct.unpack(">f" if kind is Type.FLOAT32 else ">d", raw)[0]
        return (number, GOOD) if isfinite(number) else (None, Status.BAD_SENSOR_FAILURE)
    whole = int.from_bytes(raw, "big", signed=kind.startswith("int"))
    return (whole, GOOD) if whole < 2**63 else (None, Status.BAD_TYPE_MISMATCH)


@st.composite
def cases(draw: st.DrawFn, register: int, function: int) -> Case:
    type_ = draw(st.sampled_from([*NUMBERS, Type.BIT, Type.STRING]))
    byte_order, word_order = draw(orders), draw(orders)
    if type_ is Type.STRING:
        words = draw(st.integers(1, 5))
        text = draw(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=2 * words))
        raw = text.encode().ljust(2 * words, draw(st.sampled_from([b"\0", b" "])))
        address = Address(function, register, words, type_, byte_order, word_order, 0, ())
        return Case(address, Kind.TEXT, wire(raw, byte_order, Order.BIG), text, GOOD)
    words = WORDS[type_]
    raw = draw(st.binary(min_size=2 * words, max_size=2 * words))
    if type_ is Type.BIT:
        bit = draw(st.integers(0, 15))
        address = Address(function, register, 1, type_, byte_order, word_order, bit, ())
        value: Value = bool(int.from_bytes(raw, "big") & 2**bit)
        return Case(address, Kind.BOOL, wire(raw, byte_order, word_order), value, GOOD)
    whole = int.from_bytes(raw, "big")
    invalid = draw(st.sampled_from([(), (whole,), (whole ^ 1,)]))
    address = Address(function, register, words, type_, byte_order, word_order, 0, invalid)
    value, status = meaning(raw, type_)
    if invalid == (whole,):
        value, status = None, Status.BAD_SENSOR_FAILURE
    return Case(address, KINDS.get(type_, Kind.INT), wire(raw, byte_order, word_order), value, status)


@st.composite
def devices(draw: st.DrawFn) -> list[Case]:
    """Some values in registers, one behind the other with gaps, in any order of tags."""
    found: list[Case] = []
    register = draw(st.integers(0, 3))
    for _ in range(draw(st.integers(1, 12))):
        case = draw(cases(register, function=3))
        found.append(case)
        register += case.address.words + draw(st.integers(0, 4))
    return draw(st.permutations(found))


@given(devices(), st.integers(8, 40), st.booleans())
def test_every_value_comes_out_as_it_was_put_in(tags: list[Case], max_registers: int, even: bool) -> None:
    limits = Limits(max_registers=max_registers, max_gap=4, even_start=even, even_count=even)
    values, status = decode(tags, limits)
    wanted = tuple(case.status for case in tags)
    assert (status or (GOOD,) * len(tags)) == wanted
    assert (status is None) == (set(wanted) == {GOOD})
    for case, value in zip(tags, values, strict=True):
        assert same(case, value)


@given(devices(), st.data())
def test_a_refused_block_takes_only_its_own_tags(tags: list[Case], data: st.DataObject) -> None:
    limits = Limits(max_registers=8, max_gap=4)
    blocks = plan([case.address for case in tags], limits)
    refused = data.draw(st.sets(st.integers(0, len(blocks) - 1), min_size=1))
    values, status = decode(tags, limits, refused)
    assert status is not None
    for i, case in enumerate(tags):
        if any(i in blocks[number].tags for number in refused):
            assert (values[i], status[i]) == (None, Status.BAD_DEVICE_FAILURE)
        else:
            assert status[i] == case.status
            assert same(case, values[i])


@given(st.lists(st.booleans(), min_size=1, max_size=60), st.integers(0, 70), st.permutations(range(60)))
def test_coils_come_out_as_they_were_put_in(bits: list[bool], start: int, order: Sequence[int]) -> None:
    image = [False] * start + bits
    places = [start + i for i in order if i < len(bits)]
    addresses = [Address(1, place, 1, Type.BIT, Order.BIG, Order.BIG, 0, ()) for place in places]
    blocks = plan(addresses, Limits(max_bits=17))
    answers = []
    for block in blocks:
        asked = image[block.start : block.start + block.count]
        packed = bytearray(block.size)
        for i, bit in enumerate(asked):
            packed[i // 8] |= bit << i % 8
        answers.append(bytes(packed))
    values, status = Decoder(addresses, [Kind.BOOL] * len(addresses), blocks).decode(answers)
    assert status is None
    assert values == tuple(image[place] for place in places)


@given(
    st.lists(MEASURED | st.sampled_from([0.0, math.nan, -math.inf, 2.0**100]), min_size=1, max_size=90),
    st.integers(0, 300),
    st.sampled_from([20, 124, 125]),
    st.integers(0, 2),
    st.sampled_from([Order.BIG, Order.LITTLE]),
)
def test_a_column_of_float32_is_what_it_is_value_by_value(
    numbers: list[float], start: int, most: int, gap: int, word_order: Order
) -> None:
    speed_up()
    step = 2 + gap
    addresses = [
        Address(3, start + step * i, 2, Type.FLOAT32, Order.BIG, word_order, 0, ()) for i in range(len(numbers))
    ]
    blocks = plan(addresses, Limits(max_registers=most))
    image = bytearray(2 * (start + step * len(numbers) + 200))
    for address, number in zip(addresses, numbers, strict=True):
        image[2 * address.register : 2 * address.register + 4] = wire(struct.pack(">f", number), Order.BIG, word_order)
    answers: list[bytes | Status] = [bytes(image[2 * b.start : 2 * (b.start + b.count)]) for b in blocks]
    decoder = Decoder(addresses, [Kind.FLOAT] * len(addresses), blocks)
    column, (values, status) = decoder.column(answers), decoder.decode(answers)
    if column is not None:
        assert (repr(column[0]), column[1], status) == (repr(values), render(values), None)
    plain = all(abs(number) <= 2**36 for number in numbers)  # NaN is not
    assert (column is not None) == (plain and word_order is Order.BIG and (gap == 0 or len(numbers) == 1))
    assert decoder.column([*answers[:-1], Status.BAD_DEVICE_FAILURE]) is None


def decode(
    tags: list[Case],
    limits: Limits,
    refused: Collection[int] = (),
) -> tuple[tuple[Value, ...], tuple[int, ...] | None]:
    addresses = [case.address for case in tags]
    blocks = plan(addresses, limits)
    image = bytearray(b"\xa5" * 2 * 200)
    for case in tags:
        image[2 * case.address.register : 2 * (case.address.register + case.address.words)] = case.registers
    answers: list[bytes | Status] = [bytes(image[2 * b.start : 2 * (b.start + b.count)]) for b in blocks]
    for number in refused:
        answers[number] = Status.BAD_DEVICE_FAILURE
    return Decoder(addresses, [case.kind for case in tags], blocks).decode(answers)


def same(case: Case, value: Value) -> bool:
    """Whether ``value`` is the one that was put in; a float32 comes as the shortest double of the same float32."""
    if type(value) is not type(case.value):
        return False
    if case.address.type is Type.FLOAT32 and isinstance(value, float) and isinstance(case.value, float):
        return struct.pack(">f", value) == struct.pack(">f", case.value) and len(repr(value)) <= len(repr(case.value))
    return value == case.value
