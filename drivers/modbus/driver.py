"""Polls the devices of one Modbus link: the first step on the way of a value.

In: a group of tags. Out: a Scan of their wire values. ``plan.py`` decides what to ask, ``exchange.py`` asks,
``isolate.py`` decides what a refusal or silence means, ``decode.py`` says what the bytes mean; here they are put
together:

- an exception answer is a status of the tags of that request; the others keep their values, the connection stays;
- a device that is busy (exception 5, 6) is asked once more a moment later;
- values that the device refuses (exception 1, 2, 3) are found and left out, told once in the log, and tried again;
- a timeout is a silent device (NoAnswer), and so is a converter that says it got no answer (exception 10, 11); its
  neighbours on the link go on;
- an answer that contradicts the request is a ProtocolError, and the connection is closed at once;
- a connection that is gone, or cannot be made, is Unavailable.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from drivers.modbus.bus import exchange_of
from drivers.modbus.decode import Decoder
from drivers.modbus.exchange import Question
from drivers.modbus.frames import ExchangeError, Lost, Refusal, Silent
from drivers.modbus.isolate import Isolation, Memory, News, Outcome, Refused, Silence
from drivers.modbus.options import ModbusDevice, ModbusLink, ModbusRtu, ModbusUdp
from drivers.modbus.plan import Block, addresses_of, limits_of, plan_group
from gateway.core.clock import Clock
from gateway.core.errors import NoAnswer, ProtocolError, Unavailable
from gateway.core.model import Device, Group, Link, Scan, groups
from gateway.core.quality import Status

log = logging.getLogger("drivers.modbus")

NOT_GIVEN = (1, 2, 3)  # exception codes: the device does not know the function, the address, or such a count
NO_WAY = {10: "has no way to it", 11: "got no answer from it"}  # exception code → what the converter means by it
REFUSALS = {
    **dict.fromkeys(NOT_GIVEN, Status.BAD_CONFIGURATION_ERROR),
    4: Status.BAD_DEVICE_FAILURE,
    5: Status.BAD_RESOURCE_UNAVAILABLE,  # acknowledged, takes longer
    6: Status.BAD_RESOURCE_UNAVAILABLE,  # busy
}
"""Exception code → status of the tags that were asked for. Any other code is the device's own: BadDeviceFailure."""

BUSY = Status.BAD_RESOURCE_UNAVAILABLE
BUSY_S = 0.1  # quiet time before a device that was busy is asked once more in the same poll
PATIENCE = 3  # unanswered requests in a row, of all devices of the link, after which the connection is made anew


@dataclass(slots=True)
class _Poll:
    """What one poll of a group asks."""

    unit: int
    isolation: Isolation
    busy: bool = False  # it was busy in the last poll, also when asked once more: others shall not wait for it again
    blocks: tuple[Block, ...] = field(init=False)
    questions: tuple[Question, ...] = field(init=False)  # one per block
    decoder: Decoder = field(init=False)

    def use(self, group: Group, blocks: tuple[Block, ...]) -> None:
        """From now on these blocks are asked."""
        self.blocks = blocks
        self.questions = tuple(map(_question, blocks))
        self.decoder = Decoder(addresses_of(group), [tag.kind for tag in group.tags], blocks)


