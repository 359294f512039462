"""Which reading of one point is the right one: judged from what the instrument answered. Pure.

In: where somebody believes a value to be, and the answers to every question around it. Out: every way of reading them,
best first, each with a score and the reasons for it. ``commissioning.py`` asks the questions.

The score begins at 50; 50 is also what makes a reading plausible:

    ===========================  =========================================================================
    inside / outside the range   +30 / -60; the range that was expected, else that of the tag
    a number of usual size       +4 to +16, the less likely by chance the more; floats from 0.001 to 10⁷
    a number of unusual size     -6 to -10
    a number of unlikely size    -60; floats below 10⁻⁶ or above 10⁹, integers of the highest byte
    not a number                 -100
    no scale factor              -60; the register that should hold it is refused, or holds none
    zero at every poll           -15
    steady / jumping             +5 / -30; differences up to a tenth, beyond a half, over the polls
    asked for by itself          -20 where the instrument refuses: no value begins there
    neighbours                   +3 / -6 for each of the two before and behind that reads (un)usual the same way
    where it was looked for      +5, one before +3 (manuals count from 1), one behind 0
    order                        ABCD +4, CDAB +3, DCBA +1, BADC 0; +2 as it was written
    function                     +2 as it was written
    more than one thing wrong    -4 for each that comes on top
    ===========================  =========================================================================
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Any, TypeAlias

from drivers.modbus.decode import Decoder, scaled
from drivers.modbus.options import ModbusDevice, ModbusTag, Order, Type
from drivers.modbus.plan import BITS, END, Block
from gateway.core.model import Value

LIKELY = (Type.FLOAT32, Type.INT16, Type.UINT16, Type.INT32, Type.UINT32, Type.INT64, Type.FLOAT64)
"""What is tried where nobody says the type."""

NOT_PROBED = (Type.BIT,)  # of a register: read as uint16, its bits are seen at once

PLAUSIBLE = 50
NEIGHBOURS = (-2, -1, 1, 2)  # times the length of the value

RARITY = {
    Type.FLOAT32: 12, Type.FLOAT64: 16, Type.INT64: 8, Type.UINT64: 8, Type.INT32: 5, Type.UINT32: 5,
    Type.INT16: 6, Type.UINT16: 6,
}  # fmt: skip
"""How much a usual size of such a number says: bits put together by chance seldom have one."""

USUAL = {1: 10_000, 2: 1 << 24, 4: 1 << 36}
"""Registers → below this an integer is usual."""

ORDERS = {
    (Order.BIG, Order.BIG): ("ABCD", 4),
    (Order.BIG, Order.LITTLE): ("CDAB", 3),
    (Order.LITTLE, Order.LITTLE): ("DCBA", 1),
    (Order.LITTLE, Order.BIG): ("BADC", 0),
}
"""(byte order, word order) → what manuals call it, how common it is."""

Span: TypeAlias = tuple[int, int, int]
"""(function, first register, registers) or (function, first bit, bits)."""

Answers: TypeAlias = Mapping[Span, Sequence[bytes] | int]
"""What came: the data of each poll, or the exception code. A span that nobody answered is missing."""


@dataclass(frozen=True, slots=True)
class Factor:
    """A register that says what the value is to be multiplied with; function and orders are those of the value."""

    register: int
    type: Type = Type.INT16
    exponent: bool = True  # what stands there is a power of ten, not the factor itself


@dataclass(frozen=True, slots=True)
class Way:
    """One way to read the point."""

    function: int
    register: int
    type: Type
    byte_order: Order = Order.BIG
    word_order: Order = Order.BIG
    length: int | None = None  # of a string, in registers
    factor: Factor | None = None

    @property
    def words(self) -> int:
        """Registers, or one bit."""
        return 1 if self.function in BITS else _words(self.type, self.length)

    @property
    def span(self) -> Span:
        return self.function, self.register, self.words

    @property
    def factor_way(self) -> Way | None:
        """How its scale factor is read."""
        if self.factor is None:
            return None
        return Way(self.function, self.factor.register, self.factor.type, self.byte_order, self.word_order)

    @property
    def order(self) -> str:
        """ABCD and so on; AB or BA of a single register; empty for a bit."""
        if self.function in BITS:
            return ""
        name = ORDERS[self.byte_order, self.word_order][0]
        return (
            name if self.words > 1 and self.type is not Type.STRING else "AB" if self.byte_order is Order.BIG else "BA"
        )


@dataclass(frozen=True, slots=True)
class Point:
    """What somebody believes about the point."""

    way: Way
    types: tuple[Type, ...] = LIKELY
    functions: tuple[int, ...] = (3, 4)
    expected: tuple[float, float] | None = None  # in the unit of the tag
    scale: float = 1.0
    offset: float = 0.0

    @property
    def registers(self) -> tuple[int, ...]:
        """Where it was looked for first, then one before and one behind."""
        at = self.way.register
        return tuple(register for register in (at, at - 1, at + 1) if 0 <= register < END)


@dataclass(frozen=True, slots=True)
class Judged:
    """One way to read the point, what it brings, and what speaks for and against it."""

    way: Way
    values: tuple[Value, ...]  # (polls,) in the unit of the tag
    score: int
    reasons: tuple[str, ...]
    same: tuple[Way, ...] = ()  # other ways that bring the very same

    @property
    def plausible(self) -> bool:
        return self.score >= PLAUSIBLE


def point_of(
    way: Way, typed: bool, expected: tuple[float, float] | None, scale: float = 1.0, offset: float = 0.0
) -> Point:
    """The point that somebody describes; ``typed``: the type is known, so no other is tried."""
    if way.function in BITS or way.type is Type.BIT:
        bit = Way(way.function if way.function in BITS else 1, way.register, Type.BIT)
        return Point(bit, (Type.BIT,), (1, 2), expected)
    return Point(way, (way.type,) if typed else LIKELY, (3, 4), expected, scale, offset)


def ways(point: Point) -> Iterator[Way]:
    """Every way there is, that of the line file or the manual first."""
    functions = sorted(point.functions, key=lambda function: function != point.way.function)
    for function, register, kind in product(functions, point.registers, point.types):
        if function in BITS:
            yield Way(function, register, Type.BIT)
            continue
        for byte_order, word_order in ORDERS:
            for factor in _factors(point, register):
                way = Way(function, register, kind, byte_order, word_order, point.way.length, factor)
                if _is_way(way):
                    yield way


def _factors(point: Point, register: int) -> Iterator[Factor | None]:
    """Where the scale factor may stand: as far off as the value, or where it was looked for."""
    factor = point.way.factor
    if factor is None:
        yield None
        return
    for at in dict.fromkeys((factor.register + register - point.way.register, factor.register)):
        if at >= 0 and at + _words(factor.type, None) <= END:
            yield replace(factor, register=at)


def _is_way(way: Way) -> bool:
    """Whether it ends where registers end, and is not the same as another one."""
    single = way.words == 1 or way.type is Type.STRING
    if way.factor and way.factor_way and way.factor_way.words > 1:
        single = False
    return way.register + way.words <= END and (way.word_order is Order.BIG or not single)


def spans(point: Point) -> tuple[Span, ...]:
    """What must be asked for to judge every way."""
    every = [(way, way.factor_way) for way in ways(point)]
    factors = [factor.span for _, factor in every if factor]
    return tuple(dict.fromkeys([*(way.span for way, _ in every), *factors]))


def neighbours(span: Span) -> Iterator[Span]:
    """The values before and behind, if they were of the same length."""
    function, register, words = span
    for step in NEIGHBOURS:
        start = register + step * words
        if function not in BITS and start >= 0 and start + words <= END:
            yield function, start, words


def judge(point: Point, answers: Answers, awkward: Collection[Span] = ()) -> list[Judged]:
    """Every way that was answered, best first; ways that bring the same are one.

    ``awkward``: what the instrument gives only together with the registers around it.
    """
    found: dict[tuple[Span, tuple[Value, ...]], Judged] = {}
    for way in ways(point):
        polls = answers.get(way.span)
        if polls is None or isinstance(polls, int) or not polls:
            continue
        judged = _judge(way, point, polls, answers, way.span in awkward)
        known = found.setdefault((way.span, judged.values), judged)
        if known is not judged:
            best, other = (known, judged) if known.score >= judged.score else (judged, known)
            found[way.span, judged.values] = Judged(
                best.way, best.values, best.score, best.reasons, (*known.same, other.way)
            )
    return sorted(found.values(), key=lambda judged: -judged.score)


# ------------------------------------------------------------------------------------------------------- judging


def _judge(way: Way, point: Point, polls: Sequence[bytes], answers: Answers, awkward: bool) -> Judged:
    raw = [value_of(way, data) for data in polls]
    factors = _factor_values(way, answers)
    values = tuple(
        _engineering(_scaled(value, way, factors[min(i, len(factors) - 1)]), point) for i, value in enumerate(raw)
    )
    marks: list[tuple[int, str]] = [
        _size(way, raw),
        *_factor_marks(way, values),
        *_range(values, point.expected),
        *_steady(values),
    ]
    if way.function not in BITS and all(not any(data) for data in polls):
        marks.append((-15, "zero, which says nothing"))
    if awkward:
        marks.append((-20, "refused when asked for by itself"))
    marks += _neighbours(way, answers)
    marks += _prior(way, point.way)
    return Judged(way, values, PLAUSIBLE + sum(mark for mark, _ in marks), tuple(text for _, text in marks if text))


def _factor_values(way: Way, answers: Answers) -> Sequence[Value]:
    """What the register of the scale factor held, poll by poll; None: nothing."""
    at = way.factor_way
    polls = answers.get(at.span) if at else None
    if at is None or polls is None or isinstance(polls, int) or not polls:
        return (None,)
    return [value_of(at, data) for data in polls]


def _scaled(value: Value, way: Way, factor: Value) -> Value:
    return scaled(value, factor, way.factor.exponent) if way.factor else value


def _factor_marks(way: Way, values: Sequence[Value]) -> Iterator[tuple[int, str]]:
    if way.factor:
        none = any(value is None for value in values)
        yield -60 if none else 0, f"{'no ' if none else ''}scale factor in {way.factor.register}"


def _size(way: Way, raw: Sequence[Value]) -> tuple[int, str]:
    """Whether all of them are numbers that an instrument would say."""
    return min((_usual(way, value) for value in raw), key=lambda mark: mark[0])


def _usual(way: Way, value: Value) -> tuple[int, str]:
    if value is None:
        return -100, "no number"
    if isinstance(value, str):
        return (20, "readable") if value and value.isascii() else (-60, "no text")
    if isinstance(value, bool) or way.function in BITS:
        return 0, ""
    rarity = RARITY.get(way.type, 4)
    if isinstance(value, float):
        size = abs(value)
        if size == 0 or 1e-3 <= size <= 1e7:
            return rarity if size else 0, ""
        return (-10, "unusual size") if 1e-6 <= size <= 1e9 else (-60, "size no instrument says")
    if abs(value) < USUAL[way.words]:
        return (rarity if value else 0), ""
    if abs(value) >> (16 * way.words - 8) and way.words > 1:
        return -60, "size no instrument says"
    return -6, "unusual size"


def _range(values: Sequence[Value], expected: tuple[float, float] | None) -> Iterator[tuple[int, str]]:
    numbers = [value for value in values if isinstance(value, (int, float))]
    if expected is None or not numbers:
        return
    low, high = expected
    if all(low <= number <= high for number in numbers):
        yield 30, f"within {low:g}..{high:g}"
    else:
        yield -60, f"outside {low:g}..{high:g}"


def _steady(values: Sequence[Value]) -> Iterator[tuple[int, str]]:
    numbers = [value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
    if len(numbers) < 2 or len(numbers) < len(values):
        return
    largest = max(map(abs, numbers))
    spread = (max(numbers) - min(numbers)) / largest if largest else 0.0
    if spread <= 0.1:
        yield 5, "steady"
    elif spread > 0.5:
        yield -30, "jumps from poll to poll"


def _neighbours(way: Way, answers: Answers) -> Iterator[tuple[int, str]]:
    """How the values around it look when read the same way: orders belong to the whole instrument."""
    if way.words == 1 or way.type not in RARITY:
        return
    good = bad = 0
    for span in neighbours(way.span):
        polls = answers.get(span)
        if polls is None or isinstance(polls, int) or not polls or not any(polls[0]):
            continue
        if _usual(way, value_of(way, polls[0]))[0] > 0:
            good += 1
        else:
            bad += 1
    if good or bad:
        yield 3 * good - 6 * bad, f"{good} of {good + bad} neighbours usual"


def _prior(way: Way, written: Way) -> Iterator[tuple[int, str]]:
    shift = way.register - written.register
    yield {0: 5, -1: 3}.get(shift, 0), "" if shift == 0 else f"register {shift:+d}"
    same_order = (way.byte_order, way.word_order) == (written.byte_order, written.word_order)
    if way.function not in BITS:
        yield ORDERS[way.byte_order, way.word_order][1] + 2 * same_order, ""
    same_function = way.function == written.function
    yield 2 * same_function, "" if same_function else f"function {way.function}"
    wrong = (shift != 0) + (not same_order) + (not same_function)
    yield -4 * max(0, wrong - 1), ""


def _engineering(value: Value, point: Point) -> Value:
    if value is None or isinstance(value, (bool, str)) or (point.scale == 1 and point.offset == 0):
        return value
    return value * point.scale + point.offset


# ------------------------------------------------------------------------------------------------------ decoding


def value_of(way: Way, data: bytes) -> Value:
    """The raw value of the data of exactly its span."""
    value: Value = _decoder(way.function, way.type, way.byte_order, way.word_order, way.length).decode([data])[0][0]
    return value


@lru_cache(maxsize=256)
def _decoder(function: int, kind: Type, byte_order: Order, word_order: Order, length: int | None) -> Decoder:
    tag = _tag(Way(function, 0, kind, byte_order, word_order, length))
    device = ModbusDevice(id="probe")
    address = tag.wire_address(device)
    return Decoder([address], [tag.value_kind(device)], [Block(function, 0, address.words, (0,))])


@lru_cache(maxsize=256)
def _words(kind: Type, length: int | None) -> int:
    said = {"name": "probe", "register": 0, "type": kind.value} | ({"length": length} if length else {})
    return ModbusTag.model_validate(said).words


def _tag(way: Way) -> ModbusTag:
    return ModbusTag.model_validate({"name": "probe", **keys(way)})


def keys(way: Way, written: Way | None = None) -> dict[str, Any]:
    """The keys of a tag that reads it this way; orders only where they are not the usual or not those written."""
    said: dict[str, Any] = {"register": way.register, "function": way.function}
    if way.function in BITS:
        return said
    said["type"] = way.type.value
    if way.length:
        said["length"] = way.length
    if way.factor:
        said["scale_from"] = _keys_of_factor(way.factor)
    usual = written or Way(3, 0, Type.UINT16)
    if way.byte_order is not usual.byte_order or way.byte_order is Order.LITTLE:
        said["byte_order"] = way.byte_order.value
    if way.order not in ("AB", "BA") and (way.word_order is not usual.word_order or way.word_order is Order.LITTLE):
        said["word_order"] = way.word_order.value
    return said


def _keys_of_factor(factor: Factor) -> dict[str, Any]:
    said: dict[str, Any] = {"register": factor.register}
    if factor.type is not Type.INT16:
        said["type"] = factor.type.value
    return said if factor.exponent else said | {"meaning": "multiplier"}
