"""The newest records in memory, for cursors that keep up: they need not go to the disk.

In: each committed group. Out: pieces of consecutive records.
"""

from __future__ import annotations

from collections import deque

from gateway.core.model import Batch
from gateway.journal.rows import Piece


class Tail:
    """At most ``most_bytes`` of them, by ``weight``."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._pieces: deque[Piece] = deque()  # oldest first
        self._bytes = 0

    def add(self, piece: Piece) -> None:
        """It begins where the last one ended."""
        self._pieces.append(piece)
        self._bytes += sum(map(weight, piece.batches))

    def cut(self, passed: int) -> None:
        """What every cursor holds or has passed, and the oldest of too much, is not needed."""
        while self._pieces and (self._pieces[0].end.records <= passed or self._bytes > self._most_bytes):
            self._bytes -= sum(map(weight, self._pieces.popleft().batches))

    def piece(self, record: int) -> Piece | None:
        """The records from there on; None where that is not in here."""
        if self._pieces and self._pieces[0].start.records <= record:
            for piece in reversed(self._pieces):
                if piece.start.records <= record:
                    return piece.after(record)
        return None


def weight(batch: Batch) -> int:
    """About how much memory a batch takes, in bytes."""
    return 500 + 5 * len(batch.text)
