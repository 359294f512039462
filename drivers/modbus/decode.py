"""What the bytes of the answers mean: from the blocks of a plan to the wire values of a group. Pure.

In: the data of every block, or the status of a block that was refused. Out: one value per tag, in the order of the
group, and their statuses. Scale and offset come later, in normalise.

Everything that can be known beforehand is compiled once per plan. Registers are unpacked by one ``struct`` per block;
the four orders of bytes and words need only two endiannesses and, for the mixed ones, one swap of all registers:

    ==========  ==========  =====================================
    byte order  word order  how
    ==========  ==========  =====================================
    big         big         big-endian
    little      little      little-endian
    big         little      registers swapped, then little-endian
    little      big         registers swapped, then big-endian
    ==========  ==========  =====================================

What stands in one register may scale the value of others (``scale_at``): such registers are read along as addresses
behind those of the tags, and are gone from the answer.

A number that is none (NaN, an infinity, a value the map calls invalid) becomes None with BadSensorFailure; a uint64
that an int64 cannot hold becomes None with BadTypeMismatch, since no sink could store it.
"""

from __future__ import annotations

import struct
from array import array
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from math import isfinite
from operator import itemgetter
from typing import Any, TypeAlias

from drivers.modbus.options import BITFIELDS, FLOATS, Address, Order, Type
from drivers.modbus.plan import BITS, Block
from gateway.core.model import Kind, Value
from gateway.core.quality import GOOD, Status
from gateway.core.text import float32_column, shortest_float32

FORMATS = {
    Type.INT16: "h", Type.UINT16: "H", Type.INT32: "i", Type.UINT32: "I", Type.INT64: "q", Type.UINT64: "Q",
    Type.FLOAT16: "e", Type.FLOAT32: "f", Type.FLOAT64: "d", Type.BIT: "H", Type.ACC16: "H", Type.ACC32: "I",
    Type.ACC64: "Q", Type.BCD16: "H", Type.BCD32: "I", Type.BITFIELD16: "H", Type.BITFIELD32: "I",
}  # fmt: skip
LONG = (Type.UINT64, Type.ACC64)
BCD = (Type.BCD16, Type.BCD32)
LARGEST_EXPONENT = 10  # of a scale factor, as SunSpec has it
INT64_MAX = 2**63 - 1

_BYTE_TO_BITS = tuple(tuple(bool(byte >> i & 1) for i in range(8)) for byte in range(256))
_CONTROLS = dict.fromkeys((*range(32), *range(127, 160)))

Raw: TypeAlias = Any
"""What struct makes of the registers of one value: float, int, bool or bytes, as its address says."""

Fix: TypeAlias = Callable[[Raw], Value | Status]
"""What makes a wire value of it, or says why there is none."""


