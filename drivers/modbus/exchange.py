"""One question, one answer, over whatever wire.

In: unit, function, first address, count. Out: the bytes of data of exactly that answer, or why there is none.
``frames.py`` knows the bytes, ``wires.py`` makes the connection; here is the waiting: one question at a time, each with
a deadline, and the pauses that some devices need.

pymodbus carries the bytes; its own exchange is not used, because it hands out answers of a wrong function or length as
success, takes a late RTU answer for the next one, and needs 60-80 µs a request where this needs about 20.
"""

from __future__ import annotations

import asyncio

from drivers.modbus.frames import ExchangeError, Framing, Lost, Nonsense, Refusal, Silent
from drivers.modbus.wires import Line, Wire, connect_hint, open_error
from gateway.core.errors import Unavailable

__all__ = ["Exchange", "ExchangeError", "Lost", "Nonsense", "Pauses", "Refusal", "Silent", "connect_hint"]


class Pauses:
    """The quiet times of a link, in seconds."""

    def __init__(self, connect_s: float = 0.0, between_s: float = 0.0, turnaround_s: float = 0.0) -> None:
        self.connect_s = connect_s
        self.between_s = between_s
        self.turnaround_s = max(turnaround_s, between_s)


class Exchange:
    """A connection for one request at a time."""

    def __init__(self, wire: Wire, framing: Framing, timeout_s: float, pauses: Pauses | None = None) -> None:
        self._wire = wire
        self._framing = framing
        self._timeout_s = timeout_s
        self._pauses = pauses or Pauses()
        self._calm = not (self._pauses.between_s or self._pauses.turnaround_s)
        self._line: Line | None = None
        self._session: _Session | None = None
        self._answer: asyncio.Future[bytes] | None = None
        self._spoke_at = 0.0  # loop time at which somebody last said something
        self._last_unit = -1

    async def open(self) -> None:
        """Connect anew. Raises OSError or TimeoutError as the system says it."""
        self.close()
        self._framing.reset()
        session = _Session(self)
        async with asyncio.timeout(self._timeout_s):
            line = await self._wire.open(session)
        if session.ended:
            line.close()
            raise ConnectionResetError("the connection was closed at once")
        self._session, self._line = session, line
        if self._pauses.connect_s:
            await asyncio.sleep(self._pauses.connect_s)

    async def ask(self, unit: int, function: int, start: int, count: int, size: int) -> bytes:
        """The ``size`` bytes of data of the answer. Raises an ExchangeError."""
        if not self._calm:
            await self._pause(unit)
        if self._line is None:
            raise Lost("there is no connection")
        request = self._framing.ask(unit, function, start, count, size)
        loop = asyncio.get_running_loop()
        self._answer = loop.create_future()
        timer = loop.call_later(self._timeout_s, self._on_timeout)
        try:
            self._line.send(request)
            return await self._answer
        finally:
            timer.cancel()
            self._answer = None
            self._framing.forget()
            self._last_unit = unit

    async def _pause(self, unit: int, least_s: float = 0.0) -> None:
        """Wait until the wire has been quiet for long enough; raises Silent where it never is."""
        loop = asyncio.get_running_loop()
        quiet_s = self._pauses.between_s if unit == self._last_unit else self._pauses.turnaround_s
        quiet_s = max(quiet_s, least_s)
        deadline = loop.time() + quiet_s + self._timeout_s
        while (left := self._spoke_at + quiet_s - loop.time()) > 0:
            if loop.time() > deadline:
                raise Silent("bytes without end: somebody on the bus does not stop talking")
            await asyncio.sleep(left)

    def hear(self, data: bytes) -> None:
        """Something came over the wire."""
        if not self._calm:
            self._spoke_at = asyncio.get_running_loop().time()
        heard = self._framing.hear(data)
        if heard is None or self._answer is None or self._answer.done():
            return
        if type(heard) is bytes:
            self._answer.set_result(heard)
        elif isinstance(heard, ExchangeError):
            self._answer.set_exception(heard)

    def fail(self, error: ExchangeError) -> None:
        """End the wait for the answer, if there is one."""
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(error)

    def ended(self, session: _Session) -> None:
        """The other side is gone."""
        if session is self._session:
            self._drop()
            self.fail(Lost("the connection was closed by the other side"))

    @property
    def where(self) -> str:
        """Where it leads, for people."""
        return self._wire.where

    def failure(self, error: OSError) -> Unavailable:
        """What it means that ``open`` failed, in a sentence for a technician."""
        return open_error(error, self._wire)

    def _on_timeout(self) -> None:
        self.fail(self._framing.give_up())

    def close(self) -> None:
        """Let go of the connection at once; what was still to be sent is dropped."""
        self._drop()
        self.fail(Lost("the connection was closed"))

    def _drop(self) -> None:
        line, self._line, self._session = self._line, None, None
        if line is not None:
            line.close()


class _Session:
    """What is told about one connection, as long as it is the one in use."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.ended = False

    def data_received(self, data: bytes) -> None:
        self._exchange.hear(data)

    def error_received(self, exc: Exception) -> None:
        """A datagram came back: nobody listens there."""
        self.connection_lost(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self._exchange.ended(self)
