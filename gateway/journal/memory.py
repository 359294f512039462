"""A journal without a disk, for tests: accepted means appended, and everything is gone with the process."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from gateway.core.contracts import Count, Gap, JournalStats
from gateway.core.model import Batch
from gateway.journal.cursor import JournalCursor
from gateway.journal.rows import NOTHING, CursorState, Letter, Piece, Thinned, size_of


class MemoryJournal:
    """core.contracts.Journal in a list. Beyond ``max_records`` the oldest are dropped."""

    def __init__(self, max_records: int = 1_000_000) -> None:
        self.letters: list[Letter] = []
        self.gaps: list[Gap] = []
        self.head = Count()
        self.floor = Count()
        self.damage = (NOTHING, NOTHING)
        self.thinned = Thinned()
        self._batches: list[Batch] = []  # from the floor on
        self._max_records = max_records
        self._cursors: dict[str, JournalCursor] = {}
        self._lost = Count()
        self._open = False
        self._grown = asyncio.Event()

    async def open(self) -> None:
        """Always works."""
        self._open = True

    def append(self, batch: Batch) -> None:
        """Accepted at once."""
        if not self._open:
            self._lost += size_of((batch,))
            return
        self._batches.append(batch)
        self.head += size_of((batch,))
        if len(self._batches) > self._max_records:
            self.floor += size_of((self._batches.pop(0),))
        self._grown.set()
        self._grown = asyncio.Event()

    async def flush(self) -> None:
        """Nothing to wait for."""

    def cursor(self, name: str) -> JournalCursor:
        """See core.contracts.Journal."""
        if name not in self._cursors:
            self._cursors[name] = JournalCursor(self, CursorState(name, self.floor, self.floor))
        return self._cursors[name]

    def retain(self, names: Sequence[str]) -> None:
        """See core.contracts.Journal."""
        self._cursors = {name: cursor for name, cursor in self._cursors.items() if name in names}

    def stats(self) -> JournalStats:
        """See core.contracts.Journal; bytes are those of the values' text."""
        cursors = {name: cursor.stats() for name, cursor in self._cursors.items()}
        return JournalStats(
            accepted_records=self.head.records,
            accepted_readings=self.head.readings,
            bytes=sum(len(batch.text) for batch in self._batches),
            max_bytes=0,
            oldest_time_ns=self._batches[0].received_ns if self._batches else None,
            dropped_records={name: each.dropped.records for name, each in cursors.items()},
            dropped_readings={name: each.dropped.readings for name, each in cursors.items()},
            lost_records=self._lost.records,
            lost_readings=self._lost.readings,
            error="",
            cursors=cursors,
            lost_by={"closed": self._lost},
        )

    async def close(self) -> None:
        """What is appended from now on is lost."""
        self._open = False

    # ------------------------------------------------------------------------------------------- for cursors

    async def piece(self, record: int) -> Piece:
        skip = max(0, record - self.floor.records)
        start = self.floor + size_of(self._batches[:skip])
        return Piece(start, self._batches[skip:], self.head)

    async def grown(self) -> None:
        await self._grown.wait()

    def moved(self, letters: Sequence[Letter], gaps: Sequence[Gap], settled: Sequence[int] = ()) -> None:
        self.letters += letters
        self.gaps += gaps
