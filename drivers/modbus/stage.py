"""Where simulated devices are heard: TCP, TLS and UDP sessions, RTU over TCP, a serial port.

In: bytes. Out: requests (unit, function, data) for ``reply``, and its answers as bytes again.
"""

from __future__ import annotations

import asyncio
import os
import struct
import tty
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from drivers.modbus.frames import checksum
from drivers.modbus.options import ModbusRtu
from drivers.modbus.wires import Line, open_port, serial_line

Send: TypeAlias = Callable[[bytes, bool], None]
Reply: TypeAlias = Callable[[bytes, Send], None]
"""(request, send): what is to be done about a request; ``send(answer, garbled)`` may be called later, or never."""


class _StreamSession(asyncio.Protocol):
    """One connection: cuts the stream into requests and writes the answers."""

    def __init__(self, reply: Reply, sessions: set[Any]) -> None:
        self._reply = reply
        self._sessions = sessions
        self._transport: asyncio.Transport | None = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]
        self._sessions.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._sessions.discard(self)
        self._transport = None

    def drop(self) -> None:
        """Close without a word."""
        if self._transport is not None:
            self._transport.abort()

    def write(self, data: bytes) -> None:
        """Send, if somebody is still there."""
        if self._transport is not None:
            self._transport.write(data)


class TcpSession(_StreamSession):
    """Modbus TCP."""

    def data_received(self, data: bytes) -> None:
        data = self._buffer + data if self._buffer else data
        at = 0
        while len(data) - at >= 8:
            transaction, protocol, length = struct.unpack_from(">HHH", data, at)
            if protocol != 0 or not 2 <= length <= 254:
                self.drop()
                return
            end = at + 6 + length
            if end > len(data):
                break
            self._reply(data[at + 6 : end], _tcp_sender(transaction, self.write))
            at = end
        self._buffer = data[at:]


class UdpSession(asyncio.DatagramProtocol):
    """Modbus TCP's frames in datagrams."""

    def __init__(self, reply: Reply) -> None:
        self._reply = reply
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.DatagramTransport) -> None:  # type: ignore[override]
        self._transport = transport

    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        transport = self._transport
        if transport is None or len(data) < 8:
            return
        transaction, protocol, length = struct.unpack_from(">HHH", data)
        if protocol == 0 and length == len(data) - 6:
            self._reply(data[6:], _tcp_sender(transaction, lambda answer: transport.sendto(answer, addr)))


class RtuSession(_StreamSession):
    """RTU frames, over a stream or a serial port."""

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while len(self._buffer) >= 8:
            length = _request_length(self._buffer)
            if len(self._buffer) < length:
                return
            frame, self._buffer = self._buffer[:length], self._buffer[length:]
            if checksum(frame[:-2]) != frame[-2:]:
                self._buffer = b""  # noise: the next request comes after a pause
                return
            self._reply(frame[:-2], self._send)

    def _send(self, answer: bytes, garbled: bool) -> None:
        self.write(answer if garbled else answer + checksum(answer))


def _request_length(frame: bytes) -> int:
    """Writes of several values say how long they are; every other request that counts has eight bytes."""
    return 9 + frame[6] if frame[1] in (15, 16) else 8


def _tcp_sender(transaction: int, write: Callable[[bytes], object]) -> Send:
    def send(answer: bytes, garbled: bool) -> None:
        write(answer if garbled else struct.pack(">HHH", transaction, 0, len(answer)) + answer)

    return send


class SerialStage:
    """A serial port that is there, or a pseudo-terminal under its name. Raises OSError."""

    def __init__(self, options: ModbusRtu, reply: Reply, sessions: set[Any]) -> None:
        self._link: Path | None = None
        self._line: Line | None = None
        self._session = RtuSession(reply, sessions)
        if Path(options.port).exists():
            self._line = serial_line(open_port(options), self._session)
            self._session.connection_made(_Sending(self._line))
            return
        self._master, self._slave = os.openpty()  # the other end stays open, else every read here would fail
        tty.setraw(self._slave)
        os.set_blocking(self._master, False)
        self._link = Path(options.port)
        with suppress(FileNotFoundError):  # of a pseudo-terminal that is gone
            self._link.unlink()
        self._link.symlink_to(os.ttyname(self._slave))
        asyncio.get_running_loop().add_reader(self._master, self._ready)
        self._session.connection_made(_Sending(Line(lambda data: os.write(self._master, data), lambda: None)))

    def _ready(self) -> None:
        with suppress(BlockingIOError):
            self._session.data_received(os.read(self._master, 4096))

    def close(self) -> None:
        """Unplug it."""
        if self._line is not None:
            self._line.close()
        elif self._link is not None:
            asyncio.get_running_loop().remove_reader(self._master)
            self._link.unlink(missing_ok=True)
            self._link = None
            os.close(self._master)
            os.close(self._slave)


class _Sending(asyncio.Transport):
    """A serial line in the shape of a transport; a restart does not close it."""

    def __init__(self, line: Line) -> None:
        super().__init__()
        self._line = line

    def write(self, data: bytes | bytearray | memoryview) -> None:
        self._line.send(bytes(data))

    def abort(self) -> None:
        """Nothing: a bus has no connections."""
