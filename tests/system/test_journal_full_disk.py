"""M3: the disk is full. A tmpfs of a few megabytes is the disk."""

from __future__ import annotations

import asyncio
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.core.clock import SystemClock
from gateway.core.errors import JournalError
from gateway.journal.sqlite import SqliteJournal
from tests.contract.journal import assert_conserved, take_all
from tests.support.journal_batches import noisy
from tests.support.waiting import until

pytestmark = pytest.mark.system

FULL = 6 << 20


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 6 MB of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={FULL}", "tmpfs", str(disk)]
    tried = subprocess.run(mount, capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"mounting a tmpfs is not permitted here: {tried.stderr.strip()}")
    assert os.stat(disk).st_dev != os.stat(tmp_path).st_dev
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


def occupy(disk: Path, leave: int = 0) -> Path:
    """Somebody else fills the disk."""
    space = os.statvfs(disk)
    path = disk / "somebody-else"
    with path.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(1, space.f_bavail * space.f_frsize - leave))
    return path


async def test_m3_the_newest_stay_and_everything_is_counted(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gateway.journal.sqlite._RETRY_S", 0.05)
    monkeypatch.setattr("gateway.journal.store._TIDY_NS", 10_000_000)
    batches = noisy(3000, 100)
    ballast = small_disk / "journal" / "ballast"
    journal = SqliteJournal(small_disk / "journal", SystemClock(), commit_interval_s=0.01)
    await journal.open()
    try:
        cursor = journal.cursor("sink")
        for each in batches[:800]:
            journal.append(each)
        await journal.flush()
        hog = occupy(small_disk)
        for i in range(800, 2500, 20):
            for each in batches[i : i + 20]:
                journal.append(each)
            await asyncio.wait_for(journal.flush(), 10)
            assert_conserved(journal)
        stats = journal.stats()
        assert stats.cursors["sink"].dropped.records > 0
        assert stats.lost_records == 0
        assert stats.error == ""
        assert not ballast.exists()
        hog.unlink()
        for each in batches[2500:]:
            journal.append(each)
        await journal.flush()
        while not ballast.exists():  # within the time limit of the test
            journal.append(batches[0])
            await journal.flush()
        delivered = await take_all(cursor, 100)
        dropped = journal.stats().cursors["sink"].dropped.records
        assert delivered[: 3000 - dropped] == batches[dropped:]
        assert_conserved(journal)
    finally:
        await journal.close()
    again = SqliteJournal(small_disk / "journal", SystemClock())
    await again.open()
    assert again.stats().error == ""
    assert_conserved(again)
    await again.close()


async def test_m3_without_any_room_memory_bridges_and_it_recovers(
    small_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gateway.journal.sqlite._RETRY_S", 0.05)
    batches = noisy(500, 100)
    journal = SqliteJournal(small_disk / "journal", SystemClock(), commit_interval_s=0.01, ring_bytes=500_000)
    await journal.open()
    try:
        cursor = journal.cursor("sink")
        (small_disk / "journal" / "ballast").unlink()
        hog = occupy(small_disk)
        for each in batches:
            journal.append(each)
        await until(lambda: "full" in journal.stats().error, "the error")
        hog.unlink()
        await asyncio.wait_for(journal.flush(), 10)
        stats = journal.stats()
        assert stats.error == ""
        assert stats.lost_records > 0
        assert stats.lost_records + stats.accepted_records == 500
        delivered = await take_all(cursor)
        assert delivered[-1] == batches[-1]
        assert_conserved(journal)
    finally:
        await journal.close()


async def test_m3_a_new_journal_on_a_full_disk_is_a_sentence(small_disk: Path) -> None:
    hog = occupy(small_disk)
    journal = SqliteJournal(small_disk / "journal", SystemClock())
    with pytest.raises(JournalError, match=r"the journal .* cannot be"):
        await journal.open()
    hog.unlink()
    await journal.open()
    await journal.close()


async def test_m3_an_old_journal_opens_on_a_full_disk(small_disk: Path) -> None:
    batches = noisy(100, 100)
    first = SqliteJournal(small_disk / "journal", SystemClock())
    await first.open()
    first.cursor("sink")
    for each in batches:
        first.append(each)
    await first.close()
    occupy(small_disk)
    second = SqliteJournal(small_disk / "journal", SystemClock())
    await second.open()
    try:
        for each in batches:
            second.append(each)
        await asyncio.wait_for(second.flush(), 10)
        assert second.stats().lost_records == 0
        delivered = await take_all(second.cursor("sink"))
        assert delivered[-100:] == batches
        assert_conserved(second)
    finally:
        await second.close()
