"""A reader of the journal: what it was handed, what it has finished, what it will never get. On the event loop.

In: pieces of consecutive records, from memory or from the disk. Out: windows of records for one sink.

Records go one way through a cursor: on the disk or in the tail → held (handed out by ``take``, not finished) →
delivered or dead. What vanishes from the disk before it is held is dropped; what is held can no longer vanish.
Holes are records that were left out when the journal was thinned: they are dropped as soon as the row they are in
lies ahead of the cursor, and passed when what lies before them is finished.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Protocol

from gateway.core.contracts import Count, CursorStats, DeadLetter, Gap
from gateway.core.model import Batch
from gateway.journal.rows import NOTHING, CursorState, Letter, Piece, Reason, Thinned, size_of


class Records(Protocol):
    """What a cursor needs of its journal."""

    @property
    def head(self) -> Count:
        """All that was ever accepted."""

    @property
    def floor(self) -> Count:
        """What lies before the oldest record that is still there."""

    @property
    def damage(self) -> tuple[Count, Count]:
        """What is missing from here to there was damaged."""

    @property
    def thinned(self) -> Thinned:
        """What was left out of rows that are still there."""

    async def piece(self, record: int) -> Piece:
        """The first records that can be read from ``record`` on; an empty piece at the head where there are none."""

    async def grown(self) -> None:
        """Return when it is worth looking again: something was committed."""

    def moved(self, letters: Sequence[Letter], gaps: Sequence[Gap], settled: Sequence[int] = ()) -> None:
        """A cursor has moved: worth storing. ``settled``: dead letters that are none any more."""


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
        self._dropped_by = dict(state.dropped_by)
        self._held: deque[Batch] = deque()  # from _place on
        self._held_end = state.place
        self._finished = 0  # batches, ever
        self._holes: deque[tuple[int, Count]] = deque()  # number of the held batch, what is missing right before it
        self._last_ns: int | None = None  # time of the last record that was finished
        self._again: deque[DeadLetter] = deque()  # dead letters that are to be delivered once more, before all others
        self._again_size = NOTHING
        self._from_again = False  # the last window was made of them
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
        dropped_by = dict(self._dropped_by)
        gone = NOTHING
        for reason, size in (*self._missing(self._held_end), (Reason.THINNED, self._left_out())):
            if size.records:
                gone += size
                dropped_by[reason] = dropped_by.get(reason, NOTHING) + size
        accepted = self._records.head - self._origin
        pending = self._records.head - self._place - gone + self._again_size
        return CursorStats(accepted, self._delivered, pending, self._dropped + gone, self._dead, dropped_by)

    def state(self) -> CursorState:
        """What the disk must know. Records that are gone behind the held ones are found again after a restart."""
        return CursorState(
            self.name, self._place, self._origin, self._delivered, self._dropped, self._dead, dict(self._dropped_by)
        )

    async def take(self, records: int, readings: int) -> Sequence[Batch]:
        """See core.contracts.Cursor."""
        async with self._taking:
            while True:
                self._from_again = bool(self._again)
                if self._again:
                    batches = [letter.batch for letter in self._again if letter.batch is not None]
                    return _window(batches, records, readings)[0]
                self._pass_gone()
                window, full = _window(self._held, records, readings)
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
        if self._from_again:
            self._commit_again(count, dead)
            return
        if not 0 <= count <= len(self._held):
            raise ValueError(f"{count} records cannot be finished: {len(self._held)} were taken")
        finished = [self._held[i] for i in range(count)]
        places = self._positions(finished)
        letters = []
        for batch, reason in dead:
            if (record := places.pop(id(batch), None)) is None:
                raise ValueError("a dead letter must be one of the records that are finished, and only once")
            letters.append(Letter(self.name, record, reason, batch))
        for _ in range(count):
            self._held.popleft()
        size, refused = size_of(finished), size_of([letter.batch for letter in letters])
        self._place += size
        self._finished += count
        self._delivered += size - refused
        self._dead += refused
        if finished:
            self._last_ns = finished[-1].time_ns
        self._records.moved(letters, ())
        if self._holes:
            self._pass_holes()

    def resend(self, letters: Sequence[DeadLetter], *, counted: bool = True) -> None:
        """Deliver these once more. Not ``counted``: the accounts have been moved already, before the start."""
        size = size_of([letter.batch for letter in letters if letter.batch is not None])
        self._again.extend(letters)
        self._again_size += size
        if counted:
            self._dead -= size

    def resume(self, letters: Sequence[DeadLetter]) -> None:
        """After the start: what was being delivered once more. What of it cannot be read any more is dropped."""
        self.resend([letter for letter in letters if letter.batch is not None], counted=False)
        finished = self._delivered + self._dropped + self._dead + self._again_size
        gone = self._place - self._origin - finished
        if gone.records:
            self._drop(Gap(self.name, self._origin, gone, Reason.DAMAGED))

    def discard(self, batches: Sequence[Batch]) -> None:
        """Dead letters that are thrown away."""
        size = size_of(batches)
        self._dead -= size
        self._dropped += size
        self._dropped_by[Reason.DISCARDED] = self._dropped_by.get(Reason.DISCARDED, NOTHING) + size

    def _commit_again(self, count: int, dead: Sequence[tuple[Batch, str]]) -> None:
        """As ``commit``: the first of those that were delivered once more are delivered, or dead again."""
        if not 0 <= count <= len(self._again):
            raise ValueError(f"{count} records cannot be finished: {len(self._again)} were taken")
        finished = [self._again.popleft() for _ in range(count)]
        reasons = {id(batch): reason for batch, reason in dead}
        batches = [letter.batch for letter in finished if letter.batch is not None]
        refused = [
            Letter(self.name, letter.record, reasons[id(letter.batch)], letter.batch)
            for letter in finished
            if letter.batch is not None and id(letter.batch) in reasons
        ]
        size, dead_size = size_of(batches), size_of([letter.batch for letter in refused])
        self._again_size -= size
        self._delivered += size - dead_size
        self._dead += dead_size
        self._records.moved(refused, (), [letter.id for letter in finished])

    def _positions(self, finished: Sequence[Batch]) -> dict[int, int]:
        """The position of each of the first held records, by its identity."""
        if not self._holes:
            return {id(batch): self._place.records + i for i, batch in enumerate(finished)}
        holes = dict(self._holes)
        positions, position = {}, self._place.records
        for number, batch in enumerate(finished, self._finished):
            position += holes.get(number, NOTHING).records
            positions[id(batch)] = position
            position += 1
        return positions

    def _pass_holes(self) -> None:
        """Move on over what is missing between the finished records and right behind them."""
        start, size = self._place, NOTHING
        while self._holes and self._holes[0][0] <= self._finished:
            size += self._holes.popleft()[1]
        if size.records:
            before_ns = self._held[0].time_ns if self._held else None
            self._place += size
            self._drop(Gap(self.name, start, size, Reason.THINNED, self._last_ns, before_ns))

    def _hold(self, piece: Piece) -> None:
        if not self._held:
            before_ns = piece.batches[0].time_ns if piece.batches else None
            if self._place.records < self._records.floor.records <= piece.start.records:
                self._pass_gone(before_ns)
            if self._place.records < piece.start.records:
                self._drop_ahead(piece.start - self._place, Reason.DAMAGED, before_ns)
        held = self._finished + len(self._held)
        for number, sizes in sorted(piece.holes.items()):
            self._holes.append((held + number, Count(len(sizes), sum(sizes))))
        self._held.extend(piece.batches)
        self._held_end = piece.end
        if self._holes:
            self._pass_holes()

    def _missing(self, place: Count) -> list[tuple[Reason, Count]]:
        """What is gone between ``place`` and the oldest record that is still there, in order."""
        floor = self._records.floor
        missing = []
        for end, reason in zip((*self._records.damage, floor), (Reason.FULL, Reason.DAMAGED, Reason.FULL), strict=True):
            end = min(end, floor, key=lambda count: count.records)
            if end.records > place.records:
                missing.append((reason, end - place))
                place = end
        return missing

    def _left_out(self) -> Count:
        """The holes ahead: in what is held, and in the rows behind that."""
        ahead = self._records.thinned.beyond(max(self._held_end.records, self._records.floor.records))
        return sum((size for _, size in self._holes), ahead)

    def _pass_gone(self, before_ns: int | None = None) -> None:
        if not self._held:
            for reason, size in self._missing(self._held_end):
                self._drop_ahead(size, reason, before_ns)

    def _drop_ahead(self, size: Count, reason: Reason, before_ns: int | None) -> None:
        """Pass what is missing where nothing is held."""
        gap = Gap(self.name, self._place, size, reason, self._last_ns, before_ns)
        self._place += size
        self._held_end = self._place
        self._drop(gap)

    def _drop(self, gap: Gap) -> None:
        self._dropped += gap.size
        self._dropped_by[gap.reason] = self._dropped_by.get(gap.reason, NOTHING) + gap.size
        self._records.moved((), (gap,))


def _window(batches: Iterable[Batch], records: int, readings: int) -> tuple[list[Batch], bool]:
    """What of these fits into a window, and whether a further one would not."""
    window: list[Batch] = []
    for batch in batches:
        readings -= len(batch.values)
        if window and (len(window) >= records or readings < 0):
            return window, True
        window.append(batch)
    return window, len(window) >= records or readings <= 0
