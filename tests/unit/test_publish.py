"""One sink's task against a journal in memory and a clock that is turned by hand."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

import pytest

from gateway.core.backoff import Backoff
from gateway.core.contracts import Count
from gateway.core.errors import Rejected, SinkUnavailable
from gateway.core.model import Batch
from gateway.health import SinkHealth, State
from gateway.journal.memory import MemoryJournal
from gateway.publish import HISTORY_S, drain, publish
from tests.contract.journal import assert_conserved
from tests.support.clock import FakeClock, settle
from tests.support.journal_batches import batch

Answer = Callable[[Sequence[Batch]], None]


class FakeSink:
    """A sink that answers as it is told: by default it accepts."""

    def __init__(self, window: tuple[int, int] = (100, 10_000), linger_s: float = 0.0) -> None:
        self.window = window
        self.linger_s = linger_s
        self.answers: list[Exception] = []  # to the next writes
        self.connect_answers: list[Exception] = []
        self.writes: list[tuple[list[int], bool]] = []  # (seqs, history), accepted or not
        self.delivered: list[int] = []
        self.connects = 0
        self.closes = 0
        self.stuck = False

    async def connect(self) -> None:
        self.connects += 1
        if self.connect_answers:
            raise self.connect_answers.pop(0)

    async def write(self, batches: Sequence[Batch], history: bool) -> None:
        seqs = [each.seq for each in batches]
        self.writes.append((seqs, history))
        if self.stuck:
            await asyncio.Event().wait()
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Rejected):
            self.delivered += [seq for i, seq in enumerate(seqs) if i not in answer.indices]
        if answer:
            raise answer
        self.delivered += seqs

    async def close(self) -> None:
        self.closes += 1


class FakeLiveSink(FakeSink):
    def __init__(self) -> None:
        super().__init__()
        self.shows = False

    async def live(self) -> None:
        self.shows = True
        try:
            await asyncio.Event().wait()
        finally:
            self.shows = False


class FakeWatchedSink(FakeSink):
    def __init__(self) -> None:
        super().__init__()
        self.end = asyncio.Event()

    async def lost(self) -> None:
        await self.end.wait()
        self.end.clear()
        raise SinkUnavailable("the other side is gone")


class Bench:
    """A sink being published to."""

    def __init__(self, sink: FakeSink) -> None:
        self.sink = sink
        self.clock = FakeClock()
        self.journal = MemoryJournal()
        self.health = SinkHealth("sink", "fake")
        self.backoff = Backoff(jitter=0.0)

    def append(self, *seqs: int, age_s: float = 0.0) -> None:
        for seq in seqs:
            self.journal.append(batch(seq, received_ns=self.clock.time_ns() - round(age_s * 1e9)))


@asynccontextmanager
async def publishing(sink: FakeSink) -> AsyncIterator[Bench]:
    bench = Bench(sink)
    await bench.journal.open()
    cursor = bench.journal.cursor("sink")
    task = asyncio.ensure_future(publish(sink, cursor, bench.health, bench.clock, bench.backoff))
    try:
        await settle()
        yield bench
        assert_conserved(bench.journal)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert sink.closes == 1


async def test_records_are_delivered_in_order_and_counted() -> None:
    async with publishing(FakeSink(window=(3, 100))) as bench:
        bench.append(1, 2, 3, 4, 5)
        await settle()
        assert bench.sink.writes == [([1, 2, 3], False), ([4, 5], False)]
        assert bench.journal.cursor("sink").pending == 0
        assert bench.health.state is State.ONLINE
        assert (bench.health.delivered_records, bench.health.delivered_readings, bench.health.writes) == (5, 15, 2)
        assert bench.health.last_delivery_ns == bench.clock.time_ns()


async def test_a_sink_that_lingers_gathers() -> None:
    async with publishing(FakeSink(linger_s=0.2)) as bench:
        bench.append(1)
        await bench.clock.advance(0.1)
        bench.append(2)
        assert bench.sink.writes == []
        await bench.clock.advance(0.1)
        assert bench.sink.writes == [([1, 2], False)]


@pytest.mark.parametrize("window", [(2, 100), (100, 6)])
async def test_a_full_window_does_not_linger(window: tuple[int, int]) -> None:
    async with publishing(FakeSink(window=window, linger_s=0.2)) as bench:
        bench.append(1, 2)
        await settle()
        assert bench.sink.writes == [([1, 2], False)]


async def test_what_was_not_accepted_is_sent_again_after_connecting_again() -> None:
    sink = FakeSink()
    sink.answers = [SinkUnavailable("broker gone"), SinkUnavailable("still gone")]
    async with publishing(sink) as bench:
        bench.append(1, 2)
        await settle()
        assert (bench.health.state, bench.health.error) == (State.OFFLINE, "broker gone")
        assert bench.journal.cursor("sink").pending == 2
        await bench.clock.advance(0.9)
        assert sink.connects == 1
        await bench.clock.advance(0.1)
        assert (sink.connects, len(sink.writes)) == (2, 2)
        await bench.clock.advance(1.9)  # connecting works, writing does not: the wait grows all the same
        assert sink.connects == 2
        await bench.clock.advance(0.1)
        assert sink.delivered == [1, 2]
        assert (bench.health.state, bench.health.error, bench.health.failures) == (State.ONLINE, "", 2)


async def test_the_wait_doubles_to_a_minute_and_begins_anew_after_a_success() -> None:
    sink = FakeSink()
    sink.connect_answers = [SinkUnavailable("refused")] * 9
    async with publishing(sink) as bench:
        waits = []
        before = bench.clock.monotonic_ns()
        while sink.connect_answers:
            connects = sink.connects
            while sink.connects == connects:
                await bench.clock.advance(0.5)
            waits.append((bench.clock.monotonic_ns() - before) / 1e9)
            before = bench.clock.monotonic_ns()
        assert waits == [1, 2, 4, 8, 16, 32, 60, 60]
        await bench.clock.advance(60)
        sink.answers = [SinkUnavailable("again")]
        bench.append(1)
        await settle()
        assert sink.delivered == []
        await bench.clock.advance(60)
        assert sink.delivered == [1]
        sink.answers = [SinkUnavailable("again")]
        bench.append(2)
        await bench.clock.advance(1)
        assert sink.delivered == [1, 2]


@pytest.mark.parametrize(
    ("error", "wait_s"),
    [
        (SinkUnavailable("busy", retry_after_s=17), 17),
        (SinkUnavailable("busy", retry_after_s=0), 1),
        (SinkUnavailable("busy", retry_after_s=31_536_000), 600),
        (SinkUnavailable("password refused", slow=True), 30),
    ],
)
async def test_waits_that_the_other_side_decides(error: SinkUnavailable, wait_s: float) -> None:
    sink = FakeSink()
    sink.answers = [error]
    async with publishing(sink) as bench:
        bench.append(1)
        await bench.clock.advance(wait_s - 0.5)
        assert sink.connects == 1
        await bench.clock.advance(0.5)
        assert sink.delivered == [1]


async def test_refused_records_become_dead_letters_and_the_rest_counts() -> None:
    sink = FakeSink()
    sink.answers = [Rejected([2, 0, 2], "field type conflict")]
    async with publishing(sink) as bench:
        bench.append(1, 2, 3, 4)
        await settle()
        assert sink.delivered == [2, 4]
        assert sink.connects == 1
        assert [(letter.record, letter.reason) for letter in bench.journal.letters] == [
            (0, "field type conflict"),
            (2, "field type conflict"),
        ]
        assert (bench.health.delivered_records, bench.health.dead_records, bench.health.dead_readings) == (2, 2, 6)
        stats = bench.journal.stats().cursors["sink"]
        assert (stats.delivered, stats.dead, stats.pending) == (Count(2, 6), Count(2, 6), Count())


async def test_what_is_caught_up_after_an_outage_is_history() -> None:
    sink = FakeSink()
    sink.answers = [SinkUnavailable("gone")]
    async with publishing(sink) as bench:
        bench.append(1, 2)
        await settle()
        bench.append(3, age_s=HISTORY_S + 1)  # was waiting in the journal
        bench.append(4, 5)
        await bench.clock.advance(1)
        assert sink.writes[1:] == [([1, 2], False), ([3, 4, 5], False)]
        sink.answers = [SinkUnavailable("gone")]
        bench.append(6, 7, age_s=HISTORY_S + 1)
        bench.append(8)
        sink.writes.clear()
        await settle()
        await bench.clock.advance(1)
        assert sink.writes[1:] == [([6, 7], True), ([8], False)]
        assert bench.health.history is False


async def test_at_the_start_what_waited_in_the_journal_is_history() -> None:
    async with publishing(FakeSink()) as bench:
        bench.append(1, age_s=3600)
        bench.append(2)
        await settle()
        assert bench.sink.writes == [([1], True), ([2], False)]


async def test_a_clock_that_was_set_makes_no_history() -> None:
    async with publishing(FakeSink()) as bench:
        bench.append(1)
        await settle()
        bench.append(2, age_s=3600)
        await settle()
        assert bench.sink.writes == [([1], False), ([2], False)]


async def test_a_break_and_a_recovery_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "gateway.publish")
    sink = FakeSink()
    sink.connect_answers = [SinkUnavailable("refused")] * 5
    async with publishing(sink) as bench:
        bench.append(1)
        await bench.clock.advance(100)
        assert sink.delivered == [1]
    assert [(record.levelname, record.getMessage()) for record in caplog.records] == [
        ("WARNING", "sink is not available, everything is kept: refused"),
        ("INFO", "sink is back"),
    ]
    assert caplog.records[0].__dict__["sink"] == "sink"


async def test_dead_letters_are_logged_once_in_a_row(caplog: pytest.LogCaptureFixture) -> None:
    sink = FakeSink(window=(1, 100))
    sink.answers = [Rejected([0], "type conflict"), Rejected([0], "type conflict")]
    async with publishing(sink) as bench:
        bench.append(1, 2, 3)
        await settle()
        assert sink.delivered == [3]
    assert [record.levelname for record in caplog.records] == ["ERROR"]


async def test_cancelled_within_a_write_nothing_is_counted() -> None:
    sink = FakeSink()
    sink.stuck = True
    async with publishing(sink) as bench:
        bench.append(1, 2)
        await settle()
        journal = bench.journal
    assert sink.writes == [([1, 2], False)]
    assert journal.cursor("sink").pending == 2
    assert bench.health.state is State.OFFLINE


async def test_d2_a_connection_that_ends_while_there_is_nothing_to_write_is_made_anew() -> None:
    sink = FakeWatchedSink()
    async with publishing(sink) as bench:
        assert bench.health.state is State.ONLINE
        sink.end.set()
        await settle()
        assert (bench.health.state, bench.health.error) == (State.OFFLINE, "the other side is gone")
        await bench.clock.advance(1)
        assert (bench.health.state, sink.connects) == (State.ONLINE, 2)
        bench.append(1)
        await bench.journal.flush()
        await settle()
        assert sink.delivered == [1]


async def test_d2_a_connection_that_ends_within_a_write_has_the_write_done_again() -> None:
    sink = FakeWatchedSink()
    sink.stuck = True
    async with publishing(sink) as bench:
        bench.append(1, 2)
        await bench.journal.flush()
        await settle()
        assert [seqs for seqs, _ in sink.writes] == [[1, 2]]
        sink.stuck = False
        sink.end.set()
        await settle()
        await bench.clock.advance(1)
        assert sink.delivered == [1, 2]


async def test_a_bug_ends_the_task_and_closes_the_sink() -> None:
    sink = FakeSink()
    sink.answers = [ZeroDivisionError()]
    bench = Bench(sink)
    await bench.journal.open()
    bench.append(1)
    with pytest.raises(ExceptionGroup) as raised:
        await publish(sink, bench.journal.cursor("sink"), bench.health, bench.clock)
    assert raised.group_contains(ZeroDivisionError)
    assert sink.closes == 1
    assert bench.journal.cursor("sink").pending == 1


async def test_the_live_lane_runs_beside_also_while_the_sink_is_down() -> None:
    sink = FakeLiveSink()
    sink.connect_answers = [SinkUnavailable("refused")] * 3
    async with publishing(sink) as bench:
        assert sink.shows
        bench.append(1)
        await bench.clock.advance(10)
        assert sink.delivered == [1]
        assert sink.shows
    assert not sink.shows


async def test_drain_waits_until_everything_is_delivered() -> None:
    sink = FakeSink(linger_s=0.2)
    async with publishing(sink) as bench:
        bench.append(1)
        draining = asyncio.ensure_future(drain([bench.journal.cursor("sink")], bench.clock, 2.0))
        await bench.clock.advance(0.15)
        assert not draining.done()
        await bench.clock.advance(0.15)
        assert await draining is True


async def test_drain_gives_up() -> None:
    sink = FakeSink()
    sink.stuck = True
    async with publishing(sink) as bench:
        bench.append(1)
        draining = asyncio.ensure_future(drain([bench.journal.cursor("sink")], bench.clock, 2.0))
        await bench.clock.advance(1.9)
        assert not draining.done()
        await bench.clock.advance(0.2)
        assert await draining is False
