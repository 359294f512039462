"""Time as the gateway uses it: nanoseconds UTC for stamps, a monotonic clock for schedules."""

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
    """The clock of the machine."""

    def time_ns(self) -> int:
        return time.time_ns()

    def monotonic_ns(self) -> int:
        return time.monotonic_ns()

    async def sleep_until(self, monotonic_ns: int) -> None:
        await asyncio.sleep(max(0, monotonic_ns - time.monotonic_ns()) / 1e9)
