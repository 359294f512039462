"""A broker that answers as a test tells it to: reason codes, silence, and whatever a CONNACK may carry.

It understands just enough of MQTT 5 (CONNECT, PUBLISH, PINGREQ, DISCONNECT) and keeps nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import struct
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from tests.support.tcp import listening


@dataclass(frozen=True, slots=True)
class Received:
    """One PUBLISH as it came in."""

    connection: int  # counted from 1
    topic: str
    payload: bytes
    mid: int  # 0: quality of service 0
    dup: bool


@dataclass(slots=True)
class ScriptedBroker:
    """``puback`` gives the reason code of a message, None for silence."""

    puback: Callable[[Received], int | None] = lambda message: 0
    connack: bytes = b"\x00"  # reason code, without properties
    connack_properties: bytes = b""
    received: list[Received] = field(default_factory=list)
    most_unacknowledged: int = 0
    think_s: float = 0.002
    connections: int = 0
    port: int = 0
    _unacknowledged: int = 0
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    def data(self, connection: int | None = None) -> list[Received]:
        """The ``data`` messages, of one connection or of all."""
        return [
            message
            for message in self.received
            if message.topic.endswith("/data") and connection in (None, message.connection)
        ]

    def drop(self, reason: int | None = None) -> None:
        """End every connection; with a reason: by an MQTT 5 DISCONNECT."""
        for writer in self._writers:
            if reason is not None:
                writer.write(bytes([0xE0, 2, reason, 0]))
            writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        connection = self.connections
        self._unacknowledged = 0
        self._writers.add(writer)
        try:
            while True:
                first = (await reader.readexactly(1))[0]
                body = await reader.readexactly(await _length(reader))
                match first >> 4:
                    case 1:
                        properties = bytes([len(self.connack_properties)]) + self.connack_properties
                        answer = b"\x00" + self.connack + properties
                        writer.write(bytes([0x20, len(answer)]) + answer)
                    case 3:
                        self._publish(connection, first, body, writer)
                    case 12:
                        writer.write(b"\xd0\x00")
                    case 14:
                        return
        finally:
            self._writers.discard(writer)

    def _publish(self, connection: int, first: int, body: bytes, writer: asyncio.StreamWriter) -> None:
        topic_end = 2 + struct.unpack_from("!H", body)[0]
        at, mid = topic_end, 0
        if first & 6:
            mid = struct.unpack_from("!H", body, at)[0]
            at += 2
        at += 1 + body[at]  # properties, shorter than 128 bytes
        message = Received(connection, body[2:topic_end].decode(), body[at:], mid, bool(first & 8))
        self.received.append(message)
        if not mid:
            return
        self._unacknowledged += 1
        self.most_unacknowledged = max(self.most_unacknowledged, self._unacknowledged)
        # a little later, so that whatever the client sends without waiting is counted first
        asyncio.get_running_loop().call_later(self.think_s, self._acknowledge, message, writer)

    def _acknowledge(self, message: Received, writer: asyncio.StreamWriter) -> None:
        code = self.puback(message)
        if code is not None and not writer.is_closing():
            self._unacknowledged -= 1
            writer.write(struct.pack("!BBHBB", 0x40, 4, message.mid, code, 0))


async def _length(reader: asyncio.StreamReader) -> int:
    length, shift = 0, 0
    while True:
        byte = (await reader.readexactly(1))[0]
        length |= (byte & 127) << shift
        if byte < 128:
            return length
        shift += 7


@contextlib.asynccontextmanager
async def scripted_broker() -> AsyncIterator[ScriptedBroker]:
    """Listening on a port of the loopback interface."""
    broker = ScriptedBroker()
    async with listening(broker.serve) as broker.port:
        yield broker
