"""Time as the gateway uses it: nanoseconds UTC for stamps, a monotonic clock for schedules."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Clock(Protocol):
    """Where time comes from; tests hand in one they can turn."""

    def time_ns(self) -> int:
        """Wall clock, ns since 1970-01-01 UTC. May step."""

    def monotonic_ns(self) -> int:
        """Never steps; only differences mean anything."""

    async def sleep_until(self, monotonic_ns: int) -> None:
        """Return when ``monotonic_ns()`` has reached that instant; at once if it has already."""


class SystemClock:
    """The clock of the machine.

    Everybody who waits for the same instant shares one timer and wakes in one pass of the event loop: polls of many
    links at one period are due together, and wake-ups cost as much as the polls.
    """

    def __init__(self) -> None:
        self._ticks: dict[int, asyncio.Event] = {}

    def time_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    async def sleep_until(self, monotonic_ns: int) -> None:
        wait_ns = monotonic_ns - time.monotonic_ns()
        if wait_ns <= 0:
            await asyncio.sleep(0)  # whoever is late all the time still lets the others run
            return
        tick = self._ticks.get(monotonic_ns)
        if tick is None:
            tick = self._ticks[monotonic_ns] = asyncio.Event()
            asyncio.get_running_loop().call_later(wait_ns / 1e9, self._strike, monotonic_ns)
        await tick.wait()

    def _strike(self, monotonic_ns: int) -> None:
        self._ticks.pop(monotonic_ns).set()