class Decoder:
    """The decoder of one plan: ``kinds`` (n,) and ``addresses`` (n + h,) of the tags, ``blocks`` (b,) of the requests.

    The h addresses behind those of the tags are the scale factors that ``plan.addresses_of`` adds.
    """

    def __init__(self, addresses: Sequence[Address], kinds: Sequence[Kind], blocks: Sequence[Block]) -> None:
        self._blocks = tuple(blocks)
        self._count = len(kinds)
        factors = {address: i for i, address in enumerate(addresses) if i >= self._count}
        self._factors = tuple(
            (i, factors[address.scale_at], address.exponent)
            for i, address in enumerate(addresses)
            if address.scale_at is not None
        )
        kinds = [*kinds, *(Kind.FLOAT if address.type in FLOATS else Kind.INT for address in factors)]
        self._layers: list[tuple[int, _Layer]] = []
        place: dict[int, int] = {}  # tag → position among everything unpacked
        unpacked = 0
        for number, block in enumerate(blocks):
            for layer, items in _layers(block, addresses):
                self._layers.append((number, layer))
                place.update((tag, unpacked + item) for tag, item in items.items())
                unpacked += layer.count
        self._pick = _picker([place[tag] for tag in range(len(addresses))], unpacked)
        self._floats = tuple(i for i, address in enumerate(addresses) if address.type is Type.FLOAT32)
        self._fixes = tuple(
            (i, fix) for i, address in enumerate(addresses) if (fix := _fix(address, kinds[i])) is not None
        )
        self._only_floats = len(self._floats) == self._count == len(addresses) and not self._fixes
        self._column = self._only_floats and _is_column(addresses, blocks)

    def column(self, answers: Sequence[bytes | Status]) -> tuple[tuple[Value, ...], bytes] | None:
        """The values and their rendered array where the answers are one plain column of float32 and all is well."""
        if not self._column:
            return None
        try:
            return float32_column(b"".join(answers))  # type: ignore[arg-type]  # a status is what the except is for
        except TypeError:
            return None

    def decode(self, answers: Sequence[bytes | Status]) -> tuple[tuple[Value, ...], tuple[int, ...] | None]:
        """(values, status), both (n,), of one poll; status None: all good.

        ``answers`` (b,) holds the data of each block, exactly ``block.size`` bytes, or the status of its tags.
        """
        raw: list[Raw] = []
        for number, layer in self._layers:
            answer = answers[number]
            raw += layer.unpack(answer) if type(answer) is bytes else layer.blank
        picked = self._pick(raw)
        values: list[Value]
        bad: dict[int, int]
        if self._only_floats and isfinite(sum(picked)):
            values, bad = [*shortest_float32(picked)], {}
        else:
            values, bad = self._fixed(picked)
        for block, answer in zip(self._blocks, answers, strict=True):
            if type(answer) is not bytes:
                bad.update(dict.fromkeys(block.tags, int(answer)))
        if self._factors:
            self._scale(values, bad)
        if not bad:
            return tuple(values), None
        for i in bad:
            values[i] = None
        return tuple(values), tuple(bad.get(i, GOOD) for i in range(self._count))

    def _scale(self, values: list[Value], bad: dict[int, int]) -> None:
        """Apply the scale factors and drop them."""
        for i, factor, exponent in self._factors:
            if i in bad:
                continue
            if factor in bad:
                bad[i] = bad[factor]
                continue
            value = scaled(values[i], values[factor], exponent)
            if value is None:
                bad[i] = Status.BAD_SENSOR_FAILURE
            values[i] = value
        del values[self._count :]
        for i in [i for i in bad if i >= self._count]:
            del bad[i]

    def _fixed(self, picked: Sequence[Raw]) -> tuple[list[Value], dict[int, int]]:
        values: list[Value] = list(picked)
        bad: dict[int, int] = {}
        if self._floats:
            short = shortest_float32([picked[i] for i in self._floats])
            for i, number in zip(self._floats, short, strict=True):
                values[i] = number
                if number is None:
                    bad[i] = Status.BAD_SENSOR_FAILURE
        for i, fix in self._fixes:
            value = fix(picked[i])
            if type(value) is Status:
                bad[i] = value
            elif value is not picked[i]:
                values[i] = value
        return values, bad


def _is_column(addresses: Sequence[Address], blocks: Sequence[Block]) -> bool:
    """Whether the data of the blocks, put together, are the float32 of all tags in their order and nothing else."""
    registers = [(block.function, block.start + i) for block in blocks for i in range(block.count)]
    return all(each.byte_order is each.word_order is Order.BIG for each in addresses) and registers == [
        (each.function, each.register + i) for each in addresses for i in range(each.words)
    ]


# --------------------------------------------------------------------------------------------- bytes to raw values


@dataclass(frozen=True, slots=True)
class _Layer:
    """Values of one block that one pass over its bytes brings."""

    count: int
    unpack: Callable[[bytes], tuple[Raw, ...]]
    blank: tuple[Raw, ...]  # (count,) stands in for the values of a block that was refused


