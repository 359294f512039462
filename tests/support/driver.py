"""A driver whose devices do what a test says."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from gateway.core.errors import DriverError, NoAnswer, Unavailable
from gateway.core.model import Group, Link, Scan, groups
from gateway.core.quality import Status
from tests.support.clock import FakeClock


class FakeDriver:
    """Implements gateway.core.contracts.Driver. Every poll takes ``takes_s`` of the fake clock."""

    def __init__(self, link: Link, clock: FakeClock) -> None:
        self.polled: tuple[Group, ...] = tuple(g for device in link.devices for g in groups(device))
        self.pushed: tuple[Group, ...] = ()
        self.link_error: DriverError | None = None
        self.silent: set[str] = set()
        self.silence = Status.BAD_COMMUNICATION_ERROR  # what those that are silent turn
        self.status: dict[str, tuple[int, ...]] = {}
        self.takes_s: dict[str, float] = {}
        self.reads: list[tuple[str, int]] = []  # (device, monotonic ns)
        self.connects: list[int] = []
        self.closed = 0
        self.overflows = 0
        self.emit: Callable[[Scan], None] | None = None
        self._lost = asyncio.Event()
        self._clock = clock

    async def connect(self) -> None:
        self.connects.append(self._clock.now_ns)
        if self.link_error:
            raise self.link_error
        self._lost.clear()

    async def read(self, group: Group) -> Scan:
        device = group.device
        self.reads.append((device.id, self._clock.now_ns))
        await self._clock.sleep_until(self._clock.now_ns + int(self.takes_s.get(device.id, 0) * 1e9))
        if self.link_error:
            raise self.link_error
        if device.id in self.silent:
            raise NoAnswer(f"{device.id} does not answer", self.silence)
        now = self._clock.wall_ns
        values = tuple(float(i) for i in group.index)
        return Scan(device, group.index, values, self.status.get(device.id), now, now)

    async def listen(self, emit: Callable[[Scan], None]) -> None:
        self.emit = emit
        await self._lost.wait()
        raise self.link_error or Unavailable("the session was lost")

    def break_link(self, error: DriverError) -> None:
        """Lose the session under whoever listens."""
        self.link_error = error
        self._lost.set()

    async def close(self) -> None:
        self.closed += 1
