"""What is still readable of a database that was set aside: rows found page by page, without asking SQLite.

In: the damaged file and its WAL. Out: pieces of consecutive records, like those of the store, for the cursors that
had not got so far. Nothing is copied: the file stays until every cursor has passed it.

A row is believed when its own CRCs fit, wherever it lies; so neither the tree above it nor the file's head is needed,
and what is lost is what is damaged. The file format is that of sqlite.org/fileformat2.html: a table's rows are in leaf
pages (type 13, or 10 for tables without rowid), what does not fit there in a chain of overflow pages.
"""

from __future__ import annotations

import struct
import time
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from gateway.core.contracts import Count
from gateway.journal import codec, tables
from gateway.journal.database import PAGE, READ
from gateway.journal.rows import CursorState, Piece
from gateway.journal.tables import Row

_TABLE_LEAF, _INDEX_LEAF = 13, 10
_WAL_HEAD, _FRAME_HEAD = 32, 24
_MOST_LOCAL = {_TABLE_LEAF: PAGE - 35, _INDEX_LEAF: (PAGE - 12) * 64 // 255 - 23}
_LEAST_LOCAL = (PAGE - 12) * 32 // 255 - 23
_EARLY_PAGES = 64  # the table of cursors was made with the file
_INTEGERS = {1: 1, 2: 2, 3: 3, 4: 4, 5: 6, 6: 8}  # serial type → bytes

_Value = int | bytes | None


class Salvage:
    """One file that was set aside; ``end`` is where the journal that followed it begins."""

    def __init__(self, path: Path, end: Count, sources: codec.Sources) -> None:
        self.path = path
        self.end = end
        self._sources = sources
        self._db: BinaryIO = path.open("rb") if path.exists() else Path("/dev/null").open("rb")  # noqa: SIM115
        self._pages = path.stat().st_size // PAGE if path.exists() else 0
        wal = path.with_name(f"{path.name}-wal")
        self._wal: BinaryIO | None = wal.open("rb") if wal.exists() else None
        self._frames = _frames(self._wal) if self._wal else {}
        self._todo = iter(range(1, max(self._pages, *self._frames, 0) + 1))
        self._firsts, self._places = array("q"), array("q")  # of each row: first record, page and number of its cell
        self.done = False

    def cursors(self) -> dict[str, CursorState]:
        """The places of the sinks, as far as they can be read."""
        found: dict[str, CursorState] = {}
        for number in sorted({*range(1, min(self._pages, _EARLY_PAGES) + 1), *self._frames}):
            for cell in _cells(self._page(number), _INDEX_LEAF):
                cursor = tables.cursor_of(self._record(cell, _INDEX_LEAF))
                if cursor and (cursor.name not in found or found[cursor.name].place.records < cursor.place.records):
                    found[cursor.name] = cursor
        return found

    def scan(self, within_s: float) -> bool:
        """Go on looking for rows; whether all have been found."""
        deadline = time.monotonic() + within_s
        while not self.done:
            number = next(self._todo, None)
            if number is None:
                self._sort()
                self.done = True
                return True
            for i, cell in enumerate(_cells(self._page(number), _TABLE_LEAF)):
                row = self._row(cell)
                if row is not None:
                    self._firsts.append(row.first_record)
                    self._places.append(number << 16 | i)
            if time.monotonic() > deadline:
                break
        return self.done

    def _sort(self) -> None:
        order = sorted(range(len(self._firsts)), key=self._firsts.__getitem__)
        self._firsts = array("q", (self._firsts[i] for i in order))
        self._places = array("q", (self._places[i] for i in order))

    def last(self) -> Count | None:
        """Where the newest row ends."""
        newest = [row.end for row, _ in self._from(self._firsts[-1])] if self._firsts else []
        return newest[-1] if newest else None

    def start(self, record: int) -> Count | None:
        """Where the first row that ends behind ``record`` begins; None where there is none."""
        return next((row.start for row, _ in self._from(record)), None)

    def read(self, record: int) -> Piece | None:
        """The first piece that can be read from ``record`` on; None where there is none."""
        for row, cell in self._from(record):
            values = self._record(cell, _TABLE_LEAF)
            blob = values[-1] if values else None
            try:
                found = tables.understood(row, blob, self._sources) if isinstance(blob, bytes) else None
            except codec.CodecError:
                continue
            if found is not None:
                return Piece(row.start, found[0], row.end, found[1]).after(record)
        return None

    def _from(self, record: int) -> Iterator[tuple[Row, bytes]]:
        first = max(0, bisect_left(self._firsts, record + 1) - 1)
        for place in self._places[first:]:
            cell = list(_cells(self._page(place >> 16), _TABLE_LEAF))[place & 0xFFFF]
            row = self._row(cell)
            if row is not None and record < row.end.records <= self.end.records:
                yield row, cell

    def finish(self) -> None:
        """Nothing is needed from it any more: the file keeps, renamed, as evidence."""
        self.close()
        if self.path.exists():
            self.path.rename(f"{self.path}{READ}")

    def close(self) -> None:
        """Let go of the files."""
        self._db.close()
        if self._wal:
            self._wal.close()

    # ------------------------------------------------------------------------------------------ the file format

    def _page(self, number: int) -> bytes:
        """The newest version of a page."""
        if self._wal and number in self._frames:
            self._wal.seek(self._frames[number])
            return self._wal.read(PAGE)
        self._db.seek((number - 1) * PAGE)
        return self._db.read(PAGE)

    def _row(self, cell: bytes) -> Row | None:
        """The row of commit_group in this cell, if it is one; its blob is not looked at."""
        try:
            size, at = _varint(cell, 0)
            first_record, at = _varint(cell, at)
            values = _values(cell[at:], whole=False)
        except (IndexError, struct.error):
            return None
        if len(values) != 10 or values[0] is not None or not all(type(value) is int for value in values[1:9]):
            return None
        row = Row._make((first_record, *values[1:9], size))
        return row if row.sound else None

    def _record(self, cell: bytes, kind: int) -> list[_Value]:
        """The columns of a cell, with what lies in overflow pages; empty where that makes no sense."""
        try:
            size, at = _varint(cell, 0)
            if kind == _TABLE_LEAF:
                _, at = _varint(cell, at)
            payload = cell[at : at + _local(size, kind)]
            if len(payload) < size:
                (following,) = struct.unpack_from(">I", cell, at + len(payload))
                payload += self._overflow(following, size - len(payload))
            return _values(payload, whole=True)
        except (IndexError, struct.error):
            return []

    def _overflow(self, number: int, size: int) -> bytes:
        parts = []
        while size > 0 and number:
            page = self._page(number)
            (number,) = struct.unpack_from(">I", page)
            parts.append(page[4 : 4 + size])
            size -= PAGE - 4
        return b"".join(parts)


def _frames(wal: BinaryIO) -> dict[int, int]:
    """Where the newest version of each page is in the WAL."""
    frames: dict[int, int] = {}
    salt = wal.read(_WAL_HEAD)[16:24]
    at = _WAL_HEAD
    while len(head := wal.read(_FRAME_HEAD)) == _FRAME_HEAD:
        (number,) = struct.unpack_from(">I", head)
        if head[8:16] != salt:
            break  # from here on it is of an earlier round
        frames[number] = at + _FRAME_HEAD
        at += _FRAME_HEAD + PAGE
        wal.seek(at)
    return frames


def _cells(page: bytes, kind: int) -> Iterator[bytes]:
    """Each cell of a leaf page, from its beginning to the end of the page."""
    if len(page) < PAGE or page[0] != kind:
        return
    (count,) = struct.unpack_from(">H", page, 3)
    for i in range(min(count, PAGE // 4)):
        (at,) = struct.unpack_from(">H", page, 8 + 2 * i)
        yield page[at:]


def _local(size: int, kind: int) -> int:
    """How much of a payload is in the leaf page."""
    most = _MOST_LOCAL[kind]
    if size <= most:
        return size
    local = _LEAST_LOCAL + (size - _LEAST_LOCAL) % (PAGE - 4)
    return local if local <= most else _LEAST_LOCAL


def _varint(raw: bytes, at: int) -> tuple[int, int]:
    value = 0
    for i in range(9):
        byte = raw[at + i]
        if i == 8:
            return value << 8 | byte, at + 9
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            return value, at + i + 1
    raise IndexError


def _values(payload: bytes, *, whole: bool) -> list[_Value]:
    """The columns of a record; not ``whole``: what is missing at its end does not matter."""
    length, at = _varint(payload, 0)
    types = []
    while at < length:
        kind, at = _varint(payload, at)
        types.append(kind)
    values: list[_Value] = []
    for kind in types:
        size = _INTEGERS.get(kind, (kind - 12) // 2 if kind >= 12 else 0)
        raw = payload[at : at + size]
        if len(raw) < size and (whole or kind < 12):
            raise IndexError
        at += size
        if kind in _INTEGERS:
            values.append(int.from_bytes(raw, "big", signed=True))
        else:
            values.append(raw if kind >= 12 else {8: 0, 9: 1}.get(kind))
    return values
