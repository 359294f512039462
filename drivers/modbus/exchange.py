"""One question, one answer: the only file of this driver that touches the network.

In: unit, function, first address, count. Out: the bytes of data of exactly that answer, or why there is none.

pymodbus makes and keeps the connection. Its own reading of answers is replaced by :class:`StrictFramer` through the
framer it asks for every piece of the stream, for two reasons that were measured: it hands out answers of a wrong
function or length as success and takes transaction id 0 for any, and it unpacks registers one by one (60-80 µs a
request against about 20 here). ``tests/unit/modbus/test_exchange.py`` fails if a new pymodbus no longer works this way.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import socket
import struct
from typing import Any

from pymodbus.client import AsyncModbusTcpClient
from pymodbus.framer import FramerSocket
from pymodbus.pdu import DecodePDU, ModbusPDU

HEADER = struct.Struct(">HHH")  # transaction, protocol (0), length of what follows
REQUEST = struct.Struct(">HHHBBHH")
SHORTEST, LONGEST = 3, 254  # unit, function and one byte at least; 253 bytes of PDU and the unit at most
CHUNK = 1 << 20  # more than asyncio hands over at once, so that pymodbus never drops bytes unseen


class ExchangeError(Exception):
    """No usable answer; the text says what came instead."""


class Silent(ExchangeError):
    """Nothing that belongs to this request came within the timeout; the connection is in order."""


class Lost(ExchangeError):
    """The connection is gone, or there never was one."""


class Nonsense(ExchangeError):
    """The answer contradicts the request or is no Modbus: the connection cannot be trusted any more."""


class Refusal(ExchangeError):
    """The device answered with an exception code."""

    def __init__(self, code: int) -> None:
        super().__init__(f"exception {code}")
        self.code = code


class Exchange:
    """A Modbus TCP connection for one request at a time."""

    def __init__(self, host: str, port: int, timeout_s: float) -> None:
        self._host = host
        self._port = port
        self._timeout_s = timeout_s
        self._client: AsyncModbusTcpClient | None = None
        self._framer = StrictFramer(DecodePDU(False))
        self._transaction = 0

    async def open(self) -> None:
        """Connect anew. Raises OSError or TimeoutError as the system says it."""
        self.close()
        client = AsyncModbusTcpClient(
            self._host,
            port=self._port,
            timeout=self._timeout_s,
            retries=0,
            reconnect_delay=0,
            trace_connect=self._on_connection,
        )
        self._framer = StrictFramer(DecodePDU(False))
        client.ctx.framer = self._framer
        client.ctx.max_buffer_size = CHUNK
        # not client.connect(): it would answer False and keep the reason to itself
        async with asyncio.timeout(self._timeout_s):
            await client.ctx.call_create()
        self._client = client
        self._give_up_dead_peers(client)

    def _give_up_dead_peers(self, client: AsyncModbusTcpClient) -> None:
        """Let the system drop a connection whose other end does not even acknowledge.

        Without it TCP goes on for a quarter of an hour, and tries so rarely in the end that a device is back long
        before its connection.
        """
        wire: Any = client.ctx.transport.get_extra_info("socket")
        if wire is not None and hasattr(socket, "TCP_USER_TIMEOUT"):  # Linux
            wire.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(3000 * self._timeout_s))

    def _on_connection(self, connected: bool) -> None:
        if not connected:
            self._framer.fail(Lost("the connection was closed by the other side"))

    async def ask(self, unit: int, function: int, start: int, count: int, size: int) -> bytes:
        """The ``size`` bytes of data of the answer. Raises an ExchangeError."""
        client = self._client
        if client is None or client.ctx.transport is None:
            raise Lost("there is no connection")
        if client.ctx.recv_buffer:
            raise Nonsense("half an answer to an earlier request")
        self._transaction = self._transaction % 0xFFFF + 1
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[bytes] = loop.create_future()
        self._framer.expect(answer, self._transaction, unit, function, size)
        timer = loop.call_later(self._timeout_s, self._on_timeout)
        try:
            # not ctx.send(): it would throw away the first half of a late answer, and take the rest for a new one
            client.ctx.transport.write(  # type: ignore[attr-defined]
                REQUEST.pack(self._transaction, 0, 6, unit, function, start, count)
            )
            return await answer
        finally:
            timer.cancel()
            self._framer.forget()

    def _on_timeout(self) -> None:
        """What was heard meanwhile decides how bad the silence is."""
        client = self._client
        if client is not None and client.ctx.recv_buffer:
            self._framer.fail(Nonsense("the answer stopped in the middle"))
        else:
            self._framer.fail(Silent(self._framer.stray))

    def close(self) -> None:
        """Let go of the connection at once; what was still to be sent is dropped."""
        client, self._client = self._client, None
        if client is None:
            return
        transport = client.ctx.transport
        client.close()
        if transport is not None:
            transport.abort()  # type: ignore[attr-defined]
        self._framer.fail(Lost("the connection was closed"))


class StrictFramer(FramerSocket):
    """Finds the answer to the one outstanding request in the stream; everything else is counted as a stray."""

    def __init__(self, decoder: DecodePDU) -> None:
        super().__init__(decoder)
        self.strays = 0  # frames that answer nothing that was asked
        self.stray = ""  # the newest of them since the last request, for people
        self._answer: asyncio.Future[bytes] | None = None
        self._garbled = ""
        self._transaction = self._unit = self._function = self._size = 0

    def expect(self, answer: asyncio.Future[bytes], transaction: int, unit: int, function: int, size: int) -> None:
        """From now on wait for the answer to this request: ``size`` bytes of data."""
        self._answer, self._transaction = answer, transaction
        self._unit, self._function, self._size = unit, function, size
        self.stray = ""
        if self._garbled:
            self.fail(Nonsense(self._garbled))

    def forget(self) -> None:
        """Nothing is expected any more: what still comes is late."""
        self._answer = None

    def fail(self, error: ExchangeError) -> None:
        """End the wait for the answer, if there is one."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    def handleFrame(self, data: bytes, exp_devid: int, exp_tid: int) -> tuple[int, ModbusPDU | None]:  # noqa: N802
        """Called by pymodbus with all bytes that were not used yet; says how many are used up now."""
        used = 0
        while len(data) - used >= HEADER.size:
            transaction, protocol, length = HEADER.unpack_from(data, used)
            if protocol != 0 or not SHORTEST <= length <= LONGEST:
                self._garbled = f"bytes that are no Modbus TCP ({data[used : used + 8].hex(' ')} …)"
                self.fail(Nonsense(self._garbled))
                return len(data), None
            end = used + HEADER.size + length
            if end > len(data):
                break
            self._on_frame(transaction, data[used + HEADER.size : end])
            used = end
        return used, None

    def _on_frame(self, transaction: int, frame: bytes) -> None:
        answer = self._answer
        if answer is None or answer.done() or transaction != self._transaction:
            self._on_stray("an answer to an earlier request")
        elif frame[0] != self._unit:
            self._on_stray(f"an answer of unit {frame[0]}")
        elif frame[1] == self._function and len(frame) == 3 + self._size and frame[2] == self._size:
            answer.set_result(frame[3:])
        elif frame[1] == self._function | 0x80 and len(frame) == 3:
            answer.set_exception(Refusal(frame[2]))
        elif frame[1] & 0x7F != self._function:
            self.fail(Nonsense(f"an answer to function {frame[1] & 0x7F} instead of {self._function}"))
        else:
            self.fail(Nonsense(f"an answer of {len(frame) - 3} bytes of data instead of {self._size}"))

    def _on_stray(self, what: str) -> None:
        self.strays += 1
        self.stray = what


def connect_hint(error: OSError, where: str) -> str:
    """Why a connection could not be made, and where to look, in a sentence for a technician."""
    if error.errno is None and (number := re.search(r"\[Errno (\d+)\]", str(error))):
        # asyncio tried several addresses of one name and says what became of each
        error = OSError(int(number[1]), os.strerror(int(number[1])))
    match error:
        case ConnectionRefusedError():
            return f"nothing listens at {where}: is the device or converter switched on, is the port right?"
        case TimeoutError():
            return f"{where} does not answer: is it switched on and in the network, is the address right?"
        case socket.gaierror():
            return f"nobody knows the name in {where}: is it spelled right, does the name server know it?"
        case OSError(errno=errno.EHOSTUNREACH | errno.ENETUNREACH):
            return f"there is no way to {where}: are both in the same network, is the cable plugged in?"
    return f"cannot connect to {where}: {error.strerror or error}"
