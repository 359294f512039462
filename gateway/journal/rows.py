"""What goes between the event loop and the thread that owns the database. Data only."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from gateway.core.contracts import Count, Gap
from gateway.core.model import Batch

NOTHING = Count()

Holes = Mapping[int, Sequence[int]]
"""Index of a batch → the readings of each record that was left out right before it; behind the last one: n."""


class WhenFull(StrEnum):
    """What becomes of records that not every sink has when the journal is full."""

    DROP_OLDEST = "drop_oldest"
    DROP_NEWEST = "drop_newest"
    THIN = "thin"


class Reason(StrEnum):
    """Why records are gone."""

    FULL = "full"
    THINNED = "thinned"
    DAMAGED = "damaged"
    DISCARDED = "discarded"  # a dead letter that somebody threw away


@dataclass(frozen=True, slots=True)
class CursorState:
    """One cursor as the disk remembers it; counts since it was made."""

    name: str
    place: Count  # so much lies before the first record that is not delivered
    origin: Count  # so much lay before it when it was made
    delivered: Count = NOTHING
    dropped: Count = NOTHING
    dead: Count = NOTHING
    dropped_by: Mapping[str, Count] = field(default_factory=dict)  # by Reason

    @property
    def numbers(self) -> tuple[int, ...]:
        counts = self.place, self.origin, self.delivered, self.dropped, self.dead
        return tuple(number for count in counts for number in (count.records, count.readings))


@dataclass(frozen=True, slots=True)
class Piece:
    """Consecutive records; ``start`` is what lies before the first of them."""

    start: Count
    batches: Sequence[Batch]
    end: Count
    holes: Holes = field(default_factory=dict)

    def after(self, record: int) -> Piece:
        """The part from ``record`` on, which must lie inside."""
        skip = record - self.start.records
        if skip <= 0:
            return self
        if self.holes:
            return self._after_holes(skip)
        before = self.batches[:skip]
        return Piece(self.start + size_of(before), self.batches[skip:], self.end)

    def _after_holes(self, skip: int) -> Piece:
        start = self.start
        for i in range(len(self.batches) + 1):
            left_out = self.holes.get(i, ())
            passed = left_out[:skip]
            start += Count(len(passed), sum(passed))
            skip -= len(passed)
            if not skip:
                holes = {number - i: sizes for number, sizes in self.holes.items() if number > i}
                return Piece(start, self.batches[i:], self.end, {0: left_out[len(passed) :], **holes})
            start += size_of(self.batches[i : i + 1])
            skip -= 1
        return Piece(self.end, (), self.end)


@dataclass(frozen=True, slots=True)
class Letter:
    """A record that a sink refused for good."""

    cursor: str
    record: int
    reason: str
    batch: Batch


@dataclass(frozen=True, slots=True)
class Work:
    """One group commit: everything in it is on the disk, or nothing."""

    batches: Sequence[Batch] = ()
    cursors: Sequence[CursorState] = ()  # all there are; what is not among them is forgotten
    letters: Sequence[Letter] = ()
    gaps: Sequence[Gap] = ()
    resent: Sequence[int] = ()  # dead letters that are on their way again
    settled: Sequence[int] = ()  # dead letters that are none any more
    lost: Mapping[str, Count] = field(default_factory=dict)  # never accepted, by reason, since the journal was made


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the journal stands after a commit."""

    head: Count  # all that was ever accepted
    floor: Count  # what lies before the oldest record that is still there
    oldest_ns: int | None
    bytes: int
    thinned: Thinned = field(default_factory=lambda: Thinned())
    damage: tuple[Count, Count] = (NOTHING, NOTHING)  # what is missing from here to there was damaged
    refused: Count = NOTHING  # of this commit: not accepted, because the journal is full
    gaps: Sequence[Gap] = ()  # the newest ones


class Thinned:
    """How many records were left out of which rows."""

    def __init__(self, rows: Mapping[int, Count] | None = None) -> None:
        self._firsts = sorted(rows or ())
        self._before = [NOTHING]  # what was left out of all rows before this one
        for first in self._firsts:
            self._before.append(self._before[-1] + (rows or {})[first])

    def beyond(self, record: int) -> Count:
        """What was left out of the rows that begin at ``record`` or later."""
        if not self._firsts:
            return NOTHING
        return self._before[-1] - self._before[bisect_left(self._firsts, record)]


def size_of(batches: Sequence[Batch]) -> Count:
    """How many records and readings these are."""
    return Count(len(batches), sum([len(batch.values) for batch in batches]))
