"""Plays every device of a Modbus link over the real protocol: the far end of the way of a value.

In: engineering values of tags (``set``). Out: what an instrument with those values answers, with its own limits:

- more registers than it accepts, an odd start or count where it wants even ones: exception 3;
- an address that is in nobody's map and in no gap that the map's ``max_gap`` lets a request cross: exception 2;
- a unit that is not on the link: exception 11, as a converter answers; on a serial bus nothing;
- anything but reading: exception 1; writes are counted.

One ``set`` is one step: no answer shows half of it. ``fault`` lets a device misbehave on demand.
"""

from __future__ import annotations

import asyncio
import ssl
import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from drivers.modbus.encode import Encoder, Piece, exponents
from drivers.modbus.faults import KEYS, Fault, Faults
from drivers.modbus.options import (
    Address,
    Limits,
    ModbusDevice,
    ModbusLink,
    ModbusRtu,
    ModbusRtuOverTcp,
    ModbusTls,
    ModbusUdp,
)
from drivers.modbus.plan import BITS, END
from drivers.modbus.stage import RtuSession, SerialStage, TcpSession, UdpSession
from gateway.core.model import Device, Link, Value

WRITES = (5, 6, 15, 16, 21, 22, 23)
FUNCTION, ADDRESS, COUNT, NO_ANSWER = 1, 2, 3, 11  # exception codes


class ModbusSimulator:
    """The Simulator of a Modbus link; ``tls`` holds the certificate that a TLS link is played with."""

    def __init__(self, link: Link, tls: ssl.SSLContext | None = None) -> None:
        if not isinstance(link.options, ModbusLink):
            raise TypeError(f"{link.id} is no Modbus link")
        self._options = link.options
        self._tls = tls
        sharing: dict[int, list[Device]] = {}  # several devices of a line may be one unit, such as parts of a PLC
        for device in link.devices:
            sharing.setdefault(_options(device).address, []).append(device)
        self._units = {address: _Unit(devices) for address, devices in sharing.items()}
        self._played_by = {device.id: self._units[_options(device).address] for device in link.devices}
        self._addresses = {device.id: _options(device).address for device in link.devices}
        self._faults = Faults()
        self._writes = 0
        wanted = getattr(link.options, "port", 0)
        self._port = wanted if isinstance(wanted, int) else 0
        self._server: asyncio.Server | asyncio.DatagramTransport | SerialStage | None = None
        self._listening: asyncio.Server | None = None
        self._sessions: set[Any] = set()

    async def start(self) -> None:
        """Listen at the link's host and port; port 0: any free one. Raises OSError.

        A serial port that is not there is played by a pseudo-terminal of that name.
        """
        loop = asyncio.get_running_loop()
        options = self._options
        if isinstance(options, ModbusRtu):
            self._server = SerialStage(options, self.reply, self._sessions)
            return
        host, port = str(getattr(options, "host", "")), self._port
        if isinstance(options, ModbusUdp):
            self._server, _ = await loop.create_datagram_endpoint(
                lambda: UdpSession(self.reply), local_addr=(host, port)
            )
            self._port = int(self._server.get_extra_info("sockname")[1])
            return
        if isinstance(options, ModbusTls) and self._tls is None:
            raise OSError(0, "a TLS link is played only with a certificate")
        session = RtuSession if isinstance(options, ModbusRtuOverTcp) else TcpSession
        tls = self._tls if isinstance(options, ModbusTls) else None
        server = await loop.create_server(lambda: session(self.reply, self._sessions), host, port, ssl=tls)
        self._server = self._listening = server
        self._port = int(server.sockets[0].getsockname()[1])

    @property
    def port(self) -> int:
        """Where it listens; before ``start`` where it was told to; 0 for a serial port."""
        return self._port

    # ---------------------------------------------------------------------------------------------------- faults

    def fault(self, kind: str, device: str = "", **how: Any) -> Fault:
        """Let a device (default: all) misbehave until ``mend``; see ``faults.Fault`` for the kinds and their keys."""
        if unknown := set(how) - set(KEYS):
            raise ValueError(f"{', '.join(sorted(unknown))} is no key of a fault; there are {', '.join(KEYS)}")
        fault = Fault(kind, self._addresses[device] if device else None, **how)
        for name in [device] if device else self._played_by:
            if kind == "frozen":
                self._played_by[name].frozen = True
            elif kind == "sentinel":
                self._played_by[name].mask(name)
        self._faults.add(fault)
        return fault

    def mend(self) -> None:
        """End every fault."""
        self._faults.clear()
        for unit in self._units.values():
            unit.frozen = False
            unit.unmask()

    def restart(self) -> None:
        """Drop every connection, as a device does that starts anew; it goes on listening."""
        for session in tuple(self._sessions):
            session.drop()

    def reply(self, request: bytes, send: Callable[[bytes, bool], None]) -> None:
        """Answer a request with ``send(answer, garbled)``: now, later or not at all."""
        answer = self.answer(request)
        if isinstance(self._options, ModbusRtu | ModbusRtuOverTcp) and request[0] not in self._units:
            return
        self._faults.play(request, answer, send)

    @property
    def writes(self) -> int:
        """Write requests received; all were refused."""
        return self._writes

    def set(self, device: str, values: Mapping[str, Value]) -> None:
        """Let the tags of a device read these engineering values from the next request on, all at once.

        Raises KeyError for an unknown device or tag, ValueError for a value that its registers cannot hold; then
        nothing is changed.
        """
        self._played_by[device].set(device, values)

    def answer(self, request: bytes) -> bytes:
        """What the link answers to unit, function, data: unit, function, data."""
        unit, function = request[0], request[1]
        self._writes += function in WRITES
        answer = self._units[unit].read(function, request[2:]) if unit in self._units else NO_ANSWER
        if isinstance(answer, int):
            return bytes((unit, function | 0x80, answer))
        return bytes((unit, function, len(answer))) + answer

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        server, self._server = self._server, None
        listening, self._listening = self._listening, None
        self._faults.close()
        self.restart()
        if server is not None:
            server.close()
        if listening is not None:
            await listening.wait_closed()


