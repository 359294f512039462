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

from drivers.modbus.decode import FLOATS, FORMATS
from drivers.modbus.options import Address, Order, Type
from drivers.modbus.plan import BITS
from gateway.core.model import Device, Tag, Value

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
        for tag in device.tags:
            if not isinstance(tag.address, Address):
                raise TypeError(f"{device.path}/{tag.name} has no Modbus address")
            place = tag.address.register * (1 if tag.address.function in BITS else 2)
            self._tags[tag.name] = tag.address.function, place, _encode(tag, tag.address)

    def pieces(self, values: Mapping[str, Value], read: Read) -> Iterator[Piece]:
        """What to put where, for tag → engineering value; None is whatever the instrument says for "no value".

        Raises ValueError for what the registers of a tag cannot hold, KeyError for a tag that is not there.
        """
        for name, value in values.items():
            function, place, encode = self._tags[name]
            try:
                yield function, place, encode(value, read)
            except (ValueError, TypeError, struct.error, OverflowError) as error:
                raise ValueError(f"{self._path}/{name} cannot be {value!r}: {error}") from error


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
