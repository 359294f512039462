"""What goes between the event loop and the thread that owns the database. Data only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from gateway.core.contracts import Count
from gateway.core.model import Batch

NOTHING = Count()


@dataclass(frozen=True, slots=True)
class CursorState:
    """One cursor as the disk remembers it; counts since it was made."""

    name: str
    place: Count  # so much lies before the first record that is not delivered
    origin: Count  # so much lay before it when it was made
    delivered: Count = NOTHING
    dropped: Count = NOTHING
    dead: Count = NOTHING

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

    def after(self, record: int) -> Piece:
        """The part from ``record`` on, which must lie inside."""
        skip = record - self.start.records
        if skip <= 0:
            return self
        before = self.batches[:skip]
        return Piece(self.start + size_of(before), self.batches[skip:], self.end)


@dataclass(frozen=True, slots=True)
class Letter:
    """A record that a sink refused for good."""

    cursor: str
    record: int
    reason: str
    batch: Batch


@dataclass(frozen=True, slots=True)
class Gap:
    """Records that a cursor will never get."""

    cursor: str
    start: Count
    size: Count
    reason: str  # full · damaged


@dataclass(frozen=True, slots=True)
class Work:
    """One group commit: everything in it is on the disk, or nothing."""

    batches: Sequence[Batch] = ()
    cursors: Sequence[CursorState] = ()  # all there are; what is not among them is forgotten
    letters: Sequence[Letter] = ()
    gaps: Sequence[Gap] = ()
    lost: Count = NOTHING


@dataclass(frozen=True, slots=True)
class Standing:
    """Where the journal stands after a commit."""

    head: Count  # all that was ever accepted
    floor: Count  # what lies before the oldest record that is still there
    oldest_ns: int | None
    bytes: int


def size_of(batches: Sequence[Batch]) -> Count:
    """How many records and readings these are."""
    return Count(len(batches), sum([len(batch.values) for batch in batches]))
