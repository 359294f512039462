from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from gateway.core.clock import SystemClock
from gateway.core.contracts import Journal
from gateway.journal.sqlite import SqliteJournal
from tests.contract.journal import JournalContract


class TestSqliteJournal(JournalContract):
    @pytest.fixture
    async def journal(self, tmp_path: Path) -> AsyncIterator[Journal]:
        journal = SqliteJournal(tmp_path, SystemClock(), commit_interval_s=0.01)
        await journal.open()
        yield journal
        await journal.close()


class TestSqliteJournalWithoutTail(JournalContract):
    """Every record is read back from the disk."""

    @pytest.fixture
    async def journal(self, tmp_path: Path) -> AsyncIterator[Journal]:
        journal = SqliteJournal(tmp_path, SystemClock(), commit_interval_s=0.01, tail_bytes=0)
        await journal.open()
        yield journal
        await journal.close()
