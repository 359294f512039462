"""A TCP proxy on loopback that does to a connection what real networks do.

``pass_on`` is the start; ``delay``, ``drip``, ``cut_after``, ``flip`` and ``blackhole`` change what happens to bytes
from then on, ``reset`` ends what is open with RST, ``refuse`` stops listening and ``accept`` begins again.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from enum import Enum


class Direction(Enum):
    """Which way bytes go."""

    UP = "client to server"
    DOWN = "server to client"


@dataclass(slots=True)
class Rules:
    """What happens to the bytes of one direction."""

    delay_s: float = 0.0  # before each piece is handed on
    piece_bytes: int = 65_536  # pieces are no larger than this
    cut_after_bytes: int | None = None  # so many more pass, then both sides are closed
    flip_at_byte: int | None = None  # the so-manieth byte from now on arrives with its lowest bit turned
    blackhole: bool = False  # nothing passes, nothing is closed


@dataclass(slots=True)
class Proxy:
    """Listens on ``port`` and forwards to the target. ``connections`` counts what came in."""

    target_port: int
    target_host: str = "127.0.0.1"
    port: int = 0
    connections: int = 0
    rules: dict[Direction, Rules] = field(default_factory=lambda: {way: Rules() for way in Direction})
    _server: asyncio.Server | None = None
    _open: set[asyncio.StreamWriter] = field(default_factory=set)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    # -------------------------------------------------------------------------------------------------- faults

    def pass_on(self) -> None:
        """No fault from now on."""
        for rules in self.rules.values():
            rules.delay_s, rules.piece_bytes, rules.blackhole = 0.0, 65_536, False
            rules.cut_after_bytes = rules.flip_at_byte = None

    def delay(self, seconds: float, *ways: Direction) -> None:
        """Each piece arrives so much later."""
        for way in ways or Direction:
            self.rules[way].delay_s = seconds

    def drip(self, piece_bytes: int, seconds: float, *ways: Direction) -> None:
        """Bytes arrive a few at a time."""
        for way in ways or Direction:
            self.rules[way].piece_bytes, self.rules[way].delay_s = piece_bytes, seconds

    def cut_after(self, count: int, *ways: Direction) -> None:
        """So many more bytes pass, then the connection is closed."""
        for way in ways or Direction:
            self.rules[way].cut_after_bytes = count

    def flip(self, at_byte: int, *ways: Direction) -> None:
        """One bit of one byte arrives wrong, counted from now (0: the next byte)."""
        for way in ways or Direction:
            self.rules[way].flip_at_byte = at_byte

    def blackhole(self, *ways: Direction) -> None:
        """Nothing passes, the connection stays open."""
        for way in ways or Direction:
            self.rules[way].blackhole = True

    def reset(self) -> None:
        """Every open connection ends with RST."""
        for writer in list(self._open):
            sock = writer.get_extra_info("socket")
            if sock is not None:
                # no linger: close() then sends RST instead of FIN
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()

    async def refuse(self) -> None:
        """Nobody listens any more; what is open is closed."""
        if self._server:
            self._server.close()
            self._server = None
        for writer in list(self._open):
            writer.close()

    async def accept(self) -> None:
        """Listen, on the same port as before."""
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    # ------------------------------------------------------------------------------------------------- service

    async def close(self) -> None:
        await self.refuse()
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        self._tasks.add(task)
        self.connections += 1
        self._open.add(writer)
        try:
            up_reader, up_writer = await asyncio.open_connection(self.target_host, self.target_port)
            self._open.add(up_writer)
            pumps = [
                asyncio.ensure_future(self._pump(reader, up_writer, self.rules[Direction.UP])),
                asyncio.ensure_future(self._pump(up_reader, writer, self.rules[Direction.DOWN])),
            ]
            try:
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for pump in pumps:
                    pump.cancel()
                await asyncio.wait(pumps)
                await self._shut(up_writer)
        except (OSError, asyncio.CancelledError):  # the target is gone, or the test is over
            pass
        finally:
            await self._shut(writer)
            self._tasks.discard(task)

    async def _shut(self, writer: asyncio.StreamWriter) -> None:
        self._open.discard(writer)
        writer.close()
        with contextlib.suppress(OSError, asyncio.CancelledError):
            await writer.wait_closed()

    @staticmethod
    async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, rules: Rules) -> None:
        """Until one side ends or the rules cut it."""
        while True:
            try:
                data = await reader.read(rules.piece_bytes)
            except OSError:
                return
            if not data:
                return
            if rules.delay_s:
                await asyncio.sleep(rules.delay_s)
            if rules.blackhole:
                continue
            if rules.flip_at_byte is not None:
                if rules.flip_at_byte < len(data):
                    at = rules.flip_at_byte
                    data = data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]
                    rules.flip_at_byte = None
                else:
                    rules.flip_at_byte -= len(data)
            cut = rules.cut_after_bytes is not None and rules.cut_after_bytes <= len(data)
            if rules.cut_after_bytes is not None:
                data = data[: rules.cut_after_bytes]
                rules.cut_after_bytes -= len(data)
            try:
                writer.write(data)
                await writer.drain()
            except OSError:
                return
            if cut:
                return


@contextlib.asynccontextmanager
async def proxy(target_port: int) -> AsyncIterator[Proxy]:
    """A proxy in front of a port of the loopback interface."""
    running = Proxy(target_port)
    await running.accept()
    try:
        yield running
    finally:
        await running.close()
