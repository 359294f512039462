"""A clock that tests turn by hand; sleepers wake in order, as with the real one."""

from __future__ import annotations

import asyncio
from heapq import heappop, heappush
from itertools import count


class FakeClock:
    """Implements gateway.core.clock.Clock. Starts at 2026-01-01 UTC, monotonic 1 s."""

    def __init__(self) -> None:
        self.wall_ns = 1_767_225_600_000_000_000
        self.now_ns = 1_000_000_000
        self._order = count()
        self._sleepers: list[tuple[int, int, asyncio.Event]] = []

    def time_ns(self) -> int:
        return self.wall_ns

    def monotonic_ns(self) -> int:
        return self.now_ns

    async def sleep_until(self, monotonic_ns: int) -> None:
        if monotonic_ns <= self.now_ns:
            await asyncio.sleep(0)
            return
        event = asyncio.Event()
        heappush(self._sleepers, (monotonic_ns, next(self._order), event))
        await event.wait()

    async def advance(self, seconds: float) -> None:
        """Let so much time pass, waking whoever is due on the way, and let all of them do their work."""
        end = self.now_ns + round(seconds * 1e9)
        await settle()
        while self._sleepers and self._sleepers[0][0] <= end:
            due, _, event = heappop(self._sleepers)
            self._move(due)
            event.set()
            await settle()
        self._move(end)
        await settle()

    def _move(self, now_ns: int) -> None:
        passed = max(0, now_ns - self.now_ns)
        self.now_ns += passed
        self.wall_ns += passed


async def settle() -> None:
    """Run everything that can run without time passing."""
    for _ in range(30):
        await asyncio.sleep(0)
