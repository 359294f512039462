from collections.abc import AsyncIterator

import pytest

from gateway.core.contracts import Count, Journal
from gateway.journal.memory import MemoryJournal
from tests.contract.journal import JournalContract, assert_conserved, take_all
from tests.support.journal_batches import noisy


class TestMemoryJournal(JournalContract):
    @pytest.fixture
    async def journal(self) -> AsyncIterator[Journal]:
        journal = MemoryJournal()
        await journal.open()
        yield journal
        await journal.close()


async def test_what_does_not_fit_is_dropped_but_not_what_was_taken() -> None:
    journal = MemoryJournal(max_records=10)
    await journal.open()
    cursor = journal.cursor("sink")
    batches = noisy(40, 2)
    for each in batches[:5]:
        journal.append(each)
    window = await cursor.take(3, 99)
    for each in batches[5:]:
        journal.append(each)
    assert_conserved(journal)
    assert cursor.pending == 15  # the five that it holds, the ten that are left
    assert list(await cursor.take(3, 99)) == window
    assert await take_all(cursor) == batches[:5] + batches[30:]
    assert journal.stats().cursors["sink"].dropped == Count(25, 50)
    assert_conserved(journal)