class ModbusDriver:
    """The Driver of a Modbus link, whatever its wire."""

    def __init__(self, link: Link, clock: Clock) -> None:
        if not isinstance(link.options, ModbusLink):
            raise TypeError(f"{link.id} is no Modbus link")
        self._clock = clock
        self._timeout_s = link.options.timeout_s
        self._exchange = exchange_of(link.options)
        self._where = self._exchange.where
        self._knocks = isinstance(link.options, ModbusUdp)
        self._polls: dict[Group, _Poll] = {}
        fastest = min((tag.period_ns for device in link.devices for tag in device.tags), default=0)
        for device in link.devices:
            memory = Memory()
            for group in groups(device) if device.enabled else ():
                for part in [group] if group.period_ns == fastest else _parts(group):
                    self._polls[part] = _poll(part, memory, round(link.options.retry_s * 1e9))
        self._silent = 0  # requests in a row that nobody answered
        # opening a serial port anew mends nothing: it is the bus that is silent
        serial = isinstance(link.options, ModbusRtu)
        self._patience = sys.maxsize if serial else max(PATIENCE, len(link.devices) + 1)

    @property
    def polled(self) -> tuple[Group, ...]:
        """Every tag of every device that is switched on."""
        return tuple(self._polls)

    @property
    def pushed(self) -> tuple[Group, ...]:
        """Nothing: a Modbus device speaks only when asked."""
        return ()

    async def connect(self) -> None:
        """Open the connection anew. Raises Unavailable with a sentence for a technician."""
        try:
            await self._exchange.open()
        except OSError as error:
            raise self._exchange.failure(error) from error
        except UnicodeError as error:  # of a host name that no name server could hold
            raise Unavailable(f"{self._where} is no host name") from error
        self._silent = 0
        if self._knocks:
            await self._knock()

    async def _knock(self) -> None:
        """Datagrams have no connection: whether anybody listens there shows only when he is asked."""
        for group, poll in self._polls.items():
            await self._ask(group.device, poll.unit, poll.blocks[0])
            return

    async def read(self, group: Group) -> Scan:
        """Ask for every block of the group, one after the other.

        The time of the scan is the middle between the first request and the last answer.
        """
        poll = self._polls[group]
        if self._silent >= self._patience:
            await self.connect()
        begin_ns = self._clock.monotonic_ns()
        read = self._read_all if poll.isolation.steady else self._read_each
        answers = await read(group, poll, begin_ns)
        took_ns = self._clock.monotonic_ns() - begin_ns
        received_ns = self._clock.time_ns()
        time_ns = received_ns - took_ns // 2
        if column := poll.decoder.column(answers):
            values, text = column
            return Scan(group.device, group.index, values, None, time_ns, received_ns, text=text)
        values, status = poll.decoder.decode(answers)
        return Scan(group.device, group.index, values, status, time_ns, received_ns)

    async def _read_all(self, group: Group, poll: _Poll, now_ns: int) -> Sequence[bytes | Status]:
        """What each block brings, where none has brought anything but its data for a while."""
        brought, error = await self._exchange.ask_all(poll.unit, poll.questions)
        if error is None:
            self._silent = 0
            poll.busy = False
            poll.isolation.given()
            return brought
        if brought:
            self._silent = 0
        outcome = self._outcome(error, group.device, poll.unit, poll.blocks[len(brought)])
        return await self._read_each(group, poll, now_ns, [*brought, outcome])

    async def _read_each(
        self, group: Group, poll: _Poll, now_ns: int, first: Sequence[Outcome] = ()
    ) -> Sequence[bytes | Status]:
        """What each block brings, step by step; ``first``: what became of the first ones already."""
        isolation = poll.isolation
        isolation.begin(now_ns)
        known = iter(first)
        asked_again = busy = False
        while (block := isolation.next()) is not None:
            outcome = next(known, None)
            if outcome is None:
                outcome = await self._ask(group.device, poll.unit, block)
            if outcome is BUSY and not (asked_again or poll.busy):
                asked_again = True
                await asyncio.sleep(BUSY_S)
                outcome = await self._ask(group.device, poll.unit, block)
            busy |= outcome is BUSY
            if not isolation.take(outcome):
                status = outcome.status if isinstance(outcome, Silence) else Status.BAD_COMMUNICATION_ERROR
                raise NoAnswer(self._silence(group.device, poll.unit, block, outcome), status)
        answers = isolation.end()
        poll.busy = busy
        if isolation.blocks != poll.blocks:
            poll.use(group, isolation.blocks)
        if isolation.news:
            _tell(group, isolation.news)
        return answers

    async def _ask(self, device: Device, unit: int, block: Block) -> Outcome:
        """What becomes of a request; raises where it is the link that has failed."""
        try:
            data = await self._exchange.ask(unit, *_question(block))
        except ExchangeError as error:
            return self._outcome(error, device, unit, block)
        self._silent = 0
        return data

    def _outcome(self, error: ExchangeError, device: Device, unit: int, block: Block) -> Outcome:
        """What it means that there are no data; raises where it is the link that has failed."""
        if isinstance(error, Refusal):
            self._silent = 0
            if error.code in NOT_GIVEN:
                return Refused(error.code)
            if error.code in NO_WAY:
                reason = f"the converter says that it {NO_WAY[error.code]} (exception {error.code})"
                return Silence(reason, Status.BAD_NO_COMMUNICATION)
            return REFUSALS.get(error.code, Status.BAD_DEVICE_FAILURE)
        if isinstance(error, Silent):
            self._silent += 1
            return Silence(f"what came instead was {error}" if str(error) else "")
        self._exchange.close()
        if isinstance(error, Lost):
            raise Unavailable(f"the connection to {self._where} is lost: {error}") from error
        raise ProtocolError(
            f"{device.id} (unit {unit} at {self._where}) was asked for {block}; what came was {error}"
        ) from error

    def _silence(self, device: Device, unit: int, block: Block, outcome: Outcome) -> str:
        """A device that does not answer, in a sentence for a technician."""
        reason = outcome.reason if isinstance(outcome, Silence) and outcome.reason else ""
        return (
            f"{device.id} (unit {unit} at {self._where}) did not answer {block} within {self._timeout_s:g} s"
            f"{'; ' if reason else ''}{reason}: is it switched on and wired, is its address {unit}, "
            "does it have these registers?"
        )

    async def listen(self, emit: Callable[[Scan], None]) -> None:
        """Return at once: nothing is pushed."""

    async def close(self) -> None:
        """Drop the connection."""
        self._exchange.close()


def _poll(group: Group, memory: Memory, retry_ns: int) -> _Poll:
    options = group.device.options
    if not isinstance(options, ModbusDevice):
        raise TypeError(f"{group.device.path} is no Modbus device")
    isolation = Isolation(addresses_of(group), limits_of(group.device), memory, retry_ns)
    poll = _Poll(options.address, isolation)
    poll.use(group, isolation.blocks)
    return poll


def _parts(group: Group) -> list[Group]:
    """One group per request: between them, groups of a shorter period get their turn."""
    own = len(group.index)
    tags = [sorted(tag for tag in block.tags if tag < own) for block in plan_group(group)]
    if len(tags) == 1 or not all(tags):  # a scale factor lies apart: then its value has to wait with it
        return [group]
    return [Group(group.device, tuple(group.index[tag] for tag in part), group.period_ns) for part in tags]


def _question(block: Block) -> Question:
    return block.function, block.start, block.count, block.size


def _tell(group: Group, news: list[News]) -> None:
    """Say once what a device does not give, and once that it gives it again."""
    device = group.device
    for item in news:
        names = ", ".join(group.tags[i].name for i in item.block.tags if i < len(group.index)) or "a scale factor"
        if item.reason:
            log.warning(
                "%s does not give %s (%s): %s; its other values go on",
                device.path, names, item.block, item.reason, extra={"device": device.path},
            )  # fmt: skip
        else:
            log.warning("%s gives %s again (%s)", device.path, names, item.block, extra={"device": device.path})
    news.clear()
