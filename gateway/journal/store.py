"""The database of the journal: one connection, used by one thread, every call blocking.

In: groups of batches, cursors, dead letters; each ``write`` is one transaction that is on the disk when it returns.
Out: pieces of consecutive records, checked.

Invariants

- A row's columns are trusted when ``row_crc`` fits, its blob when ``blob_crc`` fits; nothing else is ever used.
- Rows carry running counts, so what a row that cannot be read held is the difference of its readable neighbours.
- The newest row is never removed, and the head never goes back: positions do not repeat.
- Database, WAL, ballast, mark and the copies of the sources together stay within ``max_bytes``; journals that were
  set aside damaged may take as much again.
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
from gateway.journal import codec, database, files, tables
from gateway.journal.copies import SourceCopies
from gateway.journal.files import Ballast, DirectoryLock, HighWaterMark
from gateway.journal.past import Past
from gateway.journal.room import Room
from gateway.journal.rows import NOTHING, CursorState, Piece, Reason, Standing, Thinned, WhenFull, Work, size_of
from gateway.journal.salvage import Salvage

_log = logging.getLogger("gateway.journal")

MIN_BYTES = 1_000_000  # below this, ballast and WAL would leave nothing
_EXAMINE_NS = 50_000_000
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
        self.mark = HighWaterMark(directory)
        self.found: dict[str, CursorState] = {}  # the cursors that were on the disk at ``open``
        self._stored: dict[str, CursorState] = {}  # the cursors as they are on the disk
        self.max_record = max_bytes // 16  # bytes of text that one record may have
        self._directory = directory
        self._path = directory / "journal.db"
        self._clock = clock
        self._max_bytes = max_bytes
        self._history_ns = round(history_s * 1e9)
        self._lock = DirectoryLock(directory)
        self._ballast = Ballast(directory, min(1 << 20, max_bytes // 8))
        self._wal_bytes = min(2 << 20, max_bytes // 4)  # room kept for the WAL
        self._db: sqlite3.Connection | None = None
        self._sources = codec.Sources()
        self._past = Past(self._sources, self._connection, self._report)
        self._letter_bytes = 0
        self._copies = SourceCopies(directory)
        self._uncopied: dict[int, Source] = {}
        self._room = Room(max_bytes - self._ballast.size - self._wal_bytes, when_full, self._sources, self._copies)
        self._thinned = Thinned()
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
            raise JournalError(files.not_writable(self._directory, error)) from error
        try:
            mark = self.mark.open()
            for number, source in self._copies.read().items():
                self._sources.add(number, source)
            self._raise_head(mark)
            self._open_database()
            self._check_mark(mark)
            self._ballast.take()
            self._measure()
        except OSError as error:
            self.close()
            raise JournalError(files.not_writable(self._directory, error)) from error
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
        self._past.damage = totals.get("damage/from", NOTHING), totals.get("damage/to", NOTHING)
        self._thinned = tables.read_thinned(db)
        self._gaps = tables.read_gaps(db)
        self._letter_bytes = tables.letter_bytes(db)
        while (newest := tables.newest(db)) and not newest.sound:
            self._report("the newest records of the journal were damaged and are lost")
            db.execute("DELETE FROM commit_group WHERE first_record = ?", (newest.first_record,))
        self.head = NOTHING  # the mark is compared with what is there
        self._raise_head(*([newest.end] if newest else []), *(cursor.place for cursor in self.found.values()))
        self._past.find_floor(self.head)
        self._past.resume(self._directory, self.head, self.found.values())
        self._empty_wal()

    def _empty_wal(self) -> None:
        """SQLite writes on behind what a crash left in there: lives of one commit each would make it ever longer."""
        try:
            self._connection().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.OperationalError as error:
            _log.debug("the WAL is not emptied, the next commit will tell more: %s", error)

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
            self._past.find_floor(self.head)

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
        self.mark.keep(self.head, self._clock.monotonic_ns())
        self._tidy()
        return self._standing()

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
        if self._past.damage[1].records:
            tables.write_totals(db, dict(zip(("damage/from", "damage/to"), self._past.damage, strict=True)))
        if batches:
            tables.write_group(db, batches, self.head, now, blob)
        db.execute("COMMIT")

        for number in sources:
            del self._sources.unsaved[number]
        self._stored = {cursor.name: cursor for cursor in work.cursors}
        self._letter_bytes = letter_bytes
        self.lost, self._refused = lost, refused
        if batches:
            self._past.begins(self.head, now)
        self.head += size_of(batches)
        self._room.left -= need + 2 * database.PAGE
        if gaps:
            self._gaps = tables.read_gaps(db)
        if removed:
            self._past.find_floor(self.head)
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
            return self._past.look(record, self.head)
        except sqlite3.DatabaseError as error:
            if not database.is_damage(error):
                self._disconnect()
                raise JournalError(f"the journal in {self._directory} cannot be read: {error}") from error
            self._replace_damaged(error)
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
        record = max(record, self._past.floor.records)
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

    # --------------------------------------------------------------------------------------------------- room

    def _shrink(self, need: int) -> None:
        """The disk is full: let go of the ballast, empty the WAL, and live within the pages there are."""
        if not self._room.ceiling:
            _log.error("the disk is full: the journal lives on within the room it has")
        self._ballast.release()
        self._past.finish(self.head.records, self.head)
        for file in database.set_aside_files(self._directory):
            database.remove_set_aside(file)
        db = self._connection()
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._room.shrink(db, need)
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        self._past.find_floor(self.head)
        self._thinned = tables.read_thinned(db)

    def _tidy(self) -> None:
        """Once a second: remove what everybody has passed, measure, take the ballast again."""
        now = self._clock.monotonic_ns()
        if now - self._tidied_ns < _TIDY_NS:
            return
        self._tidied_ns = now
        self._copy({})
        passed = self._passed(tuple(self._stored.values()))
        self._past.finish(passed, self.head)
        try:
            oldest_kept_ns = self._clock.time_ns() - self._history_ns
            if self._room.remove_passed(self._connection(), passed, oldest_kept_ns):
                self._past.find_floor(self.head)
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

    def _measure(self) -> None:
        names = ("journal.db", "journal.db-wal", "ballast", "high-water", "sources", "lock")
        aside = self._directory.glob("journal.damaged-*")
        paths = [*map(self._directory.joinpath, names), *aside]
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
        aside = database.set_aside(self._path, self._clock.time_ns(), self._max_bytes)
        self._report(f"the journal was damaged ({why}) and set aside as {aside.name}; a new one was begun")
        self._connect()
        salvage = Salvage(aside, self.head, self._sources)
        if not self.found:
            self.found = salvage.cursors()
        if not self.head.records:  # not even the mark: then the rows tell
            salvage.end = Count(1 << 62, 1 << 62)
            salvage.scan(float("inf"))
            self._raise_head(salvage.last() or NOTHING, *(cursor.place for cursor in self.found.values()))
            salvage.end = self.head
        self._thinned = Thinned()
        self._past.add(salvage, self.found.values())

    def _report(self, sentence: str) -> None:
        if sentence not in self.trouble:
            self.trouble = f"{self.trouble}; {sentence}" if self.trouble else sentence
            _log.error("%s", sentence, extra={"directory": str(self._directory)})

    def _standing(self) -> Standing:
        place = self.head, self._past.floor, self._past.oldest_ns, self._bytes
        return Standing(*place, self._thinned, self._past.damage, self._refused, tuple(self._gaps))

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
        self._past.close()
        self._disconnect()
        self.mark.close()
        self._lock.release()
