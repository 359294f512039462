"""The rows of the journal's tables: what they are checked by, how they are written. Statements only, no policy."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from gateway.core.contracts import Count
from gateway.core.model import Batch, Source
from gateway.journal import codec
from gateway.journal.rows import CursorState, Gap, Letter, size_of

GAPS_KEPT = 10_000

_COLUMNS = "first_record, records, first_reading, readings, time_min, time_max, committed, blob_crc, row_crc"


class Row(NamedTuple):
    """A row of commit_group without its blob."""

    first_record: int
    records: int
    first_reading: int
    readings: int
    time_min: int
    time_max: int
    committed: int
    blob_crc: int
    row_crc: int
    blob_bytes: int

    @property
    def sound(self) -> bool:
        return all(type(number) is int for number in self[:9]) and codec.checksum(self[:8]) == self.row_crc

    @property
    def start(self) -> Count:
        return Count(self.first_record, self.first_reading)

    @property
    def end(self) -> Count:
        return Count(self.first_record + self.records, self.first_reading + self.readings)


def find(db: sqlite3.Connection, where: str, *values: int) -> Row | None:
    """One row of commit_group."""
    found = db.execute(f"SELECT {_COLUMNS}, length(blob) FROM commit_group {where}", values)  # noqa: S608
    row = found.fetchone()
    return Row(*row) if row else None


def newest(db: sqlite3.Connection) -> Row | None:
    """The last row of commit_group."""
    return find(db, "ORDER BY first_record DESC LIMIT 1")


def rows_from(db: sqlite3.Connection, first_record: int) -> Iterator[Row]:
    """Row by row, so that no statement stays open over a commit."""
    row = find(db, "WHERE first_record >= ? ORDER BY first_record LIMIT 1", first_record)
    while row:
        yield row
        row = find(db, "WHERE first_record > ? ORDER BY first_record LIMIT 1", row.first_record)


def blob_of(db: sqlite3.Connection, row: Row) -> bytes:
    """The blob as it is on the disk, not yet checked."""
    found = db.execute("SELECT blob FROM commit_group WHERE first_record = ?", row[:1])
    blob: bytes = found.fetchone()[0]
    return blob


def blob_crc(row: Row, blob: bytes) -> int:
    """What ``row.blob_crc`` must be."""
    return codec.checksum(row[:1], blob)


def write_group(db: sqlite3.Connection, batches: Sequence[Batch], head: Count, committed_ns: int, blob: bytes) -> None:
    """Append a row. A commit that failed may be on the disk all the same; then this is the same group again."""
    size = size_of(batches)
    time_min = min(min(batch.times_ns or (batch.time_ns,)) for batch in batches)
    time_max = max(max(batch.times_ns or (batch.time_ns,)) for batch in batches)
    position = head.records, size.records, head.readings, size.readings
    columns = (*position, time_min, time_max, committed_ns, codec.checksum((head.records,), blob))
    row = (*columns, codec.checksum(columns), blob)
    db.execute("INSERT OR REPLACE INTO commit_group VALUES (?,?,?,?,?,?,?,?,?,?)", row)


def write_sources(db: sqlite3.Connection, sources: Mapping[int, Source]) -> None:
    """Describe the sources of the groups."""
    texts = {number: codec.encode_source(source) for number, source in sources.items()}
    rows = [(number, text, codec.checksum((number,), text)) for number, text in texts.items()]
    db.executemany("INSERT OR REPLACE INTO source VALUES (?,?,?)", rows)


def read_sources(db: sqlite3.Connection) -> Iterator[tuple[int, Source | None]]:
    """Every source by number; None: damaged."""
    for number, text, crc in db.execute("SELECT id, json, crc FROM source"):
        yield number, codec.decode_source(text) if codec.checksum((number,), text) == crc else None


def write_cursors(db: sqlite3.Connection, cursors: Iterable[CursorState]) -> None:
    """Store the places of cursors."""
    rows = [(each.name, *each.numbers, codec.checksum(each.numbers, each.name.encode())) for each in cursors]
    db.executemany(f"INSERT OR REPLACE INTO cursor VALUES ({'?,' * 11}?)", rows)  # noqa: S608


def read_cursors(db: sqlite3.Connection) -> Iterator[tuple[str, CursorState | None]]:
    """Every cursor by name; None: damaged."""
    for name, *numbers, crc in db.execute("SELECT * FROM cursor").fetchall():
        if codec.checksum(numbers, name.encode()) == crc:
            yield name, CursorState(name, *(Count(*numbers[i : i + 2]) for i in range(0, 10, 2)))
        else:
            yield name, None


def forget_cursors(db: sqlite3.Connection, names: Iterable[str]) -> None:
    """Their sinks are no longer configured."""
    db.executemany("DELETE FROM cursor WHERE name = ?", [(name,) for name in names])


def write_letters(db: sqlite3.Connection, letters: Sequence[Letter], blobs: Sequence[bytes], refused_ns: int) -> None:
    """Store what sinks refused for good; each record once, also when it is refused again after a crash."""
    rows = [
        (letter.cursor, letter.record, refused_ns, letter.reason, codec.checksum((letter.record,), blob), blob)
        for letter, blob in zip(letters, blobs, strict=True)
    ]
    columns = "cursor, record, refused, reason, blob_crc, blob"
    db.executemany(f"INSERT OR REPLACE INTO dead_letter ({columns}) VALUES (?,?,?,?,?,?)", rows)  # noqa: S608


def letter_bytes(db: sqlite3.Connection) -> int:
    """What the payloads of all dead letters take."""
    return int(db.execute("SELECT total(length(blob)) FROM dead_letter").fetchone()[0])


def remove_letters(db: sqlite3.Connection, size: int) -> None:
    """Remove the oldest dead letters, ``size`` bytes or a little more."""
    while size > 0:
        ids = db.execute("SELECT id, length(blob) FROM dead_letter ORDER BY id LIMIT 100").fetchall()
        if not ids:
            return
        db.execute("DELETE FROM dead_letter WHERE id <= ?", (ids[-1][0],))
        size -= sum(length for _, length in ids)


def write_gaps(db: sqlite3.Connection, gaps: Iterable[Gap], noticed_ns: int) -> None:
    """Store what cursors will never get; a gap that goes on where the last one ended makes that one longer."""
    for gap in gaps:
        grown = db.execute(
            "UPDATE gap SET records = records + ?, readings = readings + ?"
            " WHERE id = (SELECT max(id) FROM gap WHERE cursor = ?) AND reason = ? AND first_record + records = ?",
            (gap.size.records, gap.size.readings, gap.cursor, gap.reason, gap.start.records),
        ).rowcount
        if not grown:
            values = gap.cursor, gap.start.records, gap.size.records, gap.size.readings, gap.reason, noticed_ns
            columns = "cursor, first_record, records, readings, reason, noticed"
            db.execute(f"INSERT INTO gap ({columns}) VALUES (?,?,?,?,?,?)", values)  # noqa: S608
    db.execute("DELETE FROM gap WHERE id <= (SELECT max(id) FROM gap) - ?", (GAPS_KEPT,))


def write_lost(db: sqlite3.Connection, lost: Count) -> None:
    """Store what was never accepted, since the journal was made."""
    rows = [("lost_records", lost.records), ("lost_readings", lost.readings)]
    db.executemany("INSERT OR REPLACE INTO total VALUES (?,?)", rows)


def read_lost(db: sqlite3.Connection) -> Count:
    """See ``write_lost``."""
    totals = dict(db.execute("SELECT name, value FROM total").fetchall())
    return Count(totals.get("lost_records", 0), totals.get("lost_readings", 0))
