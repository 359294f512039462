"""Judging readings, on registers as real meters have them: every neighbour is there too."""

from __future__ import annotations

import struct
from dataclasses import replace

import pytest

from drivers.modbus.options import Order, Type
from drivers.modbus.probe import Answers, Way, judge, keys, neighbours, point_of, spans, value_of

VOLTAGES = struct.pack(">6f", 229.14, 231.72, 230.45, 12.371, 11.846, 12.659)
START = 3026  # on the wire, of the first of them


def answers(point_way: Way, registers: bytes = VOLTAGES, typed: bool = True) -> Answers:
    """Everything that lies in ``registers``, at function 3; the rest is refused."""
    found: dict[tuple[int, int, int], list[bytes] | int] = {}
    wanted = spans(point_of(point_way, typed, None))
    for span in dict.fromkeys([*wanted, *(near for each in wanted for near in neighbours(each))]):
        function, start, count = span
        low, high = 2 * (start - START), 2 * (start - START + count)
        found[span] = [registers[low:high]] * 2 if function == 3 and low >= 0 and high <= len(registers) else 2
    return found


def best(way: Way, expected: tuple[float, float] | None = None, registers: bytes = VOLTAGES) -> Way:
    return judge(point_of(way, True, expected), answers(way, registers))[0].way


RIGHT = Way(3, START + 2, Type.FLOAT32)


@pytest.mark.parametrize("shift", [0, 1])
def test_the_number_of_the_manual_is_one_too_high(shift: int) -> None:
    assert best(replace(RIGHT, register=RIGHT.register + shift)) == RIGHT


def test_one_too_low_is_found_with_a_look_at_the_display() -> None:
    low = replace(RIGHT, register=RIGHT.register - 1)
    assert best(low, (231.6, 231.8)) == RIGHT
    assert best(low).register == RIGHT.register - 2  # as plausible, and the commoner mistake


@pytest.mark.parametrize("byte_order", Order)
@pytest.mark.parametrize("word_order", Order)
def test_the_order_of_the_instrument_is_found_whatever_was_written(byte_order: Order, word_order: Order) -> None:
    registers = b"".join(
        value_as(struct.pack(">f", number), byte_order, word_order) for number in struct.unpack(">6f", VOLTAGES)
    )
    right = replace(RIGHT, byte_order=byte_order, word_order=word_order)
    assert best(RIGHT, (200, 260), registers) == right
    assert best(replace(right, byte_order=Order.BIG, word_order=Order.LITTLE), (200, 260), registers) == right


def value_as(data: bytes, byte_order: Order, word_order: Order) -> bytes:
    first, second = data[:2], data[2:]
    if byte_order is Order.LITTLE:
        first, second = first[::-1], second[::-1]
    return first + second if word_order is Order.BIG else second + first


def test_read_one_off_a_voltage_is_nothing() -> None:
    point = point_of(replace(RIGHT, register=RIGHT.register + 1), True, None)
    judged = {each.way: each for each in judge(point, answers(point.way))}
    off = judged[point.way]
    assert not off.plausible
    assert {"unusual size", "0 of 3 neighbours usual"} <= set(off.reasons)


def test_zero_says_nothing_and_is_one_reading() -> None:
    zeros = bytes(24)
    judged = judge(point_of(RIGHT, True, (0, 300)), answers(RIGHT, zeros))
    assert {len(each.same) for each in judged} == {3}  # the four orders are one
    assert all("zero, which says nothing" in each.reasons for each in judged)
    assert judged[0].way == RIGHT


def test_a_reading_that_jumps_is_not_plausible() -> None:
    polls = [struct.pack(">f", value) for value in (12.0, -400.0, 3.0)]
    point = point_of(RIGHT, True, None)
    (jumping, *_) = judge(point, {RIGHT.span: polls})
    assert "jumps from poll to poll" in jumping.reasons
    assert jumping.score < judge(point, {RIGHT.span: polls[:1]})[0].score - 25


def test_no_number_and_refusals_are_no_candidates_for_a_line_file() -> None:
    point = point_of(RIGHT, True, None)
    assert judge(point, dict.fromkeys(spans(point), 2)) == []
    nan = judge(point, {RIGHT.span: [struct.pack(">f", float("nan"))]})
    assert not nan[-1].plausible
    assert "no number" in nan[-1].reasons


