"""Engineering values to the registers that would say them: ``decode.py`` and normalise, backwards. Pure.

In: the tags of a device and what they should read. Out: which bytes stand where in the image of its registers. Only
the simulator needs it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from math import nan
from typing import TypeAlias

from drivers.modbus.decode import BCD, FORMATS
from drivers.modbus.options import BITFIELDS, FLOATS, Address, Order, Type
from drivers.modbus.plan import BITS
from gateway.core.model import Device, Kind, Tag, Value

Piece: TypeAlias = tuple[int, int, bytes]
"""(function, first byte in the image of that function, bytes). A bit has a byte of its own in the images of 1 and 2."""

Read: TypeAlias = Callable[[int, int], bytes]
"""(function, register) → the two bytes that stand there now."""

Encode: TypeAlias = Callable[[Value, Read], bytes]
"""An engineering value → the bytes of its registers."""


class Encoder:
    """Where the tags of one device stand, and how; compiled once."""

    def __init__(self, device: Device) -> None:
        self._path = device.path
        self._tags: dict[str, tuple[int, int, Encode]] = {}
        self._wraps = {tag.name: tag.wrap for tag in device.tags if tag.wrap}
        self._sensors: list[str] = []  # tags that have something to say where there is no value
        for tag in device.tags:
            if not isinstance(tag.address, Address):
                raise TypeError(f"{device.path}/{tag.name} has no Modbus address")
            place = tag.address.register * (1 if tag.address.function in BITS else 2)
            self._tags[tag.name] = tag.address.function, place, _encode(tag, tag.address)
            if tag.address.invalid or tag.address.type in FLOATS:
                self._sensors.append(tag.name)

    def pieces(self, values: Mapping[str, Value], read: Read) -> Iterator[Piece]:
        """What to put where, for tag → engineering value; None is whatever the instrument says for "no value".

        A counter that is to read more than it can begins again at 0, as often as it takes.

        Raises ValueError for what the registers of a tag cannot hold, KeyError for a tag that is not there.
        """
        for name, value in values.items():
            function, place, encode = self._tags[name]
            try:
                yield function, place, encode(self._rolled(name, value), read)
            except struct.error as error:
                raise ValueError(f"{self._path}/{name} cannot be {value!r}: its registers do not hold that") from error
            except (ValueError, TypeError, KeyError, OverflowError) as error:
                raise ValueError(f"{self._path}/{name} cannot be {value!r}: {error}") from error

    def _rolled(self, name: str, value: Value) -> Value:
        wrap = self._wraps.get(name)
        return value % wrap if wrap and isinstance(value, (int, float)) and value >= wrap else value

    def sentinels(self, read: Read) -> Iterator[Piece]:
        """What to put where so that everything says "no value" that has a way to say it."""
        return self.pieces(dict.fromkeys(self._sensors), read)


def _encode(tag: Tag, address: Address) -> Encode:
    if address.function in BITS:
        return _coil
    if address.type is Type.BIT:
        return partial(_bit, address)
    if address.type is Type.STRING:
        return partial(_text, address)
    pack = struct.Struct(f">{FORMATS[address.type]}").pack
    missing = None
    if address.invalid:
        missing = ordered(address.invalid[0].to_bytes(2 * address.words, "big"), address)
    elif address.type in FLOATS:
        missing = ordered(pack(nan), address)
    if (address.labels and tag.kind is Kind.TEXT) or address.type in BCD or address.scale_at:
        return partial(_special, tag, address, missing)
    scale = (tag.scale, tag.offset) if tag.scale != 1 or tag.offset != 0 else None
    return partial(_number, pack, scale, address.type not in FLOATS, missing, None if _straight(address) else address)


def _number(
    pack: Callable[[float], bytes],
    scale: tuple[float, float] | None,
    whole: bool,
    missing: bytes | None,
    order: Address | None,
    value: Value,
    read: Read,
) -> bytes:
    if value is None:
        if missing is None:
            raise ValueError("an integer says 'no value' only where the map has an invalid one")
        return missing
    if isinstance(value, str):
        raise TypeError("a number is wanted")
    raw = (value - scale[1]) / scale[0] if scale else value
    if whole:
        raw = round(raw)
    return ordered(pack(raw), order) if order else pack(raw)


def _special(tag: Tag, address: Address, missing: bytes | None, value: Value, read: Read) -> bytes:
    """Names of numbers and of bits, decimal digits, and numbers whose scale stands in another register."""
    if value is None:
        if missing is None:
            raise ValueError("it says 'no value' only where the map has an invalid one")
        return missing
    raw: float
    if isinstance(value, str):
        numbers = {name: number for number, name in address.labels}
        if address.type in BITFIELDS:
            raw = sum(1 << numbers[name] for name in value.split(", ") if name)
        else:
            raw = numbers[value] if value in numbers else int(value)
    else:
        raw = (value - tag.offset) / tag.scale
        if address.scale_at:
            raw /= factor_of(address, read)
    if address.type not in FLOATS:
        raw = round(raw)
    if address.type in BCD:
        raw = int(str(raw), 16)  # a minus sign is no digit of it
        if raw < 0:
            raise ValueError("it has no sign")
    return ordered(struct.pack(f">{FORMATS[address.type]}", raw), address)


def factor_of(address: Address, read: Read) -> float:
    """What stands in the register that scales a value."""
    at = address.scale_at
    if at is None:
        return 1.0
    wire = b"".join(read(at.function, at.register + i) for i in range(at.words))
    (factor,) = struct.unpack(f">{FORMATS[at.type]}", ordered(wire, at))
    return 10.0**factor if address.exponent else factor or 1.0


def exponents(device: Device) -> Iterator[Piece]:
    """What the scale factors of a simulated device hold: as many decimals as the range of their values lets through."""
    wanted: dict[Address, int] = {}
    for tag in device.tags:
        address = tag.address
        if isinstance(address, Address) and address.scale_at and address.exponent and address.type not in FLOATS:
            largest = max(abs(tag.low or 0.0), abs(tag.high or 100.0)) / abs(tag.scale)
            room = 32_000 if address.words == 1 else 2_000_000_000
            least = next((e for e in range(-2, 9) if largest <= room * 10.0**e), 9)
            wanted[address.scale_at] = max(wanted.get(address.scale_at, -2), least)
    for at, exponent in wanted.items():
        yield at.function, 2 * at.register, ordered(struct.pack(f">{FORMATS[at.type]}", exponent), at)


def _coil(value: Value, read: Read) -> bytes:
    return b"\1" if value else b"\0"


def _bit(address: Address, value: Value, read: Read) -> bytes:
    whole = int.from_bytes(ordered(read(address.function, address.register), address), "big")
    mask = 1 << address.bit
    whole = whole | mask if value else whole & ~mask
    return ordered(whole.to_bytes(2, "big"), address)


def _text(address: Address, value: Value, read: Read) -> bytes:
    if not isinstance(value, str):
        raise TypeError("a text is wanted")
    text = value.encode("latin-1")
    if len(text) > 2 * address.words:
        raise ValueError(f"longer than {2 * address.words} bytes")
    return ordered(text.ljust(2 * address.words, b"\0"), address)


def _straight(address: Address) -> bool:
    return address.byte_order is Order.BIG and (address.word_order is Order.BIG or address.words == 1)


def ordered(straight: bytes, address: Address) -> bytes:
    """Big-endian bytes in the orders of the address, and back: every order undoes itself."""
    registers = [straight[i : i + 2] for i in range(0, len(straight), 2)]
    if address.byte_order is Order.LITTLE:
        registers = [register[::-1] for register in registers]
    if address.word_order is Order.LITTLE and address.type is not Type.STRING:
        registers.reverse()
    return b"".join(registers)
