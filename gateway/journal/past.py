"""What the journal still holds, oldest first: damaged files that are read on, then the rows of the database.

In: the connection of the store, and files that it has set aside. Out: pieces of consecutive records, checked, and the
floor: what lies before the oldest of them.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path

from gateway.core.contracts import Count
from gateway.journal import codec, database, tables
from gateway.journal.rows import NOTHING, CursorState, Piece
from gateway.journal.salvage import Salvage
from gateway.journal.tables import Row

_SCAN_S = 0.03  # how long a commit may have to wait for the search through a damaged journal


class Past:
    """Belongs to one store; every method that looks may raise what SQLite raises."""

    def __init__(
        self, sources: codec.Sources, connection: Callable[[], sqlite3.Connection], report: Callable[[str], None]
    ) -> None:
        """``report``: where a sentence about damage goes."""
        self.floor = Count()  # what lies before the oldest row
        self.oldest_ns: int | None = None  # when that row was committed
        self.damage = (NOTHING, NOTHING)  # what is missing from here to there was damaged
        self._sources = sources
        self._connection = connection
        self._report = report
        self._salvages: list[Salvage] = []  # damaged journals that not every cursor has passed, oldest first

    # ------------------------------------------------------------------------------------------------ the floor

    def find_floor(self, head: Count, before: Count | None = None) -> None:
        """What is the oldest row that can be trusted? ``before``: nothing older is wanted."""
        before, damaged = before or self.floor, False
        for salvage in self._salvages:
            start = salvage.start(before.records) if salvage.done else before
            if start is not None:  # it may be the middle of a row
                self.floor = max(start, before, key=lambda place: place.records)
                return
        self.floor, self.oldest_ns = head, None
        for row in tables.rows_from(self._connection(), 0):
            if row.sound:
                self.floor, self.oldest_ns = row.start, row.committed
                break
            damaged = True
        if damaged:
            self.damage = before, self.floor

    def begins(self, head: Count, now_ns: int) -> None:
        """The first row of an empty database was just written at ``head``."""
        if self.oldest_ns is None:
            self.oldest_ns = now_ns
            if not self._salvages:
                self.floor = head

    # -------------------------------------------------------------------------------------------- damaged files

    def resume(self, directory: Path, head: Count, cursors: Iterable[CursorState]) -> None:
        """Damaged journals of earlier lives that not every cursor has passed are read on."""
        files = [file for file in database.set_aside_files(directory) if file.suffix != database.READ]
        first = min((cursor.place for cursor in cursors), key=lambda place: place.records, default=None)
        if first is None or first.records >= self.floor.records:
            return
        self._salvages = [Salvage(file, self.floor, self._sources) for file in files]
        self.find_floor(head, first)

    def add(self, salvage: Salvage, cursors: Iterable[CursorState]) -> None:
        """The database was set aside and a new one begun at the end of ``salvage``."""
        for old in [each for each in self._salvages if not each.path.exists()]:  # removed to make room for this one
            old.close()
            self._salvages.remove(old)
        self._salvages.append(salvage)
        if not self.floor.records:
            places = [cursor.place for cursor in cursors]
            self.floor = min(places, key=lambda place: place.records, default=NOTHING)
        self.damage = self.floor, salvage.end
        self.find_floor(salvage.end)

    def finish(self, passed: int, head: Count) -> None:
        """Let go of damaged journals that lie before record ``passed``."""
        for salvage in [each for each in self._salvages if each.end.records <= passed]:
            salvage.finish()
            self._salvages.remove(salvage)
            self.find_floor(head)

    def close(self) -> None:
        """Let go of the files."""
        for salvage in self._salvages:
            salvage.close()

    # ------------------------------------------------------------------------------------------------- reading

    def look(self, record: int, head: Count) -> Piece | None:
        """See Store.look."""
        for salvage in self._salvages:
            if record < salvage.end.records:
                if not salvage.scan(_SCAN_S):
                    return None
                self.find_floor(head)
                if (piece := salvage.read(record)) is not None:
                    return piece
        return self._read(record, head)

    def _read(self, record: int, head: Count) -> Piece:
        db = self._connection()
        before = tables.find(db, "WHERE first_record <= ? ORDER BY first_record DESC LIMIT 1", record)
        for row in tables.rows_from(db, before.first_record if before else record):
            if row.sound and row.end.records <= record:
                continue
            piece = self._understood(db, row)
            if piece is not None:
                return piece.after(record)
            self._report("damaged records were found in the journal and left out")
        return Piece(head, (), head)

    def _understood(self, db: sqlite3.Connection, row: Row) -> Piece | None:
        """What the row holds; None: damaged."""
        try:
            found = tables.batches_of(db, row, self._sources)
        except codec.CodecError as error:
            self._report(f"records of the journal cannot be decoded: {error}")
            return None
        return Piece(row.start, found[0], row.end, found[1]) if found else None
