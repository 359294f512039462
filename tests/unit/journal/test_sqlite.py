"""The journal over restarts, crashes, damage and a full box."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from gateway.core.clock import SystemClock
from gateway.core.contracts import Count
from gateway.core.errors import JournalError
from gateway.journal import tables
from gateway.journal.files import HighWaterMark
from gateway.journal.schema import FORMAT
from gateway.journal.sqlite import SqliteJournal
from gateway.journal.store import MIN_BYTES, Store
from tests.contract.journal import ALL, assert_conserved, take_all, take_or_nothing
from tests.support.journal_batches import batch, noisy
from tests.support.waiting import until


@asynccontextmanager
async def opened(directory: Path, max_bytes: int = 100_000_000, **options: Any) -> AsyncIterator[SqliteJournal]:
    journal = SqliteJournal(directory, SystemClock(), max_bytes, **{"commit_interval_s": 0.01, **options})
    await journal.open()
    try:
        yield journal
    finally:
        await journal.close()


async def fill(journal: SqliteJournal, batches: list[Any], group: int = 10) -> None:
    for i in range(0, len(batches), group):
        for each in batches[i : i + group]:
            journal.append(each)
        await journal.flush()


def sql(directory: Path, statement: str) -> list[Any]:
    db = sqlite3.connect(directory / "journal.db", isolation_level=None)
    try:
        return db.execute(statement).fetchall()
    finally:
        db.close()


def size_of_directory(directory: Path) -> int:
    return sum(path.stat().st_size for path in directory.iterdir())


def set_aside(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in directory.glob("journal.damaged-*")]


def copy(directory: Path, name: str = "copy") -> Path:
    """What is on the disk now, as a crash leaves it behind."""
    return Path(shutil.copytree(directory, directory.with_name(directory.name + name)))


# ------------------------------------------------------------------------------------------------------ restarts


async def test_a_restart_goes_on_where_the_cursor_was(tmp_path: Path) -> None:
    batches = noisy(40, 5)
    async with opened(tmp_path) as journal:
        cursor = journal.cursor("sink")
        await fill(journal, batches)
        await cursor.take(*ALL)
        cursor.commit(13)
    async with opened(tmp_path) as journal:
        cursor = journal.cursor("sink")
        assert (cursor.position, cursor.pending) == (13, 27)
        assert await take_all(cursor) == batches[13:]
        assert journal.stats().cursors["sink"].delivered == Count(40, 200)
        assert_conserved(journal)


async def test_a_crash_loses_nothing_accepted_and_repeats_what_was_not_stored(tmp_path: Path) -> None:
    batches = noisy(40, 5)
    async with opened(tmp_path / "a") as journal:
        cursor = journal.cursor("sink")
        await fill(journal, batches)
        await cursor.take(*ALL)
        cursor.commit(20)
        crashed = copy(tmp_path / "a")
    async with opened(crashed) as journal:
        assert await take_all(journal.cursor("sink")) == batches
        assert_conserved(journal)


async def test_lives_that_end_after_one_commit_do_not_make_the_wal_longer(tmp_path: Path) -> None:
    directory = tmp_path / "a"
    for life in range(25):
        async with opened(directory, MIN_BYTES) as journal:
            journal.cursor("sink")
            await fill(journal, [batch(life)])
            crashed = copy(directory)
        await asyncio.to_thread(shutil.rmtree, directory)
        directory = crashed
    assert (directory / "journal.db-wal").stat().st_size < 100_000
    async with opened(directory, MIN_BYTES) as journal:
        cursor = journal.cursor("sink")
        assert [each.seq for each in await take_all(cursor)] == list(range(25))
        assert_conserved(journal)


async def test_a_cursor_is_stored_without_data_too(tmp_path: Path) -> None:
    async with opened(tmp_path / "a") as journal:
        cursor = journal.cursor("sink")
        await fill(journal, noisy(4, 1))
        await cursor.take(*ALL)
        commits = journal.stats().commits
        cursor.commit(3)
        await until(lambda: journal.stats().commits > commits, "a commit of the cursor", 5)
        crashed = copy(tmp_path / "a")
    async with opened(crashed) as journal:
        assert journal.cursor("sink").position == 3


async def test_a_cursor_that_is_made_anew_does_not_inherit_what_the_last_one_of_its_name_dropped(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path, MIN_BYTES) as journal:
        journal.cursor("sink")
        await fill(journal, noisy(900, 200), 50)
        assert journal.stats().cursors["sink"].dropped.records > 0
        await take_or_nothing(journal.cursor("sink"), 10)
        await journal.store_decision()
        journal.retain([])
        journal.cursor("sink")
    async with opened(tmp_path, MIN_BYTES) as journal:
        assert journal.stats().cursors["sink"].dropped_by == {}
        assert_conserved(journal)


async def test_positions_and_counts_go_on_when_every_row_has_left(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        journal.cursor("sink")
        await fill(journal, noisy(30, 2))
        await take_all(journal.cursor("sink"))
    async with opened(tmp_path) as journal:
        await fill(journal, noisy(1, 2))
        assert journal.stats().accepted_records == 31
        assert journal.cursor("sink").position == 30
        assert_conserved(journal)


async def test_dead_letters_are_stored_with_payload_and_reason(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        cursor = journal.cursor("sink")
        await fill(journal, noisy(3, 2))
        window = await cursor.take(*ALL)
        cursor.commit(3, [(window[1], "type conflict")])
    assert sql(tmp_path, "SELECT cursor, record, reason FROM dead_letter") == [("sink", 1, "type conflict")]
    async with opened(tmp_path) as journal:
        assert journal.stats().cursors["sink"].dead == Count(1, 2)


async def test_what_was_lost_is_remembered(tmp_path: Path) -> None:
    huge = batch(1, ("x" * 400_000,))
    async with opened(tmp_path, 5_000_000) as journal:
        await fill(journal, [huge, batch(2)])
        assert journal.stats().lost_readings == 1
    async with opened(tmp_path) as journal:
        assert (journal.stats().lost_records, journal.stats().accepted_records) == (1, 1)


# -------------------------------------------------------------------------------------------------- room and time


async def test_passed_rows_leave_and_the_newest_stays(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        journal._store._tidied_ns = 0
        journal.cursor("sink")
        await fill(journal, noisy(100, 5))
        await take_all(journal.cursor("sink"))
        journal._store._tidied_ns = 0
        await fill(journal, noisy(1, 5))
        journal._store._tidied_ns = 0
        await fill(journal, noisy(1, 5))
    assert len(sql(tmp_path, "SELECT * FROM commit_group")) <= 2


async def test_history_keeps_passed_rows(tmp_path: Path) -> None:
    async with opened(tmp_path, history_s=3600) as journal:
        await fill(journal, noisy(100, 5))
        await take_all(journal.cursor("sink"))
        journal._store._tidied_ns = 0
        await fill(journal, noisy(1, 5))
    assert len(sql(tmp_path, "SELECT * FROM commit_group")) == 11


@pytest.mark.parametrize("tail_bytes", [0, 1 << 20])
async def test_the_journal_stays_within_its_bytes_and_drops_the_oldest(tmp_path: Path, tail_bytes: int) -> None:
    batches = noisy(1500, 200)
    largest = 0
    async with opened(tmp_path, MIN_BYTES, tail_bytes=tail_bytes) as journal:
        cursor = journal.cursor("sink")
        for i in range(0, len(batches), 50):
            await fill(journal, batches[i : i + 50], 50)
            largest = max(largest, size_of_directory(tmp_path))
            assert_conserved(journal)
        stats = journal.stats().cursors["sink"]
        assert stats.dropped.records > 300
        assert stats.dropped.readings == 200 * stats.dropped.records
        assert await take_all(cursor, 100) == batches[stats.dropped.records :]
        assert_conserved(journal)
    assert 500_000 < largest <= MIN_BYTES
    assert sql(tmp_path, "SELECT cursor, first_record, records, readings, reason FROM gap") == [
        ("sink", 0, stats.dropped.records, stats.dropped.readings, "full")
    ]


async def test_what_was_taken_is_delivered_even_if_it_was_dropped_meanwhile(tmp_path: Path) -> None:
    batches = noisy(1500, 200)
    async with opened(tmp_path, MIN_BYTES) as journal:
        cursor = journal.cursor("sink")
        await fill(journal, batches[:50], 50)
        window = await cursor.take(20, 10**9)
        await fill(journal, batches[50:], 50)
        assert_conserved(journal)
        assert list(await cursor.take(20, 10**9)) == window == batches[:20]
        cursor.commit(20)
        assert_conserved(journal)
        rest = await take_all(cursor, 50)
        assert rest == batches[-len(rest) :]
        assert_conserved(journal)


def test_a_journal_of_a_few_bytes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="at least"):
        SqliteJournal(tmp_path, SystemClock(), 1000)


# -------------------------------------------------------------------------------------------------------- damage


def flip(path: Path, needle: bytes, bit: int = 1) -> None:
    """Let one bit of what follows ``needle`` rot."""
    raw = bytearray(path.read_bytes())
    at = raw.index(needle) + len(needle) // 2
    raw[at] ^= bit
    path.write_bytes(raw)


def rotten(directory: Path, position: int) -> None:
    """Damage the blob of one row."""
    ((blob,),) = sql(directory, f"SELECT blob FROM commit_group LIMIT 1 OFFSET {position}")  # noqa: S608
    flip(directory / "journal.db", blob[:60])


async def test_a_damaged_row_is_stepped_over_counted_and_reported(tmp_path: Path) -> None:
    batches = noisy(50, 5)
    async with opened(tmp_path) as journal:
        journal.cursor("sink")
        await fill(journal, batches)
    rotten(tmp_path, 2)
    async with opened(tmp_path) as journal:
        cursor = journal.cursor("sink")
        assert await take_all(cursor) == batches[:20] + batches[30:]
        stats = journal.stats()
        assert stats.cursors["sink"].dropped == Count(10, 50)
        assert "damaged records" in stats.error
        assert_conserved(journal)
    assert sql(tmp_path, "SELECT first_record, records, readings, reason FROM gap") == [(20, 10, 50, "damaged")]


async def test_without_the_checksum_a_wrong_value_would_be_delivered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control of the test before: it is the checksum that holds damage back, and it is able to be missed."""
    batches = noisy(50, 5)
    async with opened(tmp_path) as journal:
        journal.cursor("sink")
        await fill(journal, batches, 50)
    ((blob,),) = sql(tmp_path, "SELECT blob FROM commit_group")
    whole = (tmp_path / "journal.db").read_bytes()
    monkeypatch.setattr(tables, "blob_crc", lambda row, _blob: row.blob_crc)
    for position in range(len(blob) // 2, len(blob)):
        raw = bytearray(whole)
        raw[whole.index(blob[:60]) + position] ^= 4
        (tmp_path / "journal.db").write_bytes(raw)
        async with opened(tmp_path) as journal:
            try:
                values = [each.values for each in await asyncio.wait_for(journal.cursor("sink").take(*ALL), 0.05)]
            except TimeoutError:  # it could not even be decoded
                continue
        if values != [each.values for each in batches]:
            return
    pytest.fail("no flipped bit of the row made a wrong value")


async def test_a_damaged_newest_row_is_left_out_and_positions_do_not_repeat(tmp_path: Path) -> None:
    batches = noisy(30, 5)
    async with opened(tmp_path) as journal:
        journal.cursor("sink")
        await fill(journal, batches)
    sql(tmp_path, "UPDATE commit_group SET records = 7 WHERE first_record = 20")
    async with opened(tmp_path) as journal:
        await fill(journal, batches[:1])
        assert journal.stats().accepted_records == 31
        assert await take_all(journal.cursor("sink")) == batches[:20] + batches[:1]
        assert journal.stats().cursors["sink"].dropped == Count(10, 50)
        assert_conserved(journal)


async def test_a_tail_that_vanished_is_seen(tmp_path: Path) -> None:
    """SQLite drops a WAL from the first damaged frame on and says nothing; the high-water mark does."""
    batches = noisy(30, 5)
    async with opened(tmp_path / "a") as journal:
        journal.cursor("sink")
        await fill(journal, batches)
        crashed = copy(tmp_path / "a")
    wal = crashed / "journal.db-wal"
    raw = bytearray(wal.read_bytes())
    raw[len(raw) * 9 // 10] ^= 1  # in one of the last commits
    wal.write_bytes(raw)
    async with opened(crashed) as journal:
        cursor = journal.cursor("sink")
        stats = journal.stats()
        assert "at the end of the journal" in stats.error
        assert stats.accepted_records == 30
        assert_conserved(journal)
        left = await take_all(cursor)
        assert left == batches[: len(left)]
        assert 0 < len(left) < 30
        assert journal.stats().cursors["sink"].dropped.records == 30 - len(left)
        assert_conserved(journal)


@pytest.mark.parametrize("bytes_", [b"", b"not a database at all, but quite long " * 200, bytes(8192)])
async def test_a_database_that_is_none_is_set_aside(tmp_path: Path, bytes_: bytes) -> None:
    async with opened(tmp_path) as journal:
        journal.cursor("sink")
        await fill(journal, noisy(20, 5))
    (tmp_path / "journal.db").write_bytes(bytes_)
    async with opened(tmp_path) as journal:
        stats = journal.stats()
        assert stats.accepted_records == 20
        assert stats.error
        await fill(journal, noisy(5, 5))
        assert await take_all(journal.cursor("sink")) == noisy(5, 5)
        assert_conserved(journal)
    aside = set_aside(tmp_path)
    assert aside == ([bytes_] if bytes_ else [])


async def test_damage_while_it_runs_is_set_aside_and_accepting_goes_on(tmp_path: Path) -> None:
    batches = noisy(600, 200)
    async with opened(tmp_path, tail_bytes=0) as journal:
        cursor = journal.cursor("sink")
        await fill(journal, batches[:500], 50)
        database = journal._store._connection
        for pragma in ("wal_checkpoint(TRUNCATE)", "cache_size = 10", "shrink_memory"):
            await journal._worker.run(partial(lambda text: database().execute(text).fetchall(), f"PRAGMA {pragma}"))
        with (tmp_path / "journal.db").open("r+b") as file:
            for page in range(1, (tmp_path / "journal.db").stat().st_size // 4096):
                file.seek(page * 4096)
                file.write(b"\xff" * 4096)
        delivered: list[Any] = []
        while cursor.pending:
            window = await take_or_nothing(cursor, 50)
            delivered += window
            cursor.commit(len(window))
            if len(delivered) < 100 and journal.stats().accepted_records < 600:
                await fill(journal, batches[500:], 50)
        await fill(journal, batches[:1])
        assert [each for each in delivered if each not in batches] == []
        assert delivered[-1] == batches[-1] or cursor.stats().dropped.records
        assert journal.stats().error
        assert_conserved(journal)
        assert await take_all(cursor) == batches[:1]


@pytest.mark.parametrize("table", ["cursor", "source"])
async def test_damaged_places_and_sources_are_not_believed(tmp_path: Path, table: str) -> None:
    async with opened(tmp_path) as journal:
        journal.cursor("sink")
        await fill(journal, noisy(30, 5))
        await take_all(journal.cursor("sink"))
        await fill(journal, noisy(2, 5))
    sql(tmp_path, {"cursor": "UPDATE cursor SET record = 5", "source": "UPDATE source SET crc = 5 WHERE id = 1"}[table])
    async with opened(tmp_path) as journal:
        if table == "source":  # there is a second copy
            assert journal.stats().error == ""
            assert await take_all(journal.cursor("sink")) == noisy(2, 5)
        else:
            assert "damaged" in journal.stats().error
            assert await take_all(journal.cursor("sink")) == noisy(30, 5) + noisy(2, 5)
        assert_conserved(journal)


async def test_without_any_copy_of_a_source_what_waited_of_it_is_lost_and_counted(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        journal.cursor("sink")
        await fill(journal, noisy(30, 5))
    sql(tmp_path, "UPDATE source SET crc = 5")
    (tmp_path / "sources").write_bytes(b"PGSO nothing of this is a source" * 9)
    async with opened(tmp_path) as journal:
        assert "the description of a device was damaged" in journal.stats().error
        assert await take_all(journal.cursor("sink")) == []
        assert journal.stats().cursors["sink"].dropped_by == {"damaged": Count(30, 150)}
        assert_conserved(journal)


# ------------------------------------------------------------------------------------------------------- opening


def test_the_mark_never_counts_back_from_nonsense(tmp_path: Path) -> None:
    mark = HighWaterMark(tmp_path)
    assert mark.open() == Count()
    mark.write(Count(7, 70), 0)
    assert mark.open() == Count(7, 70)
    (tmp_path / "high-water").write_bytes(b"PGHW" + bytes(20))
    assert mark.open() == Count()
    mark.close()


async def test_a_second_gateway_is_told_who_has_it(tmp_path: Path) -> None:
    async with opened(tmp_path):
        program = (
            "import asyncio, sys, pathlib\n"
            "from gateway.core.clock import SystemClock\n"
            "from gateway.journal.sqlite import SqliteJournal\n"
            "asyncio.run(SqliteJournal(pathlib.Path(sys.argv[1]), SystemClock()).open())\n"
        )
        second = await asyncio.to_thread(
            subprocess.run, [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=False
        )
        assert second.returncode == 1
        assert f"in use by another gateway (process {os.getpid()})" in second.stderr
    async with opened(tmp_path) as journal:
        assert journal.stats().error == ""


async def test_a_newer_journal_is_not_touched(tmp_path: Path) -> None:
    async with opened(tmp_path) as journal:
        await fill(journal, noisy(5, 1))
    sql(tmp_path, f"PRAGMA user_version = {FORMAT + 1}")
    before = (tmp_path / "journal.db").read_bytes()
    with pytest.raises(JournalError, match="newer version"):
        async with opened(tmp_path):
            pass
    assert (tmp_path / "journal.db").read_bytes() == before


async def test_a_directory_that_cannot_be_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(JournalError, match=r"cannot be kept in .*: something in its path is a file"):
        async with opened(tmp_path / "file" / "journal"):
            pass


@pytest.mark.parametrize("directory", ["/sys/kernel", "/sys/kernel/journal"], ids=["there", "to be made"])
async def test_a_directory_that_nobody_may_write_to_is_a_sentence(directory: str) -> None:
    with pytest.raises(
        JournalError, match=rf"cannot be kept in {directory}: .*: the user of this gateway .* must own it"
    ):
        async with opened(Path(directory)):
            pass


async def test_a_disk_that_is_read_only_is_a_sentence(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", str(disk)]
    tried = await asyncio.to_thread(subprocess.run, mount, capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"mounting a tmpfs is not permitted here: {tried.stderr.strip()}")
    try:
        with pytest.raises(JournalError, match=r"cannot be kept in .*: its disk is mounted read-only"):
            async with opened(disk / "journal"):
                pass
    finally:
        await asyncio.to_thread(subprocess.run, ["umount", str(disk)], check=True)


async def test_a_reading_that_is_too_large_is_named_once_and_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with opened(tmp_path, MIN_BYTES) as journal:
        await fill(journal, [batch(1, ("x" * 70_000,)), batch(2, ("x" * 70_000,))])
        assert journal.stats().lost_by == {"too large": Count(2, 2)}
    (sentence,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert sentence.endswith(
        "70,004 bytes of meter in one reading are too large for the journal, which takes at most "
        "62,500, a sixteenth of its size"
    )


async def test_use_before_open_is_a_bug_and_loses_are_counted(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path, SystemClock())
    with pytest.raises(RuntimeError, match="open"):
        journal.cursor("sink")
    journal.append(batch(1))
    assert journal.stats().lost_records == 1


# ------------------------------------------------------------------------------------------- a disk that fails


def broken_commit(code: int) -> Callable[..., Any]:
    def fail(*_: object) -> None:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = code
        raise error

    return fail


async def test_batches_wait_in_memory_and_the_oldest_are_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.journal.sqlite._RETRY_S", 0.02)
    batches = noisy(400, 20)
    async with opened(tmp_path, ring_bytes=100_000) as journal:
        cursor = journal.cursor("sink")
        await fill(journal, batches[:10])
        with monkeypatch.context() as broken:
            broken.setattr(tables, "write_group", broken_commit(sqlite3.SQLITE_IOERR_FSYNC))
            for each in batches[10:]:
                journal.append(each)
                if each.seq % 50 == 0:
                    await asyncio.sleep(0)
            await until(lambda: journal.stats().error, "the error")
            assert "cannot be written" in journal.stats().error
            assert journal.stats().accepted_records == 10
        await journal.flush()
        stats = journal.stats()
        assert stats.error == ""
        assert stats.lost_records > 0
        assert stats.accepted_records + stats.lost_records == 400
        delivered = await take_all(cursor)
        assert delivered[:10] == batches[:10]
        assert delivered[-1] == batches[-1]
        assert_conserved(journal)


async def test_a_bug_in_the_thread_reaches_who_waits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with opened(tmp_path) as journal:
        taking = asyncio.ensure_future(journal.cursor("sink").take(*ALL))
        monkeypatch.setattr(Store, "write", lambda *_: 1 / 0)
        journal.append(batch(1))
        with pytest.raises(ZeroDivisionError):
            await journal.flush()
        with pytest.raises(ZeroDivisionError):
            await taking


async def test_a_commit_that_failed_but_is_on_the_disk_is_not_there_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.journal.sqlite._RETRY_S", 0.02)
    batches = noisy(10, 3)
    write = Store._transaction
    times: list[int] = []

    def once(self: Store, work: Any) -> None:
        if work.batches and not times:
            times.append(1)
            before = {name: getattr(self, name) for name in ("head", "_stored", "lost")}
            write(self, work)
            for name, value in before.items():
                setattr(self, name, value)
            broken_commit(sqlite3.SQLITE_IOERR_FSYNC)()
        write(self, work)

    monkeypatch.setattr(Store, "_transaction", once)
    async with opened(tmp_path) as journal:
        cursor = journal.cursor("sink")
        await fill(journal, batches)
        assert journal.stats().accepted_records == 10
        assert await take_all(cursor) == batches
        assert_conserved(journal)


async def test_a_read_that_fails_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.journal.sqlite._RETRY_S", 0.02)
    async with AsyncExitStack() as stack:
        journal = await stack.enter_async_context(opened(tmp_path, tail_bytes=0))
        cursor = journal.cursor("sink")
        await fill(journal, noisy(3, 3))
        with monkeypatch.context() as broken:
            broken.setattr(tables, "find", broken_commit(sqlite3.SQLITE_IOERR_READ))
            taking = asyncio.ensure_future(cursor.take(*ALL))
            await until(lambda: "cannot be read" in journal.stats().error, "the error")
            assert not taking.done()
        assert list(await taking) == noisy(3, 3)


async def test_equal_values_are_kept_apart(tmp_path: Path) -> None:
    twins = [batch(1), replace(batch(1), seq=2), batch(1)]
    async with opened(tmp_path, tail_bytes=0) as journal:
        cursor = journal.cursor("sink")
        await fill(journal, twins)
        assert await take_all(cursor) == twins


async def test_a_mark_that_cannot_be_written_is_told_only_until_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with opened(tmp_path / "journal") as journal:
        await fill(journal, noisy(10, 5))
        with monkeypatch.context() as ill:
            ill.setattr(HighWaterMark, "write", _fails)
            await fill(journal, noisy(10, 5))
            assert "the high-water mark of the journal cannot be written" in journal.stats().error
        await fill(journal, noisy(10, 5))
        assert journal.stats().error == ""
        assert journal.stats().accepted_records == 30


def _fails(*_: object) -> None:
    raise OSError(5, "Input/output error")
