"""The database file itself: opened, told apart from what is none of ours, set aside when it is damaged."""

from __future__ import annotations

import os
import sqlite3
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

from gateway.core.errors import JournalError
from gateway.journal.schema import APPLICATION, FORMAT, LOCKING, SETTINGS, TABLES, UPGRADES

PAGE = 4096
SET_ASIDE_KEPT = 2  # damaged journals; more would fill the disk

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def damage(sentence: str, code: int = sqlite3.SQLITE_CORRUPT) -> sqlite3.DatabaseError:
    """The error for damage that SQLite does not notice and we do."""
    error = sqlite3.DatabaseError(sentence)
    error.sqlite_errorcode = code
    return error


def connect(path: Path, wal_bytes: int) -> tuple[sqlite3.Connection, bool]:
    """The one connection, and whether the tables had to be made.

    Raises JournalError where a newer version wrote it, and what ``is_damage`` knows where it is not a journal.
    """
    kept = _keep_wal(path)
    db = sqlite3.connect(path, isolation_level=None, timeout=1.0)
    try:
        new = _prepare(db, path, wal_bytes)
    except BaseException:
        db.close()
        raise
    kept.unlink(missing_ok=True)
    return db, new


def _keep_wal(path: Path) -> Path:
    """A second name of the WAL: SQLite deletes one that it does not believe, and we may still read it."""
    wal, kept = path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-kept")
    kept.unlink(missing_ok=True)
    if wal.exists():
        with suppress(OSError):  # a file system without links, or a full one
            os.link(wal, kept)
    return kept


def _prepare(db: sqlite3.Connection, path: Path, wal_bytes: int) -> bool:
    db.execute(LOCKING)
    application = db.execute("PRAGMA application_id").fetchone()[0]
    version = db.execute("PRAGMA user_version").fetchone()[0]
    new = not db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
    if application == APPLICATION and version > FORMAT:
        raise JournalError(
            f"the journal in {path.parent} was written by a newer version of this program (format {version}, "
            f"this one knows {FORMAT}): install that version again, or use another directory"
        )
    if not new and (application != APPLICATION or version not in (FORMAT, *UPGRADES)):
        raise damage(f"not a journal: application {application:#x}, format {version}", sqlite3.SQLITE_NOTADB)
    db.executescript(SETTINGS)
    # the default of 1,000 pages is more than the ballast can help with
    db.execute(f"PRAGMA wal_autocheckpoint = {max(10, min(100, wal_bytes // 4 // PAGE))}")
    db.execute(f"PRAGMA journal_size_limit = {wal_bytes}")
    if new:
        db.executescript(f"BEGIN;{TABLES}COMMIT;")
    else:
        for old in range(version, FORMAT):
            db.executescript(f"BEGIN;{UPGRADES[old]}COMMIT;")
    return new


def set_aside(path: Path, time_ns: int, most_bytes: int) -> Path:
    """Rename a damaged database and its WAL to ``journal.damaged-<UTC>``.

    The oldest of several such are removed: SET_ASIDE_KEPT stay, and not the older one if both are more than
    ``most_bytes``.
    """
    stamp = datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = path.with_name(f"journal.damaged-{stamp}")
    for suffix, name in (("", ""), ("-wal", "-wal"), ("-kept", "-wal")):
        file = path.with_name(path.name + suffix)
        if file.exists():
            file.rename(f"{aside}{name}")
    files = set_aside_files(path.parent)
    while len(files) > SET_ASIDE_KEPT or (len(files) > 1 and sum(map(_size, files)) > most_bytes):
        remove_set_aside(files.pop(0))
    return aside


READ = ".read"  # ends the name of a file from which nothing is needed any more


def set_aside_files(directory: Path) -> list[Path]:
    """The databases that were set aside, oldest first."""
    return sorted(file for file in directory.glob("journal.damaged-*") if "-wal" not in file.name)


def remove_set_aside(file: Path) -> None:
    """Remove one of them with its WAL."""
    file.unlink(missing_ok=True)
    _wal_of(file).unlink(missing_ok=True)


def _size(file: Path) -> int:
    return sum(each.stat().st_size for each in (file, _wal_of(file)) if each.exists())


def _wal_of(file: Path) -> Path:
    return file.with_name(f"{file.name.removesuffix(READ)}-wal")


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether what is on the disk makes no sense."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _DAMAGE


def is_full(error: sqlite3.DatabaseError) -> bool:
    """Whether there was no room."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
