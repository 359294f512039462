"""The database of the journal: one connection, used by one thread, every call blocking.

In: groups of batches, cursors, dead letters; each ``write`` is one transaction that is on the disk when it returns.
Out: pieces of consecutive records, checked.

Invariants

- A row's columns are trusted when ``row_crc`` fits, its blob when ``blob_crc`` fits; nothing else is ever used.
- Rows carry running counts, so what a row that cannot be read held is the difference of its readable neighbours.
- The newest row is never removed, and the head never goes back: positions do not repeat.
- Database, WAL, ballast, mark and the copies of the sources together stay within ``max_bytes``.
- A row is removed when every cursor on the disk has passed it and ``history_s`` is over, or else, when there is no
  room, as room.py decides.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path

from gateway.core.clock import Clock
from gateway.core.contracts import Count, DeadLetter, Examined, Gap
from gateway.core.errors import JournalError
from gateway.core.model import Batch, Source
from gateway.journal import codec, database, tables
from gateway.journal.copies import SourceCopies
from gateway.journal.files import Ballast, DirectoryLock, HighWaterMark
from gateway.journal.room import Room
from gateway.journal.rows import NOTHING, CursorState, Piece, Reason, Standing, Thinned, WhenFull, Work, size_of
from gateway.journal.salvage import Salvage
from gateway.journal.tables import Row

_log = logging.getLogger("gateway.journal")

MIN_BYTES = 1_000_000  # below this, ballast and WAL would leave nothing
_EXAMINE_NS = 50_000_000
_SCAN_S = 0.03  # how long a commit may have to wait for the search through a damaged journal
_TIDY_NS = 1_000_000_000  # how often rows that everybody has passed are removed, sizes measured, ballast taken


class Store:
    """See above. ``open`` first; every method may raise JournalError, and works again when the disk does."""

    def __init__(
        self,
        directory: Path,
        clock: Clock,
        *,
        max_bytes: int,
        history_s: float,
        when_full: WhenFull = WhenFull.DROP_OLDEST,
    ) -> None:
        if max_bytes < MIN_BYTES:
            raise ValueError(f"a journal needs at least {MIN_BYTES} bytes")
        self.head = Count()  # all that was ever accepted
        self.lost: dict[str, Count] = {}  # by reason, as it is on the disk
        self.trouble = ""  # damage that was found since the start; other threads may read it
        self.mark_trouble = ""  # that the high-water mark cannot be written at the moment; likewise
        self.found: dict[str, CursorState] = {}  # the cursors that were on the disk at ``open``
        self._floor = Count()  # what lies before the oldest row
        self._oldest_ns: int | None = None
        self._stored: dict[str, CursorState] = {}  # the cursors as they are on the disk
        self.max_record = max_bytes // 16  # bytes of text that one record may have
        self._directory = directory
        self._path = directory / "journal.db"
        self._clock = clock
        self._max_bytes = max_bytes
        self._history_ns = round(history_s * 1e9)
        self._lock = DirectoryLock(directory)
        self._mark = HighWaterMark(directory)
        self._ballast = Ballast(directory, min(1 << 20, max_bytes // 8))
        self._wal_bytes = min(2 << 20, max_bytes // 4)  # room kept for the WAL
        self._db: sqlite3.Connection | None = None
        self._salvages: list[Salvage] = []  # damaged journals that not every cursor has passed, oldest first
        self._sources = codec.Sources()
        self._letter_bytes = 0
        self._copies = SourceCopies(directory)
        self._uncopied: dict[int, Source] = {}
        self._room = Room(max_bytes - self._ballast.size - self._wal_bytes, when_full, self._sources, self._copies)
        self._thinned = Thinned()
        self._damage = (NOTHING, NOTHING)  # what is missing from here to there was damaged
        self._gaps: list[Gap] = []  # the newest ones
        self._tidied_ns = 0
        self._bytes = 0
        self._refused = NOTHING  # of the last commit: what there was no room for

    # ------------------------------------------------------------------------------------------------ opening

    def open(self) -> Standing:
        """Lock, open or create, see what is there."""
        try:
            self._directory.mkdir(parents=True, exist_ok=True, mode=0o750)
            self._lock.acquire()
        except OSError as error:
            raise JournalError(f"the journal cannot be kept in {self._directory}: {error.strerror}") from error
        try:
            mark = self._mark.open()
            for number, source in self._copies.read().items():
                self._sources.add(number, source)
            self._raise_head(mark)
            self._open_database()
            self._check_mark(mark)
            self._ballast.take()
            self._measure()
        except OSError as error:
            self.close()
            raise JournalError(f"the journal in {self._directory} cannot be opened: {error.strerror}") from error
        except sqlite3.Error as error:
            self.close()
            raise JournalError(f"the journal in {self._directory} cannot be opened: {error}") from error
        except JournalError:
            self.close()
            raise
        return self._standing()

    def _open_database(self) -> None:
        """Open; on a full disk with the help of the ballast, and where it is damaged, set it aside and begin anew."""
        try:
            try:
                self._connect()
                self._load()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode not in (sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN):
                    raise
                self._ballast.release()
                self._connect()
                self._load()
        except sqlite3.DatabaseError as error:
            if not database.is_damage(error):
                raise
            self._begin_anew(str(error))

    def _connect(self) -> sqlite3.Connection:
        self._disconnect()
        db, new = database.connect(self._path, self._wal_bytes)
        self._db = db
        if new:  # whatever the disk knew before, it knows no more
            self._sources.save_all_again()
            self._stored, self._letter_bytes, self._room.left, self.lost = {}, 0, 0, {}
        return db

    def _load(self) -> None:
        """Everything the memory must know. Rows at the end that cannot be trusted are removed."""
        db = self._connection()
        for name, cursor in tables.read_cursors(db):
            if cursor is None:
                self._report(f"the place of {name} was damaged; it starts again at the oldest record")
                tables.forget_cursors(db, [name])
            else:
                self.found[name] = self._stored[name] = cursor
        self._load_sources(db)
        totals = tables.read_totals(db)
        self.lost = {name.removeprefix("lost/"): lost for name, lost in totals.items() if name.startswith("lost/")}
        self._damage = totals.get("damage/from", NOTHING), totals.get("damage/to", NOTHING)
        self._thinned = tables.read_thinned(db)
        self._gaps = tables.read_gaps(db)
        self._letter_bytes = tables.letter_bytes(db)
        while (newest := tables.newest(db)) and not newest.sound:
            self._report("the newest records of the journal were damaged and are lost")
            db.execute("DELETE FROM commit_group WHERE first_record = ?", (newest.first_record,))
        self.head = NOTHING  # the mark is compared with what is there
        self._raise_head(*([newest.end] if newest else []), *(cursor.place for cursor in self.found.values()))
        self._find_floor()
        self._resume_salvage()

    def _resume_salvage(self) -> None:
        """Damaged journals of earlier lives that not every cursor has passed are read on."""
        files = [file for file in database.set_aside_files(self._directory) if file.suffix != database.READ]
        first = min((cursor.place for cursor in self.found.values()), key=lambda place: place.records, default=None)
        if first is None or first.records >= self._floor.records:
            return
        self._salvages = [Salvage(file, self._floor, self._sources) for file in files]
        self._find_floor(first)

    def _load_sources(self, db: sqlite3.Connection) -> None:
        stored = dict(tables.read_sources(db))
        for number, source in stored.items():
            if source is None and not self._sources.has(number):
                self._report("the description of a device was damaged; what waited of that device is lost")
            self._sources.add(number, source)
        self._sources.save_all_again()  # heals whichever copy is incomplete

    def _raise_head(self, *places: Count) -> None:
        self.head = max(self.head, *places, key=lambda place: place.records) if places else self.head

    def _check_mark(self, mark: Count) -> None:
        if mark.records > self.head.records:
            gone = mark.records - self.head.records
            self._report(f"{gone} records at the end of the journal were damaged and are lost")
            self.head = mark
            self._find_floor()

    def _find_floor(self, before: Count | None = None) -> None:
        """What is the oldest row that can be trusted? ``before``: nothing older is wanted."""
        before, damaged = before or self._floor, False
        for salvage in self._salvages:
            start = salvage.start(before.records) if salvage.done else before
            if start is not None:  # it may be the middle of a row
                self._floor = max(start, before, key=lambda place: place.records)
                return
        self._floor, self._oldest_ns = self.head, None
        for row in tables.rows_from(self._connection(), 0):
            if row.sound:
                self._floor, self._oldest_ns = row.start, row.committed
                break
            damaged = True
        if damaged:
            self._damage = before, self._floor

    # ------------------------------------------------------------------------------------------------ writing

    def write(self, work: Work) -> Standing:
        """One group commit. When it raises, nothing of it counts, and the same batches must come first next time."""
        try:
            self._write_in_spite_of_a_full_disk(work)
        except sqlite3.DatabaseError as error:
            self._roll_back()
            if not database.is_damage(error):
                if not database.is_full(error):  # the connection may know less than the disk: open it again next time
                    self._disconnect()
                raise JournalError(f"the journal in {self._directory} cannot be written: {error}") from error
            self._replace_damaged(error)
            return self.write(work)
        except OSError as error:
            self._disconnect()
            raise JournalError(f"the journal in {self._directory} cannot be written: {error.strerror}") from error
        self._write_mark()
        self._tidy()
        return self._standing()

    def _write_mark(self) -> None:
        """The commit itself is safe without it; unlike damage, this trouble is over with the next one written."""
        try:
            self._mark.write(self.head, self._clock.monotonic_ns())
        except OSError as error:
            if not self.mark_trouble:
                self.mark_trouble = f"the high-water mark of the journal cannot be written: {error.strerror}"
                _log.error("%s", self.mark_trouble, extra={"directory": str(self._directory)})
        else:
            self.mark_trouble = ""

    def _write_in_spite_of_a_full_disk(self, work: Work) -> None:
        try:
            self._transaction(work)
        except sqlite3.OperationalError as error:
            if not database.is_full(error):
                raise
            self._roll_back()
            self._shrink(sum(len(batch.text) for batch in work.batches))
            self._transaction(work)

    def _transaction(self, work: Work) -> None:
        """Everything of it, or nothing. Batches for which there is no room are refused and counted as lost."""
        db = self._connection()
        # once encoded, every source that is used is known
        blob = codec.encode(work.batches, self._sources) if work.batches else b""
        letters = [codec.encode((letter.batch,), self._sources) for letter in work.letters]
        need = len(blob) + sum(map(len, letters))
        now = self._clock.time_ns()
        sources = dict(self._sources.unsaved)
        changed = [cursor for cursor in work.cursors if self._stored.get(cursor.name) != cursor]
        forgotten = self._stored.keys() - {cursor.name for cursor in work.cursors}
        letter_bytes = self._letter_bytes

        db.execute("BEGIN IMMEDIATE")
        if sources:
            self._copy(sources)
            tables.write_sources(db, sources)
        if changed:
            tables.write_cursors(db, changed)
        if forgotten:
            tables.forget_cursors(db, forgotten)
        if work.resent or work.settled:
            tables.settle_letters(db, work.resent, work.settled)
            letter_bytes = tables.letter_bytes(db)
        if letters:
            letter_bytes = tables.write_letters(db, work.letters, letters, now, self._max_bytes // 8)
        removed = need > self._room.left and self._room.make(db, need, self._passed(work.cursors))
        batches, gaps, lost = work.batches, list(work.gaps), dict(work.lost)
        refused = size_of(batches) if self._room.refuses(len(blob)) else NOTHING
        if refused.records:
            gaps.append(Gap("", self.head, refused, Reason.FULL, batches[0].time_ns, batches[-1].time_ns))
            lost[Reason.FULL] = lost.get(Reason.FULL, NOTHING) + refused
            batches = ()
        if gaps:
            tables.write_gaps(db, gaps, now)
        if lost != self.lost:
            tables.write_totals(db, {f"lost/{reason}": count for reason, count in lost.items()})
        if self._damage[1].records:
            tables.write_totals(db, dict(zip(("damage/from", "damage/to"), self._damage, strict=True)))
        if batches:
            tables.write_group(db, batches, self.head, now, blob)
        db.execute("COMMIT")

        for number in sources:
            del self._sources.unsaved[number]
        self._stored = {cursor.name: cursor for cursor in work.cursors}
        self._letter_bytes = letter_bytes
        self.lost, self._refused = lost, refused
        if batches and self._oldest_ns is None:
            self._floor, self._oldest_ns = self._floor if self._salvages else self.head, now
        self.head += size_of(batches)
        self._room.left -= need + 2 * database.PAGE
        if gaps:
            self._gaps = tables.read_gaps(db)
        if removed:
            self._find_floor()
            self._thinned = tables.read_thinned(db)

    def _copy(self, sources: Mapping[int, Source]) -> None:
        self._uncopied.update(sources)
        try:
            self._copies.add(self._uncopied)
        except OSError as error:  # the table has them all the same
            _log.debug("the second copy of the sources has to wait: %s", error)
        else:
            self._uncopied.clear()

    def _passed(self, cursors: Sequence[CursorState]) -> int:
        """Every cursor is beyond this record."""
        return min((cursor.place.records for cursor in cursors), default=self.head.records)

    # ------------------------------------------------------------------------------------------------ reading

    def read(self, record: int) -> Piece:
        """As ``look``, however long it takes."""
        while (piece := self.look(record)) is None:
            pass
        return piece

    def look(self, record: int) -> Piece | None:
        """The first piece that can be read from ``record`` on; at the head, an empty one. None: ask again.

        It begins later than ``record`` where what lies between is gone or damaged.
        """
        try:
            for salvage in self._salvages:
                if record < salvage.end.records:
                    if not salvage.scan(_SCAN_S):
                        return None
                    self._find_floor()
                    if (piece := salvage.read(record)) is not None:
                        return piece
            return self._read(record)
        except sqlite3.DatabaseError as error:
            if not database.is_damage(error):
                self._disconnect()
                raise JournalError(f"the journal in {self._directory} cannot be read: {error}") from error
            self._replace_damaged(error)
            return Piece(self.head, (), self.head)

    def _read(self, record: int) -> Piece:
        db = self._connection()
        before = tables.find(db, "WHERE first_record <= ? ORDER BY first_record DESC LIMIT 1", record)
        for row in tables.rows_from(db, before.first_record if before else record):
            if row.sound and row.end.records <= record:
                continue
            found = self._batches(row)
            if found is not None:
                return Piece(row.start, found[0], row.end, found[1]).after(record)
            self._report("damaged records were found in the journal and left out")
        return Piece(self.head, (), self.head)

    def letters(self, where: str, *values: str | int) -> list[DeadLetter]:
        """Some dead letters."""
        try:
            return tables.read_letters(self._connection(), self._sources, where, *values)
        except sqlite3.DatabaseError as error:
            if not database.is_damage(error):
                raise JournalError(f"the dead letters cannot be read: {error}") from error
            self._replace_damaged(error)
            return []

    def examine(self, record: int, since_ns: int, until_ns: int, batches: bool) -> Examined:
        """Read and check from ``record`` on, for some hundredths of a second."""
        deadline = self._clock.monotonic_ns() + _EXAMINE_NS
        found: list[Batch] = []
        sizes, damaged = NOTHING, []
        record = max(record, self._floor.records)
        while record < self.head.records and self._clock.monotonic_ns() < deadline:
            piece = self.look(record)
            if piece is None:
                break
            if piece.start.records > record:
                damaged.append((record, piece.start.records - record))
            sizes += size_of(piece.batches)
            if batches:
                found += [each for each in piece.batches if since_ns <= each.time_ns < until_ns]
            record = piece.end.records
        return Examined(record, self.head.records, sizes.records, sizes.readings, damaged, found)

    def _batches(self, row: Row) -> tuple[list[Batch], dict[int, list[int]]] | None:
        """What the row holds; None: damaged."""
        try:
            return tables.batches_of(self._connection(), row, self._sources)
        except codec.CodecError as error:
            self._report(f"records of the journal cannot be decoded: {error}")
            return None

    # --------------------------------------------------------------------------------------------------- room

    def _shrink(self, need: int) -> None:
        """The disk is full: let go of the ballast, empty the WAL, and live within the pages there are."""
        if not self._room.ceiling:
            _log.error("the disk is full: the journal lives on within the room it has")
        self._ballast.release()
        self._finish_salvage(self.head.records)
        for file in database.set_aside_files(self._directory):
            database.remove_set_aside(file)
        db = self._connection()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._room.shrink(db, need)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._find_floor()
        self._thinned = tables.read_thinned(db)

    def _tidy(self) -> None:
        """Once a second: remove what everybody has passed, measure, take the ballast again."""
        now = self._clock.monotonic_ns()
        if now - self._tidied_ns < _TIDY_NS:
            return
        self._tidied_ns = now
        self._copy({})
        self._finish_salvage(self._passed(tuple(self._stored.values())))
        try:
            oldest_kept_ns = self._clock.time_ns() - self._history_ns
            if self._room.remove_passed(self._connection(), self._passed(tuple(self._stored.values())), oldest_kept_ns):
                self._find_floor()
            self._measure()
        except sqlite3.DatabaseError as error:
            self._roll_back()
            if database.is_damage(error):
                self._replace_damaged(error)
            elif not database.is_full(error):  # what was written stays written, and the next write tells
                self._disconnect()
        if self._ballast.take() and self._room.ceiling:
            self._room.ceiling = self._room.left = 0
            _log.info("the disk has room again for the journal")

    def _finish_salvage(self, passed: int) -> None:
        for salvage in [each for each in self._salvages if each.end.records <= passed]:
            salvage.finish()
            self._salvages.remove(salvage)
            self._find_floor()

    def _measure(self) -> None:
        files = ("journal.db", "journal.db-wal", "ballast", "high-water", "sources", "lock")
        aside = self._directory.glob("journal.damaged-*")
        paths = [*map(self._directory.joinpath, files), *aside]
        self._bytes = sum(path.stat().st_size for path in paths if path.exists())

    # ------------------------------------------------------------------------------------------------ trouble

    def _replace_damaged(self, error: sqlite3.DatabaseError) -> None:
        try:
            self._begin_anew(str(error))
        except (sqlite3.Error, OSError) as second:
            self._disconnect()
            raise JournalError(f"the damaged journal in {self._directory} cannot be replaced: {second}") from second

    def _begin_anew(self, why: str) -> None:
        """The database is damaged: keep it beside, start a new one where the old one ended."""
        self._disconnect()
        aside = database.set_aside(self._path, self._clock.time_ns())
        self._report(f"the journal was damaged ({why}) and set aside as {aside.name}; a new one was begun")
        self._connect()
        salvage = Salvage(aside, self.head, self._sources)
        if not self.found:
            self.found = salvage.cursors()
        places = [cursor.place for cursor in self.found.values()]
        if not self.head.records:  # not even the mark: then the rows tell
            salvage.end = Count(1 << 62, 1 << 62)
            salvage.scan(float("inf"))
            self._raise_head(salvage.last() or NOTHING, *places)
            salvage.end = self.head
        self._thinned = Thinned()
        self._salvages = [*(old for old in self._salvages if old.path.exists()), salvage]
        if not self._floor.records:
            self._floor = min(places, key=lambda place: place.records, default=NOTHING)
        self._damage = self._floor, self.head
        self._find_floor()

    def _report(self, sentence: str) -> None:
        if sentence not in self.trouble:
            self.trouble = f"{self.trouble}; {sentence}" if self.trouble else sentence
            _log.error("%s", sentence, extra={"directory": str(self._directory)})

    def _standing(self) -> Standing:
        place = self.head, self._floor, self._oldest_ns, self._bytes
        return Standing(*place, self._thinned, self._damage, self._refused, tuple(self._gaps))

    def _connection(self) -> sqlite3.Connection:
        return self._db or self._connect()

    def _roll_back(self) -> None:
        self._room.left = 0
        if self._db is not None and self._db.in_transaction:
            try:
                self._db.execute("ROLLBACK")
            except sqlite3.Error:  # the error that brought us here tells more
                self._disconnect()

    def _disconnect(self) -> None:
        if self._db is not None:
            db, self._db = self._db, None
            try:
                db.close()
            except sqlite3.Error as error:  # its last checkpoint failed: the WAL keeps what it holds
                _log.warning("closing the journal: %s", error)

    def close(self) -> None:
        """Let go of everything. Never raises."""
        for salvage in self._salvages:
            salvage.close()
        self._disconnect()
        self._mark.close()
        self._lock.release()