class _Unit:
    """One unit id: an image of its registers per function code."""

    def __init__(self, devices: Sequence[Device]) -> None:
        self.frozen = False  # its values stand still, whatever is set
        self._masks: list[Piece] = []  # what stands there instead, whatever is set
        self._limits = _options(devices[0]).limits
        self._encoders = {device.id: Encoder(device) for device in devices}
        addresses = [tag.address for device in devices for tag in device.tags if isinstance(tag.address, Address)]
        addresses += dict.fromkeys(address.scale_at for address in addresses if address.scale_at)
        functions = {address.function for address in addresses}
        self._images = {
            function: bytearray(END if function in BITS else 2 * END) for function in functions
        }  # zeros: untouched pages of it take no memory
        self._known = {function: _known(addresses, function, self._limits) for function in functions}
        for device in devices:
            for function, place, piece in exponents(device):
                self._images[function][place : place + len(piece)] = piece

    def set(self, device: str, values: Mapping[str, Value]) -> None:
        """Put everything into the images, or nothing."""
        waiting: dict[tuple[int, int], bytes] = {}

        def read(function: int, register: int) -> bytes:
            stands = bytes(self._images[function][2 * register : 2 * register + 2])
            return waiting.get((function, 2 * register), stands)

        for function, place, piece in self._encoders[device].pieces(values, read):
            waiting[function, place] = piece
        if self.frozen:
            return
        for (function, place), piece in waiting.items():
            self._images[function][place : place + len(piece)] = piece

    def mask(self, device: str) -> None:
        """Let everything of a device that can say "no value"."""
        self._masks += self._encoders[device].sentinels(lambda function, register: b"\0\0")

    def unmask(self) -> None:
        """Let the values through again."""
        self._masks.clear()

    def read(self, function: int, data: bytes) -> bytes | int:
        """The data of the answer, or an exception code."""
        if function not in self._images:
            return ADDRESS if function in (1, 2, 3, 4) else FUNCTION
        if len(data) != 4:
            return COUNT
        start, count = struct.unpack(">HH", data)
        limits = self._limits
        if function in BITS:
            if not 1 <= count <= limits.max_bits:
                return COUNT
        elif (
            not 1 <= count <= limits.max_registers
            or (limits.even_start and start % 2)
            or (limits.even_count and count % 2)
        ):
            return COUNT
        if not any(low <= start and start + count <= high for low, high in self._known[function]):
            return ADDRESS
        if function in BITS:
            return _packed(self._images[function][start : start + count])
        return self._masked(function, 2 * start, self._images[function][2 * start : 2 * (start + count)])

    def _masked(self, function: int, at: int, data: bytearray) -> bytes:
        """The bytes of registers, which begin at byte ``at`` of the image, as far as they may be seen."""
        for where, place, piece in self._masks:
            if where == function:
                low, high = max(place, at), min(place + len(piece), at + len(data))
                if low < high:
                    data[low - at : high - at] = piece[low - place : high - place]
        return bytes(data)


def _known(addresses: list[Address], function: int, limits: Limits) -> tuple[tuple[int, int], ...]:
    """The ranges [low, high) that the device answers for: its map, and the gaps that requests may cross."""
    gap = limits.max_gap * (16 if function in BITS else 1)
    even = function not in BITS and (limits.even_start or limits.even_count)
    ranges: list[tuple[int, int]] = []
    for low, high in sorted((a.register, a.register + a.words) for a in addresses if a.function == function):
        if even:
            low, high = max(0, low - 1), min(END, high + 1)
        if ranges and low - ranges[-1][1] <= gap:
            ranges[-1] = ranges[-1][0], max(ranges[-1][1], high)
        else:
            ranges.append((low, high))
    return tuple(ranges)


def _packed(bits: bytearray) -> bytes:
    """One byte per bit → eight bits in a byte, the first in the least significant."""
    return sum(bit << i for i, bit in enumerate(bits)).to_bytes((len(bits) + 7) // 8, "little")


def _options(device: Device) -> ModbusDevice:
    if not isinstance(device.options, ModbusDevice):
        raise TypeError(f"{device.path} is no Modbus device")
    return device.options
