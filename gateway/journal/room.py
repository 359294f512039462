"""How much may still be written into the database, and what has to go for it.

In: the rows and the limit in bytes. Out: free pages. Rows that every cursor has passed go first; what goes of the
others is decided by ``when_full``:

- ``drop_oldest``: the oldest rows.
- ``drop_newest``: none; what is new is refused.
- ``thin``: every second record of each device, from the oldest on up to the newest quarter, and then from the oldest
  on again: so of what is oldest every 2nd, 4th, 8th … is left. Only where every device is down to one record per row
  the oldest rows go.

On a full disk thinning would need the room it is to make, so there ``thin`` is as ``drop_oldest``.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from gateway.core.contracts import Count
from gateway.core.model import Batch, Source
from gateway.journal import codec, database, tables
from gateway.journal.copies import SourceCopies
from gateway.journal.rows import Holes, WhenFull, size_of
from gateway.journal.tables import Row

MARGIN = 16 * database.PAGE  # sources, cursors, inner pages of the tree
_STEP_ROWS = 8
_TIDY_ROWS = 200  # how many at once, so that a commit is never long
_THIN_RECORDS = 800  # so many are thinned to one row at most, and so many rows
_STEP_BYTES = 1 << 18  # how much more than needed is freed, so that it is not needed at every commit


class Room:
    """The pages of one database."""

    def __init__(self, most_bytes: int, when_full: WhenFull, sources: codec.Sources, copies: SourceCopies) -> None:
        self.ceiling = 0  # bytes the database may not outgrow while the disk is full; 0: it is not
        self.left = 0  # bytes that may be added before the size is measured again
        self._most_bytes = most_bytes
        self._when_full = when_full
        self._sources = sources
        self._copies = copies
        self._thin_from = 0  # the sweep of thinning has got here, …
        self._thin_before = 0  # … ends here, …
        self._thinned_any = False  # … and has found something to leave out

    def make(self, db: sqlite3.Connection, need: int, passed: int) -> bool:
        """Try to make ``left`` at least ``need`` bytes; whether rows had to go for that.

        ``passed``: every cursor is beyond this record.
        """
        self.left = self._free(db)
        if self.left >= need:
            return False
        want = need + min(_STEP_BYTES, self._most_bytes // 128)
        while self._free(db) < want and self.remove_passed(db, passed, None):
            pass
        if self._free(db) < want and self._when_full is WhenFull.THIN:
            self._thin(db, want)
        if self._free(db) < want and self._when_full is not WhenFull.DROP_NEWEST:
            self._remove_oldest(db, want - self._free(db))
        self.left = self._free(db)
        return True

    def refuses(self, need: int) -> bool:
        """Whether what is new has to be turned away. Else a disk that takes nothing tells so itself."""
        return self._when_full is WhenFull.DROP_NEWEST and self.left < need

    def shrink(self, db: sqlite3.Connection, need: int) -> None:
        """The disk is full: live within the pages there are."""
        self.ceiling = _pages(db) * database.PAGE
        self.left = 0
        free = self.ceiling - _used(db)
        if free < need + 2 * MARGIN and self._when_full is not WhenFull.DROP_NEWEST:
            self._remove_oldest(db, need + 2 * MARGIN - free)

    def remove_passed(self, db: sqlite3.Connection, passed: int, oldest_kept_ns: int | None) -> bool:
        """Remove rows that lie before ``passed`` and are older than that, and damaged ones; whether there were any."""
        last = None
        for number, row in enumerate(tables.rows_from(db, 0)):
            needed = row.end.records > passed or (oldest_kept_ns is not None and row.committed > oldest_kept_ns)
            enough = number >= (_TIDY_ROWS if oldest_kept_ns is not None else _STEP_ROWS)
            if enough or row.first_record >= passed or (row.sound and needed):
                break
            last = row
        return _remove_through(db, last)

    def _free(self, db: sqlite3.Connection) -> int:
        most = self._most_bytes - self._copies.bytes
        return (min(most, self.ceiling) if self.ceiling else most) - MARGIN - _used(db)

    def _remove_oldest(self, db: sqlite3.Connection, size: int) -> None:
        """Remove rows from the oldest on until ``size`` bytes are free; cursors notice when they get there."""
        freed, last = 0, None
        for row in tables.rows_from(db, 0):
            if freed >= size:
                break
            freed += row.blob_bytes + 100
            last = row
        _remove_through(db, last)

    # ---------------------------------------------------------------------------------------------- thinning

    def _thin(self, db: sqlite3.Connection, want: int) -> None:
        """Leave out records until ``want`` bytes are free, or a whole sweep has found nothing."""
        if self.ceiling:
            return
        while self._free(db) < want:
            if self._thin_from >= self._thin_before:
                if self._thin_before and not self._thinned_any:
                    self._thin_before = 0  # look again next time
                    return
                self._thin_from, self._thinned_any = 0, False
                self._thin_before = self._newest_part(db)
                if not self._thin_before:
                    return
            self._thin_from = self._thin_step(db, self._thin_before)

    def _newest_part(self, db: sqlite3.Connection) -> int:
        """The first record of the newest quarter in bytes, which is not thinned."""
        size = 0
        for first, length in db.execute("SELECT first_record, length(blob) FROM commit_group ORDER BY 1 DESC"):
            size += length
            if size > self._most_bytes // 4:
                return int(first)
        return 0

    def _thin_step(self, db: sqlite3.Connection, before: int) -> int:
        """Make one row of some consecutive ones, half as full; where the next step begins."""
        size = 0
        rows: list[Row] = []
        batches: list[Batch] = []
        holes: dict[int, list[int]] = {}
        for row in tables.rows_from(db, self._thin_from):
            size += row.blob_bytes
            too_much = size > min(_STEP_BYTES, self._most_bytes // 16)  # all of it goes through the WAL
            if row.first_record >= before or (rows and (too_much or len(rows) + len(batches) > _THIN_RECORDS)):
                break
            try:
                found = tables.batches_of(db, row, self._sources)
            except codec.CodecError:
                found = None
            if found is None or (rows and row.first_record != rows[-1].end.records):
                if rows:
                    break
                return row.first_record + 1  # damaged: a cursor will find out
            rows.append(row)
            for i, sizes in found[1].items():
                holes.setdefault(len(batches) + i, []).extend(sizes)
            batches += found[0]
        if not rows:
            return before
        kept, holes = halved(batches, holes)
        if len(kept) < len(batches):
            self._thinned_any = True
        if len(kept) < len(batches) or len(rows) > 1:
            blob = codec.encode(kept, self._sources, holes)
            _replace(db, rows, blob, rows[-1].end - rows[0].start - size_of(kept))
        return rows[-1].end.records


def halved(batches: Sequence[Batch], holes: Holes) -> tuple[list[Batch], dict[int, list[int]]]:
    """The first, third, fifth … record of each device, and the holes there are then."""
    kept: list[Batch] = []
    left_out: dict[int, list[int]] = {}
    turns: dict[Source, int] = {}
    for i, batch in enumerate(batches):
        left_out.setdefault(len(kept), []).extend(holes.get(i, ()))
        turn = turns[batch.shape.source] = turns.get(batch.shape.source, 0) + 1
        if turn % 2:
            kept.append(batch)
        else:
            left_out.setdefault(len(kept), []).append(len(batch.values))
    left_out.setdefault(len(kept), []).extend(holes.get(len(batches), ()))
    return kept, {number: sizes for number, sizes in left_out.items() if sizes}


def _replace(db: sqlite3.Connection, rows: Sequence[Row], blob: bytes, left_out: Count) -> None:
    start, end = rows[0].start, rows[-1].end
    times = min(row.time_min for row in rows), max(row.time_max for row in rows), rows[-1].committed
    tables.remove_rows(db, start.records, rows[-1].first_record)
    tables.write_row(db, start, end - start, times, blob)
    tables.write_thinned(db, start.records, left_out)


def _remove_through(db: sqlite3.Connection, last: Row | None) -> bool:
    """Remove the rows up to this one; the newest row of all stays."""
    newest = tables.newest(db)
    if last is None or newest is None:
        return False
    end = min(last.first_record, newest.first_record - 1)
    oldest = tables.find(db, "ORDER BY first_record LIMIT 1")
    if oldest is None or oldest.first_record > end:
        return False
    tables.remove_rows(db, 0, end)
    return True


def _used(db: sqlite3.Connection) -> int:
    free = db.execute("PRAGMA freelist_count").fetchone()[0]
    return (_pages(db) - int(free)) * database.PAGE


def _pages(db: sqlite3.Connection) -> int:
    return int(db.execute("PRAGMA page_count").fetchone()[0])
