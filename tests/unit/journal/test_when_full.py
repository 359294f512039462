"""What becomes of records when the journal is full: each policy, its account and its gaps."""

from __future__ import annotations

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from gateway.core.contracts import Count, Gap
from gateway.core.model import Batch
from gateway.journal.room import halved
from gateway.journal.rows import Piece, Thinned, WhenFull
from gateway.journal.store import MIN_BYTES
from tests.contract.journal import assert_conserved, take_all
from tests.support.journal_batches import batch, noisy
from tests.unit.journal.test_sqlite import fill, opened, size_of_directory


def of_few_devices(count: int) -> list[Batch]:
    """So that a row has several records of each."""
    batches = noisy(count, 200)
    return [replace(each, shape=batches[each.seq % 4].shape) for each in batches]


async def test_drop_newest_keeps_what_it_has_and_counts_what_it_refuses(tmp_path: Path) -> None:
    batches = noisy(1500, 200)
    async with opened(tmp_path, MIN_BYTES, when_full=WhenFull.DROP_NEWEST) as journal:
        cursor = journal.cursor("sink")
        await fill(journal, batches, 50)
        stats = journal.stats()
        assert 0 < stats.accepted_records < 1500
        assert stats.lost_by == {"full": Count(stats.lost_records, stats.lost_readings)}
        assert stats.accepted_records + stats.lost_records == 1500
        assert "full" in stats.error
        assert stats.cursors["sink"].dropped == Count()
        (gap,) = [gap for gap in stats.gaps if gap.start == Count(*[stats.accepted_records * n for n in (1, 200)])]
        assert (gap.cursor, gap.reason, gap.size.readings) == ("", "full", 200 * gap.size.records)
        assert_conserved(journal)
        kept = await take_all(cursor, 100)
        assert [each.seq for each in kept] == sorted({each.seq for each in kept})
        assert kept[0] == batches[0]
        await fill(journal, batches[:50], 50)  # there is room again
        assert journal.stats().error == ""
        assert await take_all(cursor, 100) == batches[:50]
        assert_conserved(journal)
    assert size_of_directory(tmp_path) <= MIN_BYTES
    async with opened(tmp_path, MIN_BYTES) as journal:
        assert journal.stats().lost_by == stats.lost_by
        assert journal.stats().gaps == stats.gaps


