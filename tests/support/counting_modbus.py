"""A Modbus TCP server that never says the same twice and remembers what it said: the oracle of the system tests.

The n-th answer of a unit holds, as big-endian float32 from register 0 on, the values n + i/64 of tag i. All of them
are exact, so what arrives anywhere can be traced to one register of one answer.
"""

from __future__ import annotations

import asyncio
import struct
import time
from contextlib import suppress

HEADER = struct.Struct(">HHHB")
REQUEST = struct.Struct(">BHH")


def answer_values(number: int, count: int) -> tuple[float, ...]:
    """What the n-th answer says, (count,)."""
    return tuple(number + i / 64 for i in range(count))


def as_float32(value: float) -> float:
    """The float32 that a published decimal stands for.

    >>> as_float32(129.01562)
    129.015625
    """
    single: float = struct.unpack("<f", struct.pack("<f", value))[0]
    return single


class CountingModbus:
    """Serves functions 3 and 4. ``answers[unit]`` is how often the unit has answered."""

    def __init__(self) -> None:
        self.answers: dict[int, int] = {}
        self.times_s: dict[int, list[float]] = {}  # by unit: when it answered, monotonic
        self.writes = 0
        self.port = 0
        self._server: asyncio.Server | None = None
        self._connections: set[asyncio.StreamWriter] = set()

    async def start(self, port: int = 0) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", port or self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Stop listening and hang up on everybody."""
        if self._server:
            self._server.close()
            for writer in self._connections:
                writer.close()
            await self._server.wait_closed()
            self._server = None

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections.add(writer)
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                transaction, _, length, unit = HEADER.unpack(await reader.readexactly(HEADER.size))
                function, start, count = REQUEST.unpack(await reader.readexactly(length - 1))
                if function not in (3, 4):
                    self.writes += 1
                    writer.write(HEADER.pack(transaction, 0, 3, unit) + bytes((function | 0x80, 1)))
                    continue
                number = self.answers[unit] = self.answers.get(unit, 0) + 1
                self.times_s.setdefault(unit, []).append(time.monotonic())
                values = answer_values(number, start // 2 + count // 2)[start // 2 :]
                body = struct.pack(f">BB{len(values)}f", function, 2 * count, *values)
                writer.write(HEADER.pack(transaction, 0, 1 + len(body), unit) + body)
        self._connections.discard(writer)
        writer.close()
