"""Asks an instrument what a technician wants to know before there is a line file: one point in every way, who is there.

In: a link's options. Out: answers, for ``probe.py`` and ``sunspec.py`` to judge. It only reads.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from drivers.modbus.bus import exchange_of
from drivers.modbus.frames import Lost, Nonsense, Refusal, Silent
from drivers.modbus.options import ModbusLink, ModbusRtu
from drivers.modbus.plan import BITS, END
from drivers.modbus.probe import Point, Span, neighbours, spans
from gateway.core.errors import NoAnswer, ProtocolError, Unavailable

LONGEST = 64  # registers to ask for at once, at first
NOBODY = (10, 11)  # exceptions of a converter that reached no device
SLOWEST_S = 8.0  # a scan waits no longer than that for one unit, however late others answered


class Conversation:
    """One open connection, one question at a time."""

    def __init__(self, link: ModbusLink) -> None:
        self._link = link
        self._exchange = exchange_of(link)

    @property
    def where(self) -> str:
        return self._exchange.where

    @property
    def timeout_s(self) -> float:
        return self._link.timeout_s

    @property
    def over_network(self) -> bool:
        """Whether there may be a converter in between, with a patience of its own."""
        return not isinstance(self._link, ModbusRtu)

    async def open(self, timeout_s: float | None = None) -> None:
        """Connect, or connect anew with another patience. Raises Unavailable."""
        self.close()
        if timeout_s:
            self._link = self._link.model_copy(update={"timeout_s": timeout_s})
        self._exchange = exchange_of(self._link)
        try:
            await self._exchange.open()
        except OSError as error:
            raise self._exchange.failure(error) from error

    def close(self) -> None:
        """Let go of the connection."""
        self._exchange.close()

    async def ask(self, unit: int, span: Span) -> bytes | int:
        """The data, or the exception code. Raises NoAnswer, ProtocolError or Unavailable."""
        function, start, count = span
        size = (count + 7) // 8 if function in BITS else 2 * count
        try:
            return await self._exchange.ask(unit, function, start, count, size)
        except Refusal as refusal:
            return refusal.code
        except Silent as error:
            raise NoAnswer(str(error)) from error
        except Nonsense as error:
            await self.open()
            raise ProtocolError(f"unit {unit} at {self.where}: {error}") from error
        except Lost as error:
            raise Unavailable(f"the connection to {self.where} is lost: {error}") from error


@asynccontextmanager
async def conversation(link: ModbusLink) -> AsyncIterator[Conversation]:
    """An open conversation. Raises Unavailable."""
    talk = Conversation(link)
    try:
        await talk.open()
        yield talk
    finally:
        talk.close()


# ----------------------------------------------------------------------------------------------------- one point


@dataclass(slots=True)
class Heard:
    """What a unit answered around one point."""

    answers: dict[Span, Sequence[bytes] | int] = field(default_factory=dict)
    awkward: set[Span] = field(default_factory=set)  # given only together with the registers around it


async def ask_around(talk: Conversation, unit: int, point: Point, polls: int) -> Heard:
    """What the unit answers to everything that ``judge`` looks at. Raises NoAnswer where it answers nothing at all."""
    heard = Heard()
    for function in point.functions:
        own = [span for span in spans(point) if span[0] == function]
        try:
            await _ask_function(talk, unit, own, polls, heard)
        except (NoAnswer, ProtocolError):
            continue  # some instruments stay silent, or talk nonsense, where they do not know the function
    if not heard.answers:
        raise NoAnswer(
            f"unit {unit} at {talk.where} answered nothing within {talk.timeout_s:g} s: is it switched on and wired, "
            "is its address right? --scan-units shows who answers"
        )
    return heard


async def _ask_function(talk: Conversation, unit: int, own: Sequence[Span], polls: int, heard: Heard) -> None:
    """Everything in one request per poll, so that it fits together; else piece by piece."""
    around = [span for each in own for span in neighbours(each) if span not in own]
    for together in ([*own, *around], own):
        if await _ask_together(talk, unit, together, polls, heard):
            for span in own:
                if isinstance(await talk.ask(unit, span), int):
                    heard.awkward.add(span)
            break
    for spans_, times in ((own, polls), (around, 1)):
        for span in dict.fromkeys(spans_):
            if span not in heard.answers:
                heard.answers[span] = await _ask_piece(talk, unit, span, times, heard)


async def _ask_together(talk: Conversation, unit: int, wanted: Sequence[Span], polls: int, heard: Heard) -> bool:
    """Whether one request brings all of it."""
    function = wanted[0][0]
    low = min(start for _, start, _ in wanted)
    high = max(start + count for _, start, count in wanted)
    low, high = _evened(function, low, high)
    if high - low > LONGEST:
        return False
    whole: list[bytes] = []
    for _ in range(polls):
        data = await talk.ask(unit, (function, low, high - low))
        if isinstance(data, int):
            return False
        whole.append(data)
    heard.answers |= {span: [_cut(data, span, low) for data in whole] for span in wanted}
    return True


async def _ask_piece(talk: Conversation, unit: int, span: Span, polls: int, heard: Heard) -> Sequence[bytes] | int:
    """Exactly the span; where that is refused, with the registers around it that instruments in twos want."""
    function, start, count = span
    low, high = start, start + count
    polled: list[bytes] = []
    while len(polled) < polls:
        data = await talk.ask(unit, (function, low, high - low))
        if isinstance(data, bytes):
            polled.append(_cut(data, span, low))
        elif (low, high) == (wider := _evened(function, start, start + count)):
            return data
        else:
            low, high = wider
            heard.awkward.add(span)
    return polled


def _evened(function: int, low: int, high: int) -> tuple[int, int]:
    """From an even address on, an even number of registers."""
    return (low, high) if function in BITS else (low - low % 2, min(END, high + high % 2))


def _cut(data: bytes, span: Span, low: int) -> bytes:
    """The part of the answer that holds the span."""
    function, start, count = span
    if function in BITS:
        at = start - low
        return bytes((data[at // 8] >> at % 8 & 1,))
    return data[2 * (start - low) : 2 * (start - low + count)]


# --------------------------------------------------------------------------------------------------- who is there


@dataclass(frozen=True, slots=True)
class Present:
    """A unit that answered, and how."""

    unit: int
    how: str


async def scan_units(talk: Conversation, units: Sequence[int]) -> AsyncIterator[Present]:
    """The units that answer, as they are found; any exception of the device itself counts.

    A converter waits for a dead unit too. Where its answers begin to come late, live units would be missed: the
    patience is doubled, and the unit before, whose answer that may be, is asked again.
    """
    at = 0
    silent = -1  # the newest that said nothing
    while at < len(units):
        unit = units[at]
        try:
            answer = await talk.ask(unit, (3, 0, 1))
        except NoAnswer as silence:
            if str(silence) and talk.over_network and talk.timeout_s < SLOWEST_S:
                await talk.open(2 * talk.timeout_s)
                if at > 0 and silent == at - 1:
                    at -= 1
                continue
            silent = at
        except ProtocolError:
            yield Present(unit, "answers, but not as Modbus wants it")
        else:
            if isinstance(answer, bytes):
                yield Present(unit, "answers function 3")
            elif answer not in NOBODY:
                yield Present(unit, f"answers with exception {answer}")
        at += 1