def _layers(block: Block, addresses: Sequence[Address]) -> list[tuple[_Layer, dict[int, int]]]:
    """The passes over one block, each with tag → item of the pass. Nearly always one."""
    if block.function in BITS:
        layer = _Layer(8 * block.size, _unpack_bits, (False,) * (8 * block.size))
        return [(layer, {tag: addresses[tag].register - block.start for tag in block.tags})]
    views: dict[tuple[bool, str], list[int]] = {}
    for tag in block.tags:
        views.setdefault(_view(addresses[tag]), []).append(tag)
    found = []
    for (swap, endian), left in views.items():
        while left:
            codes, items, left = _row(left, addresses, block)
            layout = struct.Struct(endian + codes)
            unpack: Callable[[bytes], tuple[Raw, ...]] = (
                partial(_unpack_swapped, layout.unpack) if swap else layout.unpack
            )
            layer = _Layer(len(set(items.values())), unpack, layout.unpack(bytes(block.size)))
            found.append((layer, items))
    return found


def _view(address: Address) -> tuple[bool, str]:
    """(registers swapped, endianness) under which the value reads straight."""
    if address.type is Type.STRING:  # its registers are always in the order of reading
        return address.byte_order is Order.LITTLE, ">"
    return address.byte_order is not address.word_order, ">" if address.word_order is Order.BIG else "<"


def _row(tags: Sequence[int], addresses: Sequence[Address], block: Block) -> tuple[str, dict[int, int], list[int]]:
    """(struct codes, tag → item, tags that overlap these and need another pass)."""
    codes: list[str] = []
    items: dict[int, int] = {}
    rest: list[int] = []
    at = block.start
    last: tuple[int, str] | None = None
    item = -1
    for tag in sorted(tags, key=lambda tag: (addresses[tag].register, addresses[tag].words)):
        address = addresses[tag]
        code = _code(address)
        if (address.register, code) == last:  # bits of one register
            items[tag] = item
        elif address.register < at:
            rest.append(tag)
        else:
            codes.append(f"{2 * (address.register - at)}x{code}")
            item += 1
            items[tag] = item
            last = address.register, code
            at = address.register + address.words
    codes.append(f"{2 * (block.start + block.count - at)}x")
    return "".join(codes), items, rest


def _code(address: Address) -> str:
    return f"{2 * address.words}s" if address.type is Type.STRING else FORMATS[address.type]


def _unpack_swapped(unpack: Callable[[bytes], tuple[Raw, ...]], data: bytes) -> tuple[Raw, ...]:
    registers = array("H", data)
    registers.byteswap()
    return unpack(registers.tobytes())


def _unpack_bits(data: bytes) -> tuple[bool, ...]:
    """The bits of an answer, the first coil in the least significant bit of the first byte."""
    bits: list[bool] = []
    for byte in data:
        bits += _BYTE_TO_BITS[byte]
    return tuple(bits)


def _picker(places: list[int], unpacked: int) -> Callable[[list[Raw]], Sequence[Raw]]:
    """What puts everything unpacked into the order of the tags."""
    if places == list(range(unpacked)):
        return _as_they_are
    if len(places) == 1:
        return partial(_only, places[0])
    return itemgetter(*places)


def _as_they_are(raw: list[Raw]) -> list[Raw]:
    return raw


def _only(place: int, raw: list[Raw]) -> list[Raw]:
    return [raw[place]]


# ------------------------------------------------------------------------------------------- raw to wire values


def _fix(address: Address, kind: Kind) -> Fix | None:
    """What is left to do with a raw value; None: nothing, or what is done for all float32 at once."""
    if address.type is Type.STRING:
        return _text
    if address.type is Type.BIT:
        convert: Fix | None = int if kind is Kind.INT else None
        return convert if address.function in BITS else partial(_bit, address.bit, convert or bool)
    if address.type in FLOATS:
        if address.invalid:
            return partial(_float_or_invalid, struct.Struct(f">{FORMATS[address.type]}"), frozenset(address.invalid))
        return {Type.FLOAT16: _float16, Type.FLOAT64: _float64}.get(address.type)
    conversion = _whole(address, kind)
    if not address.invalid:
        return conversion
    return partial(_int_or_invalid, (1 << 16 * address.words) - 1, frozenset(address.invalid), conversion)


