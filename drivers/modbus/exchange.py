"""One question, one answer, over whatever wire.

In: unit, function, first address, count. Out: the bytes of data of exactly that answer, or why there is none.
``frames.py`` knows the bytes, ``wires.py`` makes the connection; here is the waiting: one question at a time, each with
a deadline, and the pauses that some devices need.

The questions of one poll follow each other without waking the task that asked: the next one leaves while the answer
to the last one is still being heard. That takes a third of the time of a poll away.

pymodbus carries the bytes; its own exchange is not used, because it hands out answers of a wrong function or length as
success, takes a late RTU answer for the next one, and needs 60-80 µs a request where this needs about 20.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import TypeAlias

from drivers.modbus.frames import ExchangeError, Framing, Lost, Nonsense, Refusal, Silent
from drivers.modbus.wires import Line, Wire, connect_hint, open_error
from gateway.core.errors import Unavailable

__all__ = ["Exchange", "ExchangeError", "Lost", "Nonsense", "Pauses", "Question", "Refusal", "Silent", "connect_hint"]

Question: TypeAlias = tuple[int, int, int, int]
"""Function, first address, count, and how many bytes of data the answer must have."""


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
        self._end: asyncio.Future[ExchangeError | None] | None = None  # of the questions that are being asked
        self._unit = 0
        self._questions: Iterator[Question] = iter(())  # the ones to come
        self._brought: list[bytes] = []
        self._asked_at = 0.0  # loop time of the question that waits for its answer
        self._timer: asyncio.TimerHandle | None = None
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
        brought, error = await self._converse(unit, ((function, start, count, size),))
        if error is not None:
            raise error
        return brought[0]

    async def ask_all(self, unit: int, questions: Sequence[Question]) -> tuple[list[bytes], ExchangeError | None]:
        """Ask one after the other as long as each brings its data: that, and why the next one brought none."""
        if self._calm:
            return await self._converse(unit, questions)
        brought: list[bytes] = []
        for question in questions:
            try:
                brought.append(await self.ask(unit, *question))
            except ExchangeError as error:
                return brought, error
        return brought, None

    async def _converse(self, unit: int, questions: Sequence[Question]) -> tuple[list[bytes], ExchangeError | None]:
        loop = asyncio.get_running_loop()
        self._unit, self._questions, self._brought = unit, iter(questions), []
        self._end = loop.create_future()
        self._timer = loop.call_later(self._timeout_s, self._on_timeout, loop)
        try:
            self._ask_next(loop.time())
            error = await self._end
            return self._brought, error
        finally:
            self._timer.cancel()
            self._end = None
            self._framing.forget()
            self._last_unit = unit

    def _ask_next(self, now: float) -> None:
        """Send the next question; where there is none left, that is the end."""
        question = next(self._questions, None)
        if question is None:
            self.finish(None)
        elif self._line is None:
            self.finish(Lost("there is no connection"))
        else:
            self._asked_at = now
            try:
                request = self._framing.ask(self._unit, *question)
            except Nonsense as error:
                self.finish(error)
            else:
                self._line.send(request)

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
        now = asyncio.get_running_loop().time()
        self._spoke_at = now
        heard = self._framing.hear(data)
        if heard is None or self._end is None or self._end.done():
            return
        if type(heard) is bytes:
            self._brought.append(heard)
            self._ask_next(now)
        elif isinstance(heard, ExchangeError):
            self.finish(heard)

    def finish(self, error: ExchangeError | None) -> None:
        """No more is asked: everything is answered, or the question that waits will not be."""
        if self._end is not None and not self._end.done():
            self._end.set_result(error)

    def ended(self, session: _Session) -> None:
        """The other side is gone."""
        if session is self._session:
            self._drop()
            self.finish(Lost("the connection was closed by the other side"))

    @property
    def where(self) -> str:
        """Where it leads, for people."""
        return self._wire.where

    def failure(self, error: OSError) -> Unavailable:
        """What it means that ``open`` failed, in a sentence for a technician."""
        return open_error(error, self._wire)

    def _on_timeout(self, loop: asyncio.AbstractEventLoop) -> None:
        """One timer serves all questions of a poll: it goes on for as long as the newest one has left."""
        left = self._asked_at + self._timeout_s - loop.time()
        if left > 0:
            self._timer = loop.call_later(left, self._on_timeout, loop)
        else:
            self.finish(self._framing.give_up())

    def close(self) -> None:
        """Let go of the connection at once; what was still to be sent is dropped."""
        self._drop()
        self.finish(Lost("the connection was closed"))

    def _drop(self) -> None:
        line, self._line, self._session = self._line, None, None
        if line is not None:
            line.close()


class _Session:
    """What is told about one connection, as long as it is the one in use."""

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange
        self.data_received = exchange.hear
        self.ended = False

    def error_received(self, exc: Exception) -> None:
        """A datagram came back: nobody listens there."""
        self.connection_lost(exc)

    def connection_lost(self, exc: Exception | None) -> None:
        self.ended = True
        self._exchange.ended(self)
