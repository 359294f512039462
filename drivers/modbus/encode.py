"""Engineering values to the registers that would say them: ``decode.py`` and normalise, backwards. Pure.

In: the tags of a device and what they should read. Out: which bytes stand where in the image of its registers. Only
the simulator needs it.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from math import isfinite, nan
from typing import TypeAlias

from drivers.modbus.decode import FLOATS, FORMATS
from drivers.modbus.options import Address, Order, Type
from drivers.modbus.plan import BITS
from gateway.core.model import Device, Tag, Value

Piece: TypeAlias = tuple[int, int, bytes]
"""(function, first byte in the image of that function, bytes). A bit has a byte of its own in the images of 1 and 2."""

Read: TypeAlias = Callable[[int, int], bytes]
"""(function, register) → the two bytes that stand there now."""


class Encoder:
    """Where the tags of one device stand, and how."""

    def __init__(self, device: Device) -> None:
        self._tags: dict[str, tuple[Tag, Address]] = {}
        for tag in device.tags:
            if not isinstance(tag.address, Address):
                raise TypeError(f"{device.path}/{tag.name} has no Modbus address")
            self._tags[tag.name] = tag, tag.address
        self._path = device.path

    def pieces(self, values: Mapping[str, Value], read: Read) -> Iterator[Piece]:
        """What to put where, for tag → engineering value; None is whatever the instrument says for "no value".

        Raises ValueError for what the registers of a tag cannot hold, KeyError for a tag that is not there.
        """
        for name, value in values.items():
            tag, address = self._tags[name]
            try:
                yield _piece(tag, address, value, read)
            except (ValueError, TypeError, struct.error, OverflowError) as error:
                raise ValueError(f"{self._path}/{name} cannot be {value!r}: {error}") from error


def _piece(tag: Tag, address: Address, value: Value, read: Read) -> Piece:
    if address.function in BITS:
        return address.function, address.register, b"\1" if value else b"\0"
    place = 2 * address.register
    if address.type is Type.BIT:
        whole = int.from_bytes(ordered(read(address.function, address.register), address), "big")
        mask = 1 << address.bit
        whole = whole | mask if value else whole & ~mask
        return address.function, place, ordered(whole.to_bytes(2, "big"), address)
    if address.type is Type.STRING:
        if not isinstance(value, str):
            raise TypeError("a text is wanted")
        text = value.encode("latin-1")
        if len(text) > 2 * address.words:
            raise ValueError(f"longer than {2 * address.words} bytes")
        return address.function, place, ordered(text.ljust(2 * address.words, b"\0"), address)
    return address.function, place, ordered(_number(tag, address, value), address)


def _number(tag: Tag, address: Address, value: Value) -> bytes:
    """The value as it would be big-endian."""
    if isinstance(value, str):
        raise TypeError("a number is wanted")
    if value is None and address.invalid:
        return address.invalid[0].to_bytes(2 * address.words, "big")
    if address.type in FLOATS:
        raw = nan if value is None else (value - tag.offset) / tag.scale if _scaled(tag) else value
    elif value is None or not isfinite(value):
        raise ValueError("an integer says 'no value' only where the map has an invalid one")
    else:
        raw = round((value - tag.offset) / tag.scale) if _scaled(tag) else int(value)
    return struct.pack(f">{FORMATS[address.type]}", raw)


def _scaled(tag: Tag) -> bool:
    return tag.scale != 1 or tag.offset != 0


def ordered(straight: bytes, address: Address) -> bytes:
    """Big-endian bytes in the orders of the address, and back: every order undoes itself."""
    if address.byte_order is Order.BIG and address.word_order is Order.BIG:
        return straight
    registers = [straight[i : i + 2] for i in range(0, len(straight), 2)]
    if address.byte_order is Order.LITTLE:
        registers = [register[::-1] for register in registers]
    if address.word_order is Order.LITTLE and address.type is not Type.STRING:
        registers.reverse()
    return b"".join(registers)
