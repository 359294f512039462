"""From the journal to one sink: take at the cursor, write, and only then move the cursor.

In: the records of one cursor, in order. Out: the same records, acknowledged. One task per sink, so a slow or dead one
holds nobody else. What stands in the journal when the task ends is delivered by the next one.

What happens when a write fails

- SinkUnavailable: nothing counts. Wait (1 s … 60 s, doubling, spread; what Retry-After asks for up to ten minutes;
  at least 30 s where only a person can help), connect again, send the same records again.
- Rejected: those records become dead letters, all others of the write are delivered.
- Anything else is a bug and ends the task.

``history`` marks what is caught up after an outage: from a start or a failure on, every record that the gateway had
more than HISTORY_S ago, until the first record younger than that is delivered. A write holds either kind, not both.
A sink that is merely slow does not make history, and neither does a clock that was set.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from random import Random

from gateway.core.backoff import Backoff
from gateway.core.clock import Clock
from gateway.core.contracts import Cursor, LiveSink, Sink, WatchedSink
from gateway.core.errors import Rejected, SinkUnavailable
from gateway.core.model import Batch
from gateway.health import SinkHealth, State

HISTORY_S = 10.0
RETRY_AFTER_MOST_S = 600.0
SLOW_S = 30.0

_log = logging.getLogger("gateway.publish")


async def publish(sink: Sink, cursor: Cursor, health: SinkHealth, clock: Clock, backoff: Backoff | None = None) -> None:
    """Deliver for ever; ends only by being cancelled or by a bug.

    Cancelled in the middle of a write, that window is written again after the next start.
    """
    publisher = _Publisher(sink, cursor, health, clock, backoff or Backoff(random=Random()))  # noqa: S311 jitter
    try:
        if isinstance(sink, LiveSink):
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(sink.live(), name=f"live {health.name}")
                tasks.create_task(publisher.run(), name=f"deliver {health.name}")
        else:
            await publisher.run()
    finally:
        await sink.close()
        health.state = State.OFFLINE


async def drain(cursors: Iterable[Cursor], clock: Clock, within_s: float) -> bool:
    """Wait until nothing is pending, at most ``within_s``; whether that was reached.

    For the end of the program, once nothing is appended any more and the journal is flushed, before the publish
    tasks are cancelled.
    """
    cursors = tuple(cursors)
    deadline = clock.monotonic_ns() + round(within_s * 1e9)
    while any(cursor.pending for cursor in cursors):
        now = clock.monotonic_ns()
        if now >= deadline:
            return False
        await clock.sleep_until(min(deadline, now + 20_000_000))
    return True


class _Publisher:
    """The state of one publish task."""

    def __init__(self, sink: Sink, cursor: Cursor, health: SinkHealth, clock: Clock, backoff: Backoff) -> None:
        self._sink = sink
        self._cursor = cursor
        self._health = health
        self._clock = clock
        self._backoff = backoff
        self._broken = False  # a break was logged, the recovery not yet
        self._rejecting = False  # likewise for dead letters
        self._behind = True  # what is old may be history

    async def run(self) -> None:
        while True:
            try:
                await self._connect()
                await self._deliver_until_lost()
            except SinkUnavailable as error:
                await self._wait_after(error)

    async def _deliver_until_lost(self) -> None:
        """Deliver for ever; raises SinkUnavailable also where the connection ends while there is nothing to write."""
        try:
            async with asyncio.TaskGroup() as tasks:
                if isinstance(self._sink, WatchedSink):
                    tasks.create_task(self._sink.lost(), name=f"watch {self._health.name}")
                while True:
                    await self._deliver()
        except BaseExceptionGroup as group:
            expected, bugs = group.split(SinkUnavailable)
            if bugs or expected is None:
                raise
            raise expected.exceptions[0] from None

    async def _connect(self) -> None:
        if not self._broken:
            self._set_state(State.CONNECTING)
        await self._sink.connect()
        self._health.connects += 1
        if not self._broken or not self._cursor.pending:
            self._is_well()

    async def _deliver(self) -> None:
        """One write."""
        window = await self._gather()
        batches, history = self._split(window)
        self._health.history = history
        dead: list[tuple[Batch, str]] = []
        try:
            await self._sink.write(batches, history)
        except Rejected as rejected:
            dead = [(batches[i], rejected.reason) for i in sorted(set(rejected.indices))]
        self._cursor.commit(len(batches), dead)
        self._behind = history
        self._count(batches, dead)
        self._is_well()
        self._backoff.reset()

    async def _gather(self) -> Sequence[Batch]:
        """A window of records; a smaller one after ``linger_s``."""
        records, readings = self._sink.window
        window = await self._cursor.take(records, readings)
        if self._sink.linger_s and len(window) < records and sum(len(batch.values) for batch in window) < readings:
            await self._clock.sleep_until(self._clock.monotonic_ns() + round(self._sink.linger_s * 1e9))
            window = await self._cursor.take(records, readings)
        return window

    def _split(self, window: Sequence[Batch]) -> tuple[Sequence[Batch], bool]:
        """The first records of the window that are all history or all not."""
        if not self._behind:
            return window, False
        young_from = self._clock.time_ns() - round(HISTORY_S * 1e9)
        history = window[0].received_ns < young_from
        for i, batch in enumerate(window):
            if (batch.received_ns < young_from) is not history:
                return window[:i], history
        return window, history

    def _count(self, batches: Sequence[Batch], dead: Sequence[tuple[Batch, str]]) -> None:
        health = self._health
        readings = sum(len(batch.values) for batch in batches)
        dead_readings = sum(len(batch.values) for batch, _ in dead)
        health.writes += 1
        health.delivered_records += len(batches) - len(dead)
        health.delivered_readings += readings - dead_readings
        health.dead_records += len(dead)
        health.dead_readings += dead_readings
        if len(dead) < len(batches):
            health.last_delivery_ns = self._clock.time_ns()
        if dead and not self._rejecting:
            _log.error(
                "%s refuses records for good, they are kept as dead letters: %s",
                health.name,
                dead[0][1],
                extra={"sink": health.name, "records": len(dead)},
            )
        self._rejecting = bool(dead)

    async def _wait_after(self, error: SinkUnavailable) -> None:
        wait_s = self._backoff.next_s()
        if error.slow:
            wait_s = max(wait_s, SLOW_S)
        if error.retry_after_s is not None:
            wait_s = max(wait_s, min(error.retry_after_s, RETRY_AFTER_MOST_S))
        self._behind = True
        self._health.failures += 1
        self._health.error = str(error)
        self._set_state(State.OFFLINE)
        if not self._broken:
            self._broken = True
            _log.warning(
                "%s is not available, everything is kept: %s",
                self._health.name,
                error,
                extra={"sink": self._health.name, "retry_s": round(wait_s, 1)},
            )
        await self._clock.sleep_until(self._clock.monotonic_ns() + round(wait_s * 1e9))

    def _is_well(self) -> None:
        self._health.error = ""
        self._set_state(State.ONLINE)
        if self._broken:
            self._broken = False
            extra = {"sink": self._health.name, "pending": self._cursor.pending}
            _log.info("%s is back", self._health.name, extra=extra)

    def _set_state(self, state: State) -> None:
        if self._health.state is not state:
            self._health.state = state
            self._health.since_ns = self._clock.time_ns()
