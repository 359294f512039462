"""What people decide about dead letters, one decision after the other. On the event loop.

In: ids. Out: the accounts of cursors are moved, and what was decided is on the disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from gateway.core.contracts import DeadLetter
from gateway.journal.cursor import JournalCursor


class Letters(Protocol):
    """What this needs of its journal."""

    async def find_letters(self, where: str, *values: str | int) -> list[DeadLetter]:
        """Those on the disk for which that holds."""

    def cursor_named(self, name: str) -> JournalCursor | None:
        """None: no sink of that name is configured."""

    async def store_decision(self, resent: Sequence[int] = (), settled: Sequence[int] = ()) -> None:
        """Return when this, and the cursors as they are now, are on the disk."""


class LetterDesk:
    """See core.contracts.JournalDesk."""

    def __init__(self, journal: Letters) -> None:
        self._journal = journal
        self._deciding = asyncio.Lock()

    async def resend(self, ids: Sequence[int]) -> Sequence[int]:
        async with self._deciding:
            found = await self._decidable(ids)
            again = [(cursor, letter) for cursor, letter in found if letter.batch is not None]
            for cursor, letter in again:
                cursor.resend((letter,))
            numbers = [letter.id for _, letter in again]
            await self._journal.store_decision(resent=numbers)
        return numbers

    async def discard(self, ids: Sequence[int]) -> Sequence[int]:
        async with self._deciding:
            found = await self._decidable(ids)
            for cursor, letter in found:
                if letter.batch is not None:
                    cursor.discard((letter.batch,))
            numbers = [letter.id for _, letter in found]
            await self._journal.store_decision(settled=numbers)
        return numbers

    async def _decidable(self, ids: Sequence[int]) -> list[tuple[JournalCursor, DeadLetter]]:
        """Those of them that are dead letters of a sink that is configured, and not on their way."""
        await self._journal.store_decision()  # what was refused or delivered just now
        found = [
            letter for id_ in dict.fromkeys(ids) for letter in await self._journal.find_letters("WHERE id = ?", id_)
        ]
        cursors = [(self._journal.cursor_named(letter.cursor), letter) for letter in found if not letter.again]
        return [(cursor, letter) for cursor, letter in cursors if cursor is not None]
