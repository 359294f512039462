"""A damaged journal is set aside, and what is readable of it is delivered all the same."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from gateway.core.contracts import Count
from gateway.journal import database
from gateway.journal.store import MIN_BYTES
from tests.contract.journal import assert_conserved, take_all
from tests.support.journal_batches import noisy
from tests.unit.journal.test_sqlite import copy, fill, opened


def destroy(file: Path, pages: list[int]) -> None:
    """Overwrite pages (numbered from 1)."""
    with file.open("r+b") as db:
        for page in pages:
            db.seek((page - 1) * 4096)
            db.write(b"\xff" * 4096)


@pytest.mark.parametrize("crashed", [False, True], ids=["closed", "with a WAL"])
async def test_behind_a_destroyed_head_everything_is_still_read(tmp_path: Path, crashed: bool) -> None:
    batches = noisy(400, 100)
    async with opened(tmp_path / "a") as journal:
        cursor, _ = journal.cursor("sink"), journal.cursor("slow")
        await fill(journal, batches, 20)
        await cursor.take(100, 10**9)
        cursor.commit(100)
        await fill(journal, noisy(1, 1), 20)
        directory = copy(tmp_path / "a") if crashed else tmp_path / "a"
    destroy(directory / "journal.db", [1])
    if crashed:  # a WAL that SQLite no longer believes from the first page on
        with (directory / "journal.db-wal").open("r+b") as wal:
            wal.seek(32 + 24 + 200)
            wal.write(b"\xff")
    everything = [*batches, *noisy(1, 1)]
    async with opened(directory) as journal:
        assert "set aside" in journal.stats().error
        new = noisy(5, 3)
        await fill(journal, new)
        assert journal.stats().cursors["sink"].delivered == Count(100, 10_000)
        assert await take_all(journal.cursor("sink"), 50) == everything[100:] + new
        assert_conserved(journal)
    async with opened(directory) as journal:  # the slow one reads on after a restart
        assert await take_all(journal.cursor("slow"), 50) == everything + new
        stats = journal.stats().cursors["slow"]
        assert stats.dropped == Count()
        assert stats.accepted.records == len(everything) + 5
        assert_conserved(journal)


async def test_only_what_is_really_damaged_is_lost_and_counted(tmp_path: Path) -> None:
    batches = noisy(2000, 60)
    async with opened(tmp_path) as journal:
        journal.cursor("sink")
        await fill(journal, batches, 20)
    file = tmp_path / "journal.db"
    pages = random.Random(1).sample(range(20, file.stat().st_size // 4096), 15)
    destroy(file, [1, *pages])
    async with opened(tmp_path) as journal:
        delivered = await take_all(journal.cursor("sink"), 50)
        assert_conserved(journal)
        stats = journal.stats().cursors["sink"]
    seqs = [each.seq for each in delivered]
    assert seqs == sorted(set(seqs))
    assert [each.values for each in delivered] == [batches[seq].values for seq in seqs]
    missing = 2000 - len(seqs)
    assert 0 < missing <= 60 * 20  # a leaf page names up to four rows
    assert stats.dropped == Count(missing, 60 * missing)
    assert stats.dropped_by == {"damaged": stats.dropped}


async def test_damage_while_it_runs_loses_only_the_damaged_rows(tmp_path: Path) -> None:
    batches = noisy(600, 100)
    async with opened(tmp_path, tail_bytes=0) as journal:
        cursor = journal.cursor("sink")
        await fill(journal, batches, 20)
        await cursor.take(100, 10**9)
        cursor.commit(100)
        await journal._worker.run(lambda: journal._store._begin_anew("a test says so"))
        await fill(journal, batches[:7])
        assert await take_all(cursor, 30) == batches[100:] + batches[:7]
        assert cursor.stats().dropped == Count()
        assert_conserved(journal)


async def test_without_mark_and_cursors_it_begins_with_the_oldest_row_there_is(tmp_path: Path) -> None:
    batches = noisy(100, 60)
    async with opened(tmp_path, MIN_BYTES) as journal:
        await fill(journal, batches, 20)
        journal.cursor("sink")
    (tmp_path / "high-water").unlink()
    destroy(tmp_path / "journal.db", [1])
    async with opened(tmp_path, MIN_BYTES) as journal:
        assert journal.stats().accepted_records == 100
        delivered = await take_all(journal.cursor("sink"))
        assert delivered == batches[-len(delivered) :]
        assert len(delivered) >= 20
        assert_conserved(journal)


async def test_what_is_set_aside_takes_no_more_room_than_the_journal_itself(tmp_path: Path) -> None:
    batches = noisy(1801, 200)
    async with opened(tmp_path, MIN_BYTES, tail_bytes=0) as journal:
        cursor = journal.cursor("sink")
        for begin in (0, 900):
            await fill(journal, batches[begin : begin + 900], 30)
            await journal._worker.run(lambda: journal._store._begin_anew("a test says so"))
        aside = [file for file in database.set_aside_files(tmp_path) if file.stat().st_size > 0]
        assert len(aside) == 1
        assert 500_000 < sum(file.stat().st_size for file in aside) <= MIN_BYTES
        await fill(journal, batches[1800:])
        assert_conserved(journal)
        delivered = await take_all(cursor, 50)
        assert delivered == batches[-len(delivered) :]
        assert 100 < len(delivered) < 900
        assert cursor.stats().dropped.records == 1801 - len(delivered)
        assert_conserved(journal)
