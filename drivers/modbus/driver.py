"""Polls the devices of one Modbus link: the first step on the way of a value.

In: a group of tags. Out: a Scan of their wire values. ``plan.py`` decides what to ask, ``exchange.py`` asks,
``decode.py`` says what the bytes mean; here is only who did not answer, and what that means for whom:

- an exception answer is a status of the tags of that request; the others keep their values, the connection stays;
- a timeout is a silent device (NoAnswer); its neighbours on the link go on;
- an answer that contradicts the request is a ProtocolError, and the connection is closed at once;
- a connection that is gone, or cannot be made, is Unavailable.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from drivers.modbus.decode import Decoder
from drivers.modbus.exchange import Exchange, Lost, Nonsense, Refusal, Silent, connect_hint
from drivers.modbus.options import ModbusDevice, ModbusTcp
from drivers.modbus.plan import Block, addresses_of, plan_group
from gateway.core.clock import Clock
from gateway.core.errors import NoAnswer, ProtocolError, Unavailable
from gateway.core.model import Device, Group, Link, Scan, groups
from gateway.core.quality import Status

REFUSALS = {
    1: Status.BAD_CONFIGURATION_ERROR,  # the device does not know the function
    2: Status.BAD_CONFIGURATION_ERROR,  # … the address
    3: Status.BAD_CONFIGURATION_ERROR,  # … does not accept the count
    4: Status.BAD_DEVICE_FAILURE,
    5: Status.BAD_RESOURCE_UNAVAILABLE,  # acknowledged, takes longer
    6: Status.BAD_RESOURCE_UNAVAILABLE,  # busy
    10: Status.BAD_NO_COMMUNICATION,  # the converter has no way to the device
    11: Status.BAD_NO_COMMUNICATION,  # … got no answer from it
}
"""Exception code → status of the tags that were asked for. Any other code is the device's own: BadDeviceFailure."""

PATIENCE = 3  # unanswered requests in a row, of all devices of the link, after which the connection is made anew


@dataclass(frozen=True, slots=True)
class _Poll:
    """What one poll of a group asks, compiled once."""

    unit: int
    blocks: tuple[Block, ...]
    decoder: Decoder


class ModbusDriver:
    """The Driver of a Modbus TCP link."""

    def __init__(self, link: Link, clock: Clock) -> None:
        if not isinstance(link.options, ModbusTcp):
            raise TypeError(f"{link.id} is no Modbus TCP link")
        self._clock = clock
        self._timeout_s = link.options.timeout_s
        self._where = f"{link.options.host}:{link.options.port}"
        self._exchange = Exchange(link.options.host, link.options.port, link.options.timeout_s)
        self._polls = {group: _poll(group) for device in link.devices if device.enabled for group in groups(device)}
        self._silent = 0  # requests in a row that nobody answered
        self._patience = max(PATIENCE, len(link.devices) + 1)

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
            raise Unavailable(connect_hint(error, self._where)) from error
        except UnicodeError as error:  # of a host name that no name server could hold
            raise Unavailable(f"{self._where} is no host name") from error
        self._silent = 0

    async def read(self, group: Group) -> Scan:
        """Ask for every block of the group, one after the other.

        The time of the scan is the middle between the first request and the last answer.
        """
        poll = self._polls[group]
        if self._silent >= self._patience:
            await self.connect()
        begin_ns = self._clock.monotonic_ns()
        answers = [await self._ask(group.device, poll.unit, block) for block in poll.blocks]
        took_ns = self._clock.monotonic_ns() - begin_ns
        received_ns = self._clock.time_ns()
        values, status = poll.decoder.decode(answers)
        return Scan(group.device, group.index, values, status, received_ns - took_ns // 2, received_ns)

    async def _ask(self, device: Device, unit: int, block: Block) -> bytes | Status:
        """The data of a block, or the status of its tags."""
        try:
            data = await self._exchange.ask(unit, block.function, block.start, block.count, block.size)
        except Refusal as refusal:
            self._silent = 0
            return REFUSALS.get(refusal.code, Status.BAD_DEVICE_FAILURE)
        except Silent as error:
            self._silent += 1
            instead = f"; what came instead was {error}" if str(error) else ""
            raise NoAnswer(
                f"{device.id} (unit {unit} at {self._where}) did not answer {block} within {self._timeout_s:g} s"
                f"{instead}: is it switched on and wired, is its address {unit}, does it have these registers?"
            ) from error
        except Nonsense as error:
            self._exchange.close()
            raise ProtocolError(
                f"{device.id} (unit {unit} at {self._where}) was asked for {block}; what came was {error}"
            ) from error
        except Lost as error:
            self._exchange.close()
            raise Unavailable(f"the connection to {self._where} is lost: {error}") from error
        self._silent = 0
        return data

    async def listen(self, emit: Callable[[Scan], None]) -> None:
        """Return at once: nothing is pushed."""

    async def close(self) -> None:
        """Drop the connection."""
        self._exchange.close()


def _poll(group: Group) -> _Poll:
    options = group.device.options
    if not isinstance(options, ModbusDevice):
        raise TypeError(f"{group.device.path} is no Modbus device")
    blocks = plan_group(group)
    return _Poll(options.address, blocks, Decoder(addresses_of(group), [tag.kind for tag in group.tags], blocks))
