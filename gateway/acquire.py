"""One task per link: connect, poll when due, listen, back off. A dead link or device harms nobody else.

In: a driver. Out: scans, handed to ``intake``, and the states of link and devices.

A loss of communication is itself a scan: one bad null per tag when it breaks, then silence until the device is back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heapify, heapreplace
from zlib import crc32

from gateway.core.backoff import Backoff
from gateway.core.clock import Clock
from gateway.core.contracts import Driver
from gateway.core.errors import DriverError, NoAnswer, Refused, Unavailable
from gateway.core.model import Device, Group, Link, Scan
from gateway.core.quality import Status, is_bad
from gateway.core.tasks import guarded
from gateway.health import LinkHealth, State

log = logging.getLogger("gateway.acquire")

SLOTS = 2  # links of one period are due in so many groups: few wake-ups and commits, and not all at once
MOST_WAIT_S = 8.0  # a device that comes back is seen within 10 s; every vain question takes time from its neighbours
LINK_WAIT_S = 4.0  # a knock costs nobody anything, and connecting again takes seconds itself
REFUSED_WAIT_S = 30.0  # only a person can mend it; do not fill the server's log meanwhile

ERROR_LENGTH = 500  # of an error as a sentence: it may quote a device, and goes into states and the status

Intake = Callable[[Scan], None]
SetState = Callable[[Device, State, str], None]
Learn = Callable[[Device], None]


@dataclass(slots=True)
class _Unit:
    """One device as its link sees it."""

    device: Device
    backoff: Backoff = field(default_factory=lambda: Backoff(most_s=MOST_WAIT_S))
    retry_at: int = 0  # monotonic ns; silent until then
    lost: bool = True  # has not answered yet, or no longer
    told: bool = False  # that it is lost
    bad: dict[tuple[int, ...], bool] = field(default_factory=dict)  # selection of tags → some of them are bad


class LinkTask:
    """Keeps one link going for ever."""

    def __init__(
        self,
        link: Link,
        driver: Driver,
        intake: Intake,
        set_state: SetState,
        learn: Learn,
        health: LinkHealth,
        clock: Clock,
    ) -> None:
        """``learn``: told of a device that the driver has completed, before the first scan that names it."""
        self._link = link
        self._driver = driver
        self._intake = intake
        self._set_state = set_state
        self._learn = learn
        self._health = health
        self._clock = clock
        self._backoff = Backoff(most_s=LINK_WAIT_S)
        self._overflows = 0  # as the driver counted them last
        self._slot = crc32(link.id.encode()) % SLOTS
        self._units = {device.id: _Unit(device) for device in link.devices if device.enabled}

    async def run(self) -> None:
        """Until cancelled. Errors of the field end here; anything else is a bug and goes on up."""
        self._switch_off()
        try:
            while self._units:
                try:
                    await self._converse()
                except DriverError as error:
                    self._broken(error)
                    wait = self._backoff.next_s()
                    if isinstance(error, Refused) and error.slow:
                        wait = max(wait, REFUSED_WAIT_S)
                    await self._clock.sleep_until(self._clock.monotonic_ns() + int(wait * 1e9))
        finally:
            await self._driver.close()

    async def _converse(self) -> None:
        """Connect, then poll and listen side by side until the link breaks."""
        await self._driver.connect()
        self._health.connects += 1
        self._complete()
        for unit in self._units.values():
            unit.retry_at = 0
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(guarded(self._poll(self._driver.polled)), name=f"poll {self._link.id}")
                if self._driver.pushed:
                    tasks.create_task(guarded(self._driver.listen(self._hear_pushed)), name=f"listen {self._link.id}")
        except BaseExceptionGroup as group:
            expected, bugs = group.split(DriverError)
            if bugs or expected is None:
                raise
            raise expected.exceptions[0] from None
        raise Unavailable(f"{self._link.id}: nothing is left to read on this link")

    def _complete(self) -> None:
        """From now on the devices are what the driver knows of them."""
        for group in self._driver.polled + self._driver.pushed:
            unit = self._units.get(group.device.id)
            if unit and unit.device is not group.device:
                unit.device = group.device
                self._learn(group.device)

    # ------------------------------------------------------------------------------------------------- polling

    async def _poll(self, groups: tuple[Group, ...]) -> None:
        """Read every group at its own period, on a grid of the monotonic clock: no drift, no piling up."""
        start = self._clock.monotonic_ns()
        schedule = [(start, number, group) for number, group in enumerate(groups) if group.device.id in self._units]
        heapify(schedule)
        while schedule:
            await self._clock.sleep_until(schedule[0][0])
            place = _most_urgent(schedule, self._clock.monotonic_ns())
            due, number, group = schedule[place]
            unit = self._units[group.device.id]
            if unit.retry_at <= self._clock.monotonic_ns():
                await self._read(group, unit)
            following, now = self._next_due(due, group.period_ns), self._clock.monotonic_ns()
            if following < now:
                missed = following
                following = self._next_due(now, group.period_ns)
                if due != start:  # the first poll comes at once, off the grid
                    self._health.overruns += (following - missed) // group.period_ns
            if place:
                schedule[place] = following, number, group
                heapify(schedule)
            else:
                heapreplace(schedule, (following, number, group))

    def _next_due(self, after: int, period: int) -> int:
        offset = period * self._slot // SLOTS
        return ((after - offset) // period + 1) * period + offset

    async def _read(self, group: Group, unit: _Unit) -> None:
        try:
            scan = await self._driver.read(group)
        except NoAnswer as error:
            self._health.silent += 1
            self._lose(unit, error.status, _sentence(error))
            unit.retry_at = self._clock.monotonic_ns() + int(unit.backoff.next_s() * 1e9)
            self._judge()
        else:
            self._hear(scan)

    # --------------------------------------------------------------------------------------------------- states

    def _hear(self, scan: Scan) -> None:
        """A device said something."""
        unit = self._units[scan.device.id]
        self._health.scans += 1
        self._health.readings += len(scan.index)
        self._intake(scan)
        bad = scan.status is not None and any(map(is_bad, scan.status))
        if unit.lost or unit.bad.get(scan.index, False) != bad:
            self._find(unit, scan, bad)

    def _hear_pushed(self, scan: Scan) -> None:
        self._hear(scan)
        overflows = getattr(self._driver, "overflows", 0)  # where a protocol has such a thing; per session
        if overflows != self._overflows:
            self._health.overflows += overflows - (self._overflows if overflows > self._overflows else 0)
            self._overflows = overflows

    def _find(self, unit: _Unit, scan: Scan, bad: bool) -> None:
        if unit.lost:
            unit.lost = False
            unit.backoff.reset()
            self._backoff.reset()
            if unit.told:
                log.warning("%s answers again", unit.device.path, extra={"device": unit.device.path})
                unit.told = False
        if len(unit.bad) > 256:  # selections change with every notification where devices report by exception
            unit.bad.clear()
        unit.bad[scan.index] = bad
        if any(unit.bad.values()):
            self._set_state(unit.device, State.DEGRADED, "some tags are bad")
        else:
            self._set_state(unit.device, State.ONLINE, "")
        self._judge()

    def _lose(self, unit: _Unit, status: Status, error: str) -> None:
        """The device is gone: say so once, with one bad null per tag."""
        self._set_state(unit.device, State.OFFLINE, error)
        if unit.lost and unit.told:
            return
        unit.lost = unit.told = True
        unit.bad.clear()
        log.warning("%s: %s", unit.device.path, error, extra={"device": unit.device.path})
        self._intake(self._blank(unit.device, status))

    def _broken(self, error: DriverError) -> None:
        """The link is gone, and every device on it."""
        self._health.failures += 1
        sentence = _sentence(error)
        for unit in self._units.values():
            self._lose(unit, Status.BAD_NO_COMMUNICATION, sentence)
        self._judge(sentence)

    def _judge(self, error: str = "") -> None:
        """The state of the link follows from those of its devices."""
        lost = [unit.device.id for unit in self._units.values() if unit.lost]
        state = State.ONLINE if not lost else State.OFFLINE if len(lost) == len(self._units) else State.DEGRADED
        if state is not self._health.state:
            self._health.since_ns = self._clock.time_ns()
        self._health.state = state
        self._health.error = error or (f"no answer from {', '.join(lost)}" if lost else "")

    def _switch_off(self) -> None:
        for device in self._link.devices:
            if not device.enabled:
                self._set_state(device, State.OFFLINE, "switched off in the configuration")
                self._intake(self._blank(device, Status.BAD_OUT_OF_SERVICE))

    def _blank(self, device: Device, status: Status) -> Scan:
        now, count = self._clock.time_ns(), len(device.tags)
        return Scan(device, tuple(range(count)), (None,) * count, (status,) * count, now, now)


def _sentence(error: DriverError) -> str:
    text = str(error)
    return text if len(text) <= ERROR_LENGTH else text[: ERROR_LENGTH - 1] + "…"


def _most_urgent(schedule: list[tuple[int, int, Group]], now: int) -> int:
    """The place in the heap of the group that is due and whose period ends first.

    So a group of 10 s that takes long does not delay one of 1 s by more than the request that is under way, and on a
    bus that is too slow for all none starves.
    """
    if not any(due <= now for due, _, _ in schedule[1:3]):
        return 0
    due = [i for i, entry in enumerate(schedule) if entry[0] <= now] or [0]
    return min(due, key=lambda i: (schedule[i][0] + schedule[i][2].period_ns, schedule[i][1]))
