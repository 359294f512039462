"""The rows of the journal's tables: what they are checked by, how they are written. Statements only, no policy."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import astuple
from typing import NamedTuple

from gateway.core.contracts import Count, DeadLetter, Gap
from gateway.core.model import Batch, Source
from gateway.journal import codec, database
from gateway.journal.rows import NOTHING, CursorState, Letter, Thinned, size_of

GAPS_KEPT = 10_000
GAPS_SHOWN = 20

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
    if row and type(row[0]) is not int:
        raise database.damage(f"a row of the journal begins at {row[0]!r}")
    return Row(*row) if row else None


def newest(db: sqlite3.Connection) -> Row | None:
    """The last row of commit_group."""
    return find(db, "ORDER BY first_record DESC LIMIT 1")


def rows_from(db: sqlite3.Connection, first_record: int) -> Iterator[Row]:
    """Row by row, so that no statement stays open over a commit.

    A damaged tree may hand out a row that it was not asked for, and so the same ones for ever: that is an error.
    """
    row = find(db, "WHERE first_record >= ? ORDER BY first_record LIMIT 1", first_record)
    while row:
        last = row.first_record
        if last < first_record:
            raise database.damage(f"row {first_record} was asked for, {last} came")
        yield row
        first_record = last + 1
        row = find(db, "WHERE first_record > ? ORDER BY first_record LIMIT 1", last)


def blob_of(db: sqlite3.Connection, row: Row) -> bytes:
    """The blob as it is on the disk, not yet checked."""
    found = db.execute("SELECT blob FROM commit_group WHERE first_record = ?", row[:1]).fetchone()
    if found is None or type(found[0]) is not bytes:
        raise database.damage(f"the blob of row {row.first_record} is gone")
    blob: bytes = found[0]
    return blob


def blob_crc(row: Row, blob: bytes) -> int:
    """What ``row.blob_crc`` must be."""
    return codec.checksum(row[:1], blob)


def batches_of(
    db: sqlite3.Connection, row: Row, sources: codec.Sources
) -> tuple[list[Batch], dict[int, list[int]]] | None:
    """What the row holds, and what was left out of it; None: damaged. Raises CodecError where it makes no sense."""
    if not row.sound:
        return None
    try:
        blob = blob_of(db, row)
    except sqlite3.DatabaseError as error:
        if database.is_damage(error):
            return None
        raise
    return understood(row, blob, sources)


def understood(row: Row, blob: bytes, sources: codec.Sources) -> tuple[list[Batch], dict[int, list[int]]] | None:
    """As ``batches_of``, from what was read."""
    if blob_crc(row, blob) != row.blob_crc:
        return None
    batches, holes = codec.decode_thinned(blob, sources)
    left_out = [readings for sizes in holes.values() for readings in sizes]
    whole = size_of(batches) + Count(len(left_out), sum(left_out)) == row.end - row.start
    return (batches, holes) if whole else None


def write_group(db: sqlite3.Connection, batches: Sequence[Batch], head: Count, committed_ns: int, blob: bytes) -> None:
    """Append a row. A commit that failed may be on the disk all the same; then this is the same group again."""
    time_min = min(min(batch.times_ns or (batch.time_ns,)) for batch in batches)
    time_max = max(max(batch.times_ns or (batch.time_ns,)) for batch in batches)
    write_row(db, head, size_of(batches), (time_min, time_max, committed_ns), blob)


def write_row(db: sqlite3.Connection, start: Count, size: Count, times: tuple[int, int, int], blob: bytes) -> None:
    """Write a row; ``times`` are time_min, time_max and committed."""
    position = start.records, size.records, start.readings, size.readings
    columns = (*position, *times, codec.checksum((start.records,), blob))
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


def write_cursors(db: sqlite3.Connection, cursors: Sequence[CursorState]) -> None:
    """Store the places of cursors."""
    rows = [(each.name, *each.numbers, codec.checksum(each.numbers, each.name.encode())) for each in cursors]
    db.executemany(f"INSERT OR REPLACE INTO cursor VALUES ({'?,' * 11}?)", rows)  # noqa: S608
    # a cursor of this name that was forgotten a moment ago may have had others
    db.executemany("DELETE FROM dropped WHERE cursor = ?", [(each.name,) for each in cursors])
    dropped = [
        (each.name, reason, size.records, size.readings) for each in cursors for reason, size in each.dropped_by.items()
    ]
    db.executemany("INSERT OR REPLACE INTO dropped VALUES (?,?,?,?)", dropped)


def read_cursors(db: sqlite3.Connection) -> Iterator[tuple[str, CursorState | None]]:
    """Every cursor by name; None: damaged."""
    dropped: dict[str, dict[str, Count]] = {}
    for name, reason, records, readings in db.execute("SELECT * FROM dropped"):
        dropped.setdefault(name, {})[reason] = Count(records, readings)
    for name, *numbers, crc in db.execute("SELECT * FROM cursor").fetchall():
        if codec.checksum(numbers, name.encode()) == crc:
            place, origin, delivered, gone, dead = (Count(*numbers[i : i + 2]) for i in range(0, 10, 2))
            yield name, CursorState(name, place, origin, delivered, gone, dead, dropped.get(name, {}))
        else:
            yield name, None


def cursor_of(values: Sequence[int | bytes | None]) -> CursorState | None:
    """The cursor in the columns of a row that was read without SQLite; None: it is none, or damaged."""
    name, numbers = (values[0], [number for number in values[1:] if isinstance(number, int)]) if values else (None, [])
    if not isinstance(name, bytes) or len(values) != 12 or len(numbers) != 11:
        return None
    if codec.checksum(numbers[:10], name) != numbers[10]:
        return None
    place, origin, delivered, dropped, dead = (Count(*numbers[i : i + 2]) for i in range(0, 10, 2))
    return CursorState(name.decode(), place, origin, delivered, dropped, dead)


def forget_cursors(db: sqlite3.Connection, names: Collection[str]) -> None:
    """Their sinks are no longer configured."""
    for table in ("cursor WHERE name", "dropped WHERE cursor"):
        db.executemany(f"DELETE FROM {table} = ?", [(name,) for name in names])  # noqa: S608


def write_letters(
    db: sqlite3.Connection, letters: Sequence[Letter], blobs: Sequence[bytes], refused_ns: int, most_bytes: int
) -> int:
    """Store what sinks refused for good; each record once, also when it is refused again after a crash.

    What all of them take then; beyond ``most_bytes`` the oldest go.
    """
    rows = [
        (letter.cursor, letter.record, refused_ns, letter.reason, codec.checksum((letter.record,), blob), blob)
        for letter, blob in zip(letters, blobs, strict=True)
    ]
    columns = "cursor, record, refused, reason, blob_crc, blob"
    db.executemany(f"INSERT OR REPLACE INTO dead_letter ({columns}) VALUES (?,?,?,?,?,?)", rows)  # noqa: S608
    if (size := letter_bytes(db)) > most_bytes:
        remove_letters(db, size - most_bytes)
    return letter_bytes(db)


def read_letters(db: sqlite3.Connection, sources: codec.Sources, where: str, *values: str | int) -> list[DeadLetter]:
    """Some dead letters."""
    columns = "id, cursor, record, refused, reason, blob_crc, blob, EXISTS (SELECT * FROM resend WHERE letter = id)"
    found = db.execute(f"SELECT {columns} FROM dead_letter {where}", values).fetchall()  # noqa: S608
    letters = []
    for number, cursor, record, refused_ns, reason, crc, blob, again in found:
        batch = None
        if codec.checksum((record,), blob) == crc:
            with suppress(codec.CodecError):
                (batch,) = codec.decode(blob, sources)
        letters.append(DeadLetter(number, cursor, record, refused_ns, reason, batch, bool(again)))
    return letters


def settle_letters(db: sqlite3.Connection, resent: Sequence[int], settled: Sequence[int]) -> None:
    """These are on their way again; those are no dead letters any more."""
    db.executemany("INSERT OR IGNORE INTO resend VALUES (?)", [(number,) for number in resent])
    for table in ("resend WHERE letter", "dead_letter WHERE id"):
        db.executemany(f"DELETE FROM {table} = ?", [(number,) for number in settled])  # noqa: S608


def letter_bytes(db: sqlite3.Connection) -> int:
    """What the payloads of all dead letters take."""
    return int(db.execute("SELECT total(length(blob)) FROM dead_letter").fetchone()[0])


def remove_letters(db: sqlite3.Connection, size: int) -> None:
    """Remove the oldest dead letters, ``size`` bytes or a little more."""
    while size > 0:
        ids = db.execute(
            "SELECT id, length(blob) FROM dead_letter WHERE id NOT IN (SELECT letter FROM resend) ORDER BY id LIMIT 100"
        ).fetchall()
        if not ids:
            return
        db.executemany("DELETE FROM dead_letter WHERE id = ?", [(number,) for number, _ in ids])
        size -= sum(length for _, length in ids)


def write_gaps(db: sqlite3.Connection, gaps: Iterable[Gap], noticed_ns: int) -> None:
    """Store what cursors will never get; a gap that goes on where the last one ended makes that one longer."""
    for gap in gaps:
        grown = db.execute(
            "UPDATE gap SET records = records + ?, readings = readings + ?, before_ns = ?"
            " WHERE id = (SELECT max(id) FROM gap WHERE cursor = ?) AND reason = ?"
            " AND (reason = 'thinned' OR first_record + records * (cursor <> '') = ?)",
            (*astuple(gap.size), gap.before_ns, gap.cursor, gap.reason, gap.start.records),
        ).rowcount
        if not grown:
            values = *astuple(gap.start), *astuple(gap.size), gap.reason, noticed_ns, gap.after_ns, gap.before_ns
            columns = "cursor, first_record, first_reading, records, readings, reason, noticed, after_ns, before_ns"
            db.execute(f"INSERT INTO gap ({columns}) VALUES (?,?,?,?,?,?,?,?,?)", (gap.cursor, *values))  # noqa: S608
    db.execute("DELETE FROM gap WHERE id <= (SELECT max(id) FROM gap) - ?", (GAPS_KEPT,))


def read_gaps(db: sqlite3.Connection, newest: int = GAPS_SHOWN) -> list[Gap]:
    """The newest gaps, newest last."""
    columns = "cursor, first_record, first_reading, records, readings, reason, after_ns, before_ns, noticed"
    rows = db.execute(f"SELECT {columns} FROM gap ORDER BY id DESC LIMIT ?", (newest,)).fetchall()  # noqa: S608
    return [Gap(row[0], Count(*row[1:3]), Count(*row[3:5]), *row[5:]) for row in reversed(rows)]


def write_totals(db: sqlite3.Connection, totals: Mapping[str, Count]) -> None:
    """Store counts by name, since the journal was made."""
    rows = [
        (f"{name}/{unit}", number)
        for name, total in totals.items()
        for unit, number in zip(("records", "readings"), astuple(total), strict=True)
    ]
    db.executemany("INSERT OR REPLACE INTO total VALUES (?,?)", rows)


def read_totals(db: sqlite3.Connection) -> dict[str, Count]:
    """See ``write_totals``."""
    totals: dict[str, Count] = {}
    for path, value in db.execute("SELECT name, value FROM total"):
        name, _, unit = path.rpartition("/")
        totals[name] = totals.get(name, NOTHING) + (Count(value, 0) if unit == "records" else Count(0, value))
    return totals


def read_thinned(db: sqlite3.Connection) -> Thinned:
    """What was left out of rows that are still there."""
    rows = db.execute("SELECT first_record, records, readings FROM thinned")
    return Thinned({first: Count(records, readings) for first, records, readings in rows})


def write_thinned(db: sqlite3.Connection, first_record: int, left_out: Count) -> None:
    """Store what was left out of a row."""
    db.execute("INSERT OR REPLACE INTO thinned VALUES (?,?,?)", (first_record, *astuple(left_out)))


def remove_rows(db: sqlite3.Connection, first: int, last: int) -> None:
    """Remove the rows that begin between these records, both included."""
    for table in ("commit_group", "thinned"):
        db.execute(f"DELETE FROM {table} WHERE first_record BETWEEN ? AND ?", (first, last))  # noqa: S608