@pytest.mark.parametrize("tail_bytes", [0, 16 << 20])
async def test_thin_leaves_out_every_second_record_of_what_is_old(tmp_path: Path, tail_bytes: int) -> None:
    batches = of_few_devices(3000)
    async with opened(tmp_path, MIN_BYTES, when_full=WhenFull.THIN, tail_bytes=tail_bytes) as journal:
        cursor = journal.cursor("sink")
        for i in range(0, 3000, 50):
            await fill(journal, batches[i : i + 50], 50)
            assert_conserved(journal)
            assert size_of_directory(tmp_path) <= MIN_BYTES
        before = journal.stats().cursors["sink"]
        assert before.dropped_by["thinned"].records > 1000
    async with opened(tmp_path, MIN_BYTES, when_full=WhenFull.THIN) as journal:
        assert journal.stats().cursors["sink"] == before  # counted on the disk too
        cursor = journal.cursor("sink")
        kept = await take_all(cursor, 100)
        assert_conserved(journal)
        stats = journal.stats()
    async with opened(tmp_path, MIN_BYTES) as journal:
        gaps = journal.stats().gaps
    positions = [each.seq for each in kept]
    assert [each.values for each in kept] == [batches[position].values for position in positions]
    assert positions == sorted(set(positions))
    assert len(kept) == before.pending.records
    assert stats.cursors["sink"].dropped == before.dropped
    assert stats.cursors["sink"].delivered == Count(len(kept), 200 * len(kept))
    assert {batches[position].shape.source for position in positions} == {each.shape.source for each in batches}
    halves = [sum(position // 1500 == half for position in positions) for half in (0, 1)]
    assert halves[0] < halves[1]  # what is old is thinned, what is new is not
    assert {gap.cursor for gap in gaps} == {"sink"}
    assert sum(gap.size.records for gap in gaps if gap.reason == "thinned") == before.dropped_by["thinned"].records
    assert sum(gap.size.records for gap in gaps) == before.dropped.records


async def test_gaps_say_between_which_times_records_are_missing(tmp_path: Path) -> None:
    batches = noisy(1500, 200)
    async with opened(tmp_path, MIN_BYTES) as journal:
        cursor = journal.cursor("sink")
        await fill(journal, batches[:10])
        assert await take_all(cursor) == batches[:10]
        await fill(journal, batches[10:], 50)
        kept = await take_all(cursor)
        await fill(journal, batches[:1])
        (gap,) = journal.stats().gaps
    assert kept == batches[-len(kept) :]
    missing = 1490 - len(kept)
    assert gap == Gap(
        "sink",
        Count(10, 2000),
        Count(missing, 200 * missing),
        "full",
        batches[9].time_ns,
        gap.before_ns,
        gap.noticed_ns,
    )
    assert gap.noticed_ns > 0


async def test_a_backlog_in_a_damaged_journal_is_missing_as_damaged(tmp_path: Path) -> None:
    async with opened(tmp_path, MIN_BYTES) as journal:
        journal.cursor("sink")
        await fill(journal, noisy(30, 5))
    (tmp_path / "journal.db").write_bytes(b"not a database at all, but quite long " * 200)
    async with opened(tmp_path, MIN_BYTES) as journal:
        journal.cursor("sink")
        await fill(journal, noisy(2, 5))
        assert await take_all(journal.cursor("sink")) == noisy(2, 5)
        reasons = {name for gap in journal.stats().gaps for name in (gap.reason,)}
        assert reasons <= {"damaged"}
        assert_conserved(journal)


async def test_a_journal_of_the_first_format_is_carried_over(tmp_path: Path) -> None:
    batches = noisy(20, 5)
    async with opened(tmp_path) as journal:
        journal.cursor("sink")
        await fill(journal, batches)
    db = sqlite3.connect(tmp_path / "journal.db")
    db.executescript(
        "DROP TABLE dropped; DROP TABLE thinned; DROP TABLE resend; DELETE FROM total;"
        "INSERT INTO total VALUES ('lost_records', 3); INSERT INTO total VALUES ('lost_readings', 15);"
        "ALTER TABLE gap DROP COLUMN after_ns; ALTER TABLE gap DROP COLUMN before_ns;"
        "ALTER TABLE gap DROP COLUMN first_reading; PRAGMA user_version = 1"
    )
    db.close()
    async with opened(tmp_path) as journal:
        assert journal.stats().lost_by == {"earlier": Count(3, 15)}
        assert await take_all(journal.cursor("sink")) == batches
        assert journal.stats().error == ""


def test_halved_keeps_the_first_third_fifth_of_each_device() -> None:
    batches = noisy(200, 2)  # 50 devices in turn
    kept, holes = halved(batches, {})
    assert kept == batches[:50] + batches[100:150]
    assert holes == {50: [2] * 50, 100: [2] * 50}
    again, holes = halved(kept, holes)
    assert again == batches[:50]
    assert holes == {50: [2] * 150}


def test_a_piece_with_holes_can_be_entered_anywhere() -> None:
    batches = [batch(i, (1.0,) * (i + 1)) for i in range(3)]
    piece = Piece(Count(10, 100), batches, Count(16, 130), {0: [7], 2: [4, 5], 3: [6]})
    # positions: 10 hole, 11 and 12 batches, 13 and 14 holes, 15 batch
    seen: list[tuple[Count, list[Batch], dict[int, list[int]]]] = []
    for record in range(10, 16):
        part = piece.after(record)
        seen.append((part.start, list(part.batches), {i: list(sizes) for i, sizes in part.holes.items() if sizes}))
    assert seen == [
        (Count(10, 100), batches, {0: [7], 2: [4, 5], 3: [6]}),
        (Count(11, 107), batches, {2: [4, 5], 3: [6]}),
        (Count(12, 108), batches[1:], {1: [4, 5], 2: [6]}),
        (Count(13, 110), batches[2:], {0: [4, 5], 1: [6]}),
        (Count(14, 114), batches[2:], {0: [5], 1: [6]}),
        (Count(15, 119), batches[2:], {1: [6]}),
    ]


def test_what_was_left_out_of_rows_that_lie_ahead() -> None:
    thinned = Thinned({10: Count(1, 5), 30: Count(2, 10)})
    assert [thinned.beyond(record) for record in (0, 10, 11, 30, 31)] == [
        Count(3, 15),
        Count(3, 15),
        Count(2, 10),
        Count(2, 10),
        Count(),
    ]
    assert Thinned().beyond(0) == Count()


async def test_windows_and_letters_over_holes(tmp_path: Path) -> None:
    """Positions of dead letters are those of the records, also where records between them were left out."""
    batches = of_few_devices(3000)
    async with opened(tmp_path, MIN_BYTES, when_full=WhenFull.THIN, tail_bytes=0) as journal:
        cursor = journal.cursor("sink")
        await fill(journal, batches, 50)
        dead: list[Batch] = []
        while cursor.pending:
            window = await asyncio.wait_for(cursor.take(37, 10**9), 10)
            cursor.commit(len(window), [(window[-1], "refused")])
            dead.append(window[-1])
            assert_conserved(journal)
        await journal.flush()
    db = sqlite3.connect(tmp_path / "journal.db")
    positions = [record for (record,) in db.execute("SELECT record FROM dead_letter ORDER BY record")]
    db.close()
    assert positions == [each.seq for each in dead][-len(positions) :]