def test_the_scale_of_the_tag_goes_with_its_range() -> None:
    way = Way(3, 1, Type.INT16)
    point = point_of(way, True, (20, 30), 0.1)
    judged = judge(point, {way.span: [b"\x00\xf2"]})
    assert judged[0].values == pytest.approx((24.2,))
    assert judged[0].way == way


def test_bits_are_asked_with_their_own_functions() -> None:
    point = point_of(Way(3, 5, Type.BIT), True, None)
    assert {span[0] for span in spans(point)} == {1, 2}
    judged = judge(point, {(1, 5, 1): [b"\x01"], (2, 5, 1): 2})
    assert [each.values for each in judged] == [(True,)]
    assert keys(judged[0].way) == {"register": 5, "function": 1}


def test_texts_are_judged_by_what_can_be_read() -> None:
    way = Way(3, 10, Type.STRING, length=3)
    judged = judge(point_of(way, True, None), {way.span: [b"DS6M03"]})
    assert [value for each in judged for value in each.values] == ["DS6M03", "SDM630"]
    assert value_of(replace(way, byte_order=Order.LITTLE), b"DS6M03") == "SDM630"


@pytest.mark.parametrize(
    ("way", "said"),
    [
        (Way(4, 0, Type.FLOAT32), {"register": 0, "function": 4, "type": "float32"}),
        (Way(3, 0, Type.INT16, Order.LITTLE), {"register": 0, "function": 3, "type": "int16", "byte_order": "little"}),
        (
            Way(3, 0, Type.INT64, Order.BIG, Order.LITTLE),
            {"register": 0, "function": 3, "type": "int64", "word_order": "little"},
        ),
    ],
)
def test_keys_say_what_is_not_usual(way: Way, said: dict[str, object]) -> None:
    assert keys(way) == said
    assert keys(RIGHT, replace(RIGHT, word_order=Order.LITTLE))["word_order"] == "big"


@pytest.mark.parametrize("kind", [kind for kind in Type if kind is not Type.BIT])
def test_every_type_can_be_judged(kind: Type) -> None:
    way = Way(3, 8, kind, length=4 if kind is Type.STRING else None)
    point = point_of(way, True, None)
    data = bytes(range(0x11, 0x19))[: 2 * way.words]
    judged = judge(point, {way.span: [data] * 3})
    assert {each.way.type for each in judged} == {kind}
    assert all(len(each.values) == 3 and each.reasons for each in judged)
    assert keys(judged[0].way)["type"] == kind


def test_every_step_of_the_score_is_explained_by_a_reason_or_a_prior() -> None:
    """Two readings that differ in one thing differ by what the table in the docstring says."""
    inside, outside = (
        judge(point_of(RIGHT, True, limits), {RIGHT.span: [VOLTAGES[4:8]]})[0] for limits in ((0, 300), (0, 9))
    )
    assert (inside.way, outside.way) == (RIGHT, RIGHT)
    assert inside.score - outside.score == 90
    awkward = judge(point_of(RIGHT, True, None), {RIGHT.span: [VOLTAGES[4:8]]}, {RIGHT.span})[0]
    free = judge(point_of(RIGHT, True, None), {RIGHT.span: [VOLTAGES[4:8]]})[0]
    assert free.score - awkward.score == 20
    assert "refused when asked for by itself" in awkward.reasons


def test_one_mistake_is_likelier_than_two() -> None:
    here, before = RIGHT.span, replace(RIGHT, register=RIGHT.register - 1).span
    swapped = VOLTAGES[6:8] + VOLTAGES[4:6]
    judged = {each.way: each for each in judge(point_of(RIGHT, True, None), {here: [swapped], before: [swapped]})}
    one = judged[replace(RIGHT, word_order=Order.LITTLE)]
    two = judged[replace(RIGHT, word_order=Order.LITTLE, register=RIGHT.register - 1)]
    assert one.values == two.values
    assert one.score - two.score == 6  # 5 - 3 for the place, 4 for the second mistake