def _whole(address: Address, kind: Kind) -> Fix | None:
    """What becomes of a whole number that is valid."""
    conversion: Fix | None = {Kind.FLOAT: float, Kind.BOOL: bool}.get(kind)
    if kind is Kind.TEXT:
        names = dict(address.labels)
        conversion = partial(_set_bits if address.type in BITFIELDS else _label, names)
    if address.type in LONG and kind is Kind.INT:
        conversion = _int64
    return partial(_bcd, conversion) if address.type in BCD else conversion


def _float16(raw: Raw) -> Value | Status:
    """The shortest decimal that still means the same float16: 80.4 and not 80.375."""
    if not isfinite(raw):
        return Status.BAD_SENSOR_FAILURE
    for digits in range(1, 5):
        short = float(f"{raw:.{digits}g}")
        if abs(short) < 65_520 and struct.pack("e", short) == struct.pack("e", raw):
            return short
    return float(raw)


def _float64(raw: Raw) -> Value | Status:
    return raw if isfinite(raw) else Status.BAD_SENSOR_FAILURE


def _float_or_invalid(layout: struct.Struct, invalid: frozenset[int], raw: Raw) -> Value | Status:
    if int.from_bytes(layout.pack(raw), "big") in invalid:
        return Status.BAD_SENSOR_FAILURE
    return _float16(raw) if layout.size == 2 else _float64(raw)


def _int_or_invalid(mask: int, invalid: frozenset[int], convert: Fix | None, raw: Raw) -> Value | Status:
    if raw & mask in invalid:
        return Status.BAD_SENSOR_FAILURE
    return convert(raw) if convert else raw


def _int64(raw: Raw) -> Value | Status:
    return raw if raw <= INT64_MAX else Status.BAD_TYPE_MISMATCH


def _bcd(convert: Fix | None, raw: Raw) -> Value | Status:
    """Decimal digits in half bytes; anything else in one of them is another type."""
    digits = f"{raw:x}"
    if not digits.isdecimal():
        return Status.BAD_TYPE_MISMATCH
    return convert(int(digits)) if convert else int(digits)


def _label(names: Mapping[int, str], raw: Raw) -> Value | Status:
    """The name of a number, or the number where the map has none for it."""
    return names.get(raw) or str(raw)


def _set_bits(names: Mapping[int, str], raw: Raw) -> Value | Status:
    """The names of the bits that are set, the lowest first; a bit without a name goes by its number."""
    return ", ".join(names.get(bit, f"bit {bit}") for bit in range(32) if raw >> bit & 1)


def scaled(value: Value, factor: Value, exponent: bool) -> float | None:
    """The value with its scale factor; None: the factor says that there is no value."""
    if isinstance(value, str) or isinstance(factor, str) or value is None or factor is None:
        return None
    if not exponent:
        inverse = round(1 / factor) if factor else 0
        # dividing by ten is right where multiplying by 0.1 is not
        result = value / inverse if inverse > 1 and 1 / inverse == factor else value * factor
        return float(result) if isfinite(result) else None
    if abs(factor) > LARGEST_EXPONENT:
        return None
    return value / 10 ** int(-factor) if factor < 0 else value * 10.0 ** int(factor)


def _bit(number: int, convert: Fix, raw: Raw) -> Value | Status:
    bit: int = raw >> number & 1
    return convert(bit)


def _text(raw: Raw) -> Value | Status:
    """Up to the first NUL, without padding and control characters; Latin-1, so that no byte is an error."""
    text: str = raw.split(b"\0", 1)[0].decode("latin-1")
    return text.translate(_CONTROLS).strip()
