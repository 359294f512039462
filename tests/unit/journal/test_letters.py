"""Dead letters: looked at, sent once more, thrown away; every account stays exact."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.core.contracts import Count
from gateway.journal.sqlite import SqliteJournal
from tests.contract.journal import ALL, assert_conserved, take_all
from tests.support.journal_batches import noisy
from tests.unit.journal.test_sqlite import fill, opened, sql

BATCHES = noisy(10, 5)


async def refuse_three(journal: SqliteJournal) -> None:
    cursor = journal.cursor("sink")
    await fill(journal, BATCHES)
    window = await cursor.take(*ALL)
    cursor.commit(10, [(window[i], "type conflict") for i in (2, 5, 7)])


async def test_a_letter_is_sent_once_more_as_it_was(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        await refuse_three(journal)
        assert await journal.resend([99]) == []
        letters = await journal.letters()
        assert [(each.cursor, each.record, each.reason, each.batch) for each in letters] == [
            ("sink", i, "type conflict", BATCHES[i]) for i in (2, 5, 7)
        ]
        cursor = journal.cursor("sink")
        waiting = asyncio.ensure_future(cursor.take(*ALL))  # it need not wait for something new
        await asyncio.sleep(0)
        assert await journal.resend([letters[0].id, letters[2].id, letters[2].id]) == [letters[0].id, letters[2].id]
        assert await journal.resend([letters[0].id]) == []
        assert cursor.stats().pending == Count(2, 10)
        assert cursor.stats().dead == Count(1, 5)
        assert_conserved(journal)
        assert list(await asyncio.wait_for(waiting, 5)) == [BATCHES[2], BATCHES[7]]
        cursor.commit(1)
        assert_conserved(journal)
        (again,) = await cursor.take(*ALL)
        cursor.commit(1, [(again, "still")])
        assert cursor.stats().delivered == Count(8, 40)
        assert cursor.stats().dead == Count(2, 10)
        assert_conserved(journal)
        await fill(journal, BATCHES[:1])
        assert await take_all(cursor) == BATCHES[:1]
        assert [(each.record, each.reason) for each in await journal.letters(cursor="sink")] == [
            (5, "type conflict"),
            (7, "still"),
        ]


async def test_a_decision_does_not_wait_until_no_sink_delivers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path) as journal:
        await refuse_three(journal)
        start = journal._start

        def started() -> None:
            start()
            journal.moved((), ())  # a sink acknowledges something while this commit is under way

        ids = [each.id for each in await journal.letters()]
        with monkeypatch.context() as patched:
            patched.setattr(journal, "_start", started)
            async with asyncio.timeout(10):
                assert await journal.resend(ids[:1]) == ids[:1]
                assert await journal.discard(ids[1:]) == ids[1:]


async def test_what_is_on_its_way_again_survives_a_restart(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        await refuse_three(journal)
        await journal.letters()
        ids = [each.id for each in await journal.letters()]
        if not ids:
            await fill(journal, BATCHES[:1])
            await take_all(journal.cursor("sink"))
            ids = [each.id for each in await journal.letters()]
        await journal.resend(ids[:2])
        before = journal.stats().cursors["sink"]
    async with opened(tmp_path) as journal:
        assert journal.stats().cursors["sink"] == before
        cursor = journal.cursor("sink")
        assert await take_all(cursor) == [BATCHES[2], BATCHES[5]]
        assert_conserved(journal)
    async with opened(tmp_path) as journal:
        assert journal.stats().cursors["sink"].pending == Count()
        assert [each.record for each in await journal.letters()] == [7]
        assert_conserved(journal)


async def test_a_letter_that_rots_on_its_way_is_dropped_and_counted(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        await refuse_three(journal)
        await journal.resend([])
        await journal.resend([each.id for each in await journal.letters()])
    sql(tmp_path, "UPDATE dead_letter SET blob_crc = 5 WHERE record = 5")
    async with opened(tmp_path) as journal:
        assert journal.stats().cursors["sink"].dropped_by == {"damaged": Count(1, 5)}
        assert await take_all(journal.cursor("sink")) == [BATCHES[2], BATCHES[7]]
        assert_conserved(journal)


async def test_a_letter_that_is_thrown_away_is_counted_as_dropped(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        await refuse_three(journal)
        await journal.resend([])
        letters = await journal.letters(limit=2)
        assert await journal.discard([each.id for each in letters]) == [each.id for each in letters]
        stats = journal.stats().cursors["sink"]
        assert stats.dropped_by == {"discarded": Count(2, 10)}
        assert stats.dead == Count(1, 5)
        assert_conserved(journal)
        assert [each.record for each in await journal.letters()] == [7]


async def test_examine_reads_everything_and_names_what_is_damaged(tmp_path: Path) -> None:
    batches = noisy(50, 5)
    async with opened(tmp_path) as journal:
        journal.cursor("sink")
        await fill(journal, batches)
    sql(tmp_path, "UPDATE commit_group SET blob_crc = 5 WHERE first_record = 20")
    async with opened(tmp_path) as journal:
        found = await journal.examine(0, batches[5].time_ns, batches[8].time_ns, batches=True)
        assert (found.next, found.end, found.records, found.readings) == (50, 50, 40, 200)
        assert list(found.damaged) == [(20, 10)]
        assert list(found.batches) == batches[5:8]
