"""A reader of the journal: what it was handed, what it has finished, what it will never get. On the event loop.

In: pieces of consecutive records, from memory or from the disk. Out: windows of records for one sink.

Records go one way through a cursor: on the disk or in the tail → held (handed out by ``take``, not finished) →
delivered or dead. What vanishes from the disk before it is held is dropped; what is held can no longer vanish.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from typing import Protocol

from gateway.core.contracts import Count, CursorStats
from gateway.core.model import Batch
from gateway.journal.rows import CursorState, Gap, Letter, Piece, size_of


class Records(Protocol):
    """What a cursor needs of its journal."""

    @property
    def head(self) -> Count:
        """All that was ever accepted."""

    @property
    def floor(self) -> Count:
        """What lies before the oldest record that is still there."""

    async def piece(self, record: int) -> Piece:
        """The first records that can be read from ``record`` on; an empty piece at the head where there are none."""

    async def grown(self) -> None:
        """Return when the head has moved since the call."""

    def moved(self, letters: Sequence[Letter], gaps: Sequence[Gap]) -> None:
        """A cursor has moved: worth storing."""


class JournalCursor:
    """core.contracts.Cursor over Records."""

    def __init__(self, records: Records, state: CursorState) -> None:
        self._records = records
        self.name = state.name
        self._place = state.place
        self._origin = state.origin
        self._delivered = state.delivered
        self._dropped = state.dropped
        self._dead = state.dead
        self._held: deque[Batch] = deque()  # from _place on
        self._held_end = state.place
        self._taking = asyncio.Lock()

    @property
    def position(self) -> int:
        self._pass_gone()
        return self._place.records

    @property
    def pending(self) -> int:
        return self.stats().pending.records

    @property
    def reached(self) -> int:
        """The first record that is neither finished nor held."""
        return self._held_end.records

    def stats(self) -> CursorStats:
        """What became of everything; conserved at every moment."""
        gone = self._gone()
        accepted = self._records.head - self._origin
        pending = self._records.head - self._place - gone
        return CursorStats(accepted, self._delivered, pending, self._dropped + gone, self._dead)

    def state(self) -> CursorState:
        """What the disk must know. Records that are gone behind the held ones are found again after a restart."""
        return CursorState(self.name, self._place, self._origin, self._delivered, self._dropped, self._dead)

    async def take(self, records: int, readings: int) -> Sequence[Batch]:
        """See core.contracts.Cursor."""
        async with self._taking:
            while True:
                self._pass_gone()
                window, full = self._window(records, readings)
                at_head = self._held_end.records >= self._records.head.records
                if full or (window and at_head):
                    return window
                if at_head:
                    await self._records.grown()
                    continue
                piece = await self._records.piece(self._held_end.records)
                if self._held and piece.start != self._held_end:
                    return window  # a hole: it is passed when what lies before it is finished
                self._hold(piece)

    def commit(self, count: int, dead: Sequence[tuple[Batch, str]] = ()) -> None:
        """See core.contracts.Cursor."""
        if not 0 <= count <= len(self._held):
            raise ValueError(f"{count} records cannot be finished: {len(self._held)} were taken")
        finished = [self._held[i] for i in range(count)]
        places = {id(batch): self._place.records + i for i, batch in enumerate(finished)}
        letters = []
        for batch, reason in dead:
            if (record := places.pop(id(batch), None)) is None:
                raise ValueError("a dead letter must be one of the records that are finished, and only once")
            letters.append(Letter(self.name, record, reason, batch))
        for _ in range(count):
            self._held.popleft()
        size, refused = size_of(finished), size_of([letter.batch for letter in letters])
        self._place += size
        self._delivered += size - refused
        self._dead += refused
        self._records.moved(letters, ())

    def _window(self, records: int, readings: int) -> tuple[list[Batch], bool]:
        """What of the held records fits, and whether a further one would not."""
        window: list[Batch] = []
        for batch in self._held:
            readings -= len(batch.values)
            if window and (len(window) >= records or readings < 0):
                return window, True
            window.append(batch)
        return window, len(window) >= records or readings <= 0

    def _hold(self, piece: Piece) -> None:
        if not self._held:
            floor = self._records.floor
            if self._place.records < floor.records <= piece.start.records:
                self._drop_to(floor, "full")
            if self._place.records < piece.start.records:
                self._drop_to(piece.start, "damaged")
        self._held.extend(piece.batches)
        self._held_end = piece.end

    def _gone(self) -> Count:
        """What lies between the held records and the oldest that is still there."""
        floor = self._records.floor
        return floor - self._held_end if floor.records > self._held_end.records else Count()

    def _pass_gone(self) -> None:
        if not self._held and self._gone().records:
            self._drop_to(self._records.floor, "full")

    def _drop_to(self, place: Count, reason: str) -> None:
        gap = Gap(self.name, self._place, place - self._place, reason)
        self._dropped += gap.size
        self._place = self._held_end = place
        self._records.moved((), (gap,))
