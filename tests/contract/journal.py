"""What every journal promises (core.contracts.Journal and Cursor)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from gateway.core.contracts import Count, Cursor, Journal
from gateway.core.model import Batch
from tests.support import conservation
from tests.support.journal_batches import batch, noisy, odd_batches
from tests.support.waiting import until

ALL = (10**9, 10**9)


def assert_conserved(journal: Journal) -> None:
    """Every cursor accounts for every record and every reading."""
    conservation.assert_conserved(journal.stats())


async def take_all(cursor: Cursor, records: int = 7) -> list[Batch]:
    """Everything that is pending, window by window."""
    taken: list[Batch] = []
    while cursor.pending:
        window = await take_or_nothing(cursor, records)
        taken += window
        cursor.commit(len(window))
    return taken


async def take_or_nothing(cursor: Cursor, records: int) -> Sequence[Batch]:
    """A window; an empty one when what was pending turns out to be damaged."""
    taking = asyncio.ensure_future(cursor.take(records, 10**9))
    await until(lambda: taking.done() or not cursor.pending, "records or the end of them")
    if not taking.done():
        taking.cancel()
        return ()
    return taking.result()


class JournalContract:
    """Inherit, and give a fixture ``journal`` that is open and empty."""

    async def fill(self, journal: Journal, batches: Sequence[Batch]) -> None:
        for each in batches:
            journal.append(each)
        await journal.flush()

    async def test_records_come_back_equal_and_in_order(self, journal: Journal) -> None:
        cursor = journal.cursor("sink")
        batches = odd_batches() + noisy(120, 20)
        await self.fill(journal, batches)
        assert await take_all(cursor) == batches
        assert_conserved(journal)

    async def test_every_cursor_gets_everything_and_moves_alone(self, journal: Journal) -> None:
        fast, slow = journal.cursor("fast"), journal.cursor("slow")
        batches = noisy(30, 2)
        await self.fill(journal, batches)
        assert await take_all(fast) == batches
        assert (fast.pending, slow.pending) == (0, 30)
        assert await take_all(slow) == batches
        assert_conserved(journal)

    async def test_take_does_not_move_the_cursor(self, journal: Journal) -> None:
        cursor = journal.cursor("sink")
        batches = noisy(10, 2)
        await self.fill(journal, batches)
        assert list(await cursor.take(*ALL)) == batches
        assert list(await cursor.take(4, 10**9)) == batches[:4]
        assert list(await cursor.take(*ALL)) == batches
        assert (cursor.position, cursor.pending) == (0, 10)

    async def test_commit_moves_by_records(self, journal: Journal) -> None:
        cursor = journal.cursor("sink")
        batches = noisy(10, 2)
        await self.fill(journal, batches)
        await cursor.take(*ALL)
        cursor.commit(3)
        assert (cursor.position, cursor.pending) == (3, 7)
        assert list(await cursor.take(2, 10**9)) == batches[3:5]
        assert_conserved(journal)

    @pytest.mark.parametrize(("records", "readings", "taken"), [(3, 99, 3), (99, 10, 2), (99, 1, 1), (1, 1, 1)])
    async def test_a_window_is_bounded_but_never_empty(
        self, journal: Journal, records: int, readings: int, taken: int
    ) -> None:
        cursor = journal.cursor("sink")
        await self.fill(journal, noisy(10, 5))
        assert len(await cursor.take(records, readings)) == taken

    async def test_take_waits_for_a_record(self, journal: Journal) -> None:
        cursor = journal.cursor("sink")
        waiting = asyncio.ensure_future(cursor.take(*ALL))
        done, _ = await asyncio.wait([waiting], timeout=0.05)
        assert not done
        journal.append(batch(1))
        assert list(await asyncio.wait_for(waiting, 5)) == [batch(1)]

    async def test_a_cancelled_take_takes_nothing(self, journal: Journal) -> None:
        cursor = journal.cursor("sink")
        waiting = asyncio.ensure_future(cursor.take(*ALL))
        await asyncio.sleep(0)
        waiting.cancel()
        await self.fill(journal, [batch(1)])
        assert list(await cursor.take(*ALL)) == [batch(1)]

    async def test_dead_letters_are_accounted_apart(self, journal: Journal) -> None:
        cursor = journal.cursor("sink")
        await self.fill(journal, noisy(10, 5))
        window = await cursor.take(6, 10**9)
        cursor.commit(6, [(window[1], "type conflict"), (window[4], "type conflict")])
        stats = journal.stats().cursors["sink"]
        assert stats.dead == Count(2, 10)
        assert stats.delivered == Count(4, 20)
        assert stats.pending == Count(4, 20)
        assert_conserved(journal)

    async def test_nothing_can_be_finished_that_was_not_taken(self, journal: Journal) -> None:
        cursor = journal.cursor("sink")
        await self.fill(journal, noisy(3, 1))
        with pytest.raises(ValueError, match="taken"):
            cursor.commit(1)
        window = await cursor.take(2, 10**9)
        with pytest.raises(ValueError, match="dead letter"):
            cursor.commit(1, [(window[1], "not finished")])
        assert (cursor.position, cursor.pending) == (0, 3)

    async def test_one_cursor_per_name(self, journal: Journal) -> None:
        assert journal.cursor("sink") is journal.cursor("sink")

    async def test_a_cursor_that_is_not_retained_begins_anew(self, journal: Journal) -> None:
        journal.cursor("other")
        await self.fill(journal, noisy(5, 1))
        await take_all(journal.cursor("sink"))
        journal.retain(["other"])
        assert set(journal.stats().cursors) == {"other"}
        assert journal.cursor("sink").pending == 5  # all still there, because of the other one
        assert_conserved(journal)

    async def test_it_counts_what_it_accepted(self, journal: Journal) -> None:
        await self.fill(journal, noisy(5, 3))
        stats = journal.stats()
        assert (stats.accepted_records, stats.accepted_readings) == (5, 15)
        assert (stats.lost_records, stats.lost_readings, stats.error) == (0, 0, "")

    async def test_after_close_a_batch_is_counted_as_lost(self, journal: Journal) -> None:
        await journal.close()
        journal.append(batch(1))
        await journal.flush()
        assert (journal.stats().lost_records, journal.stats().lost_readings) == (1, 3)
        await journal.close()
