"""The database file itself: opened, told apart from what is none of ours, set aside when it is damaged."""

from __future__ import annotations

import sqlite3
from datetime import UTC, datetime
from pathlib import Path

from gateway.core.errors import JournalError
from gateway.journal.schema import APPLICATION, FORMAT, LOCKING, SETTINGS, TABLES, UPGRADES

PAGE = 4096
SET_ASIDE_KEPT = 2  # damaged journals; more would fill the disk

_DAMAGE = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def connect(path: Path, wal_bytes: int) -> tuple[sqlite3.Connection, bool]:
    """The one connection, and whether the tables had to be made.

    Raises JournalError where a newer version wrote it, and what ``is_damage`` knows where it is not a journal.
    """
    db = sqlite3.connect(path, isolation_level=None, timeout=1.0)
    try:
        return db, _prepare(db, path, wal_bytes)
    except BaseException:
        db.close()
        raise


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
        error = sqlite3.DatabaseError(f"not a journal: application {application:#x}, format {version}")
        error.sqlite_errorcode = sqlite3.SQLITE_NOTADB
        raise error
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


def set_aside(path: Path, time_ns: int) -> Path:
    """Rename a damaged database and its WAL to ``journal.damaged-<UTC>``; the oldest of several such are removed."""
    stamp = datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    aside = path.with_name(f"journal.damaged-{stamp}")
    for suffix in ("", "-wal"):
        file = path.with_name(path.name + suffix)
        if file.exists():
            file.rename(f"{aside}{suffix}")
    kept = sorted(file for file in path.parent.glob("journal.damaged-*") if not file.name.endswith("-wal"))
    for old in kept[:-SET_ASIDE_KEPT]:
        old.unlink()
        old.with_name(f"{old.name}-wal").unlink(missing_ok=True)
    return aside


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Whether what is on the disk makes no sense."""
    code: int | None = getattr(error, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in _DAMAGE


def is_full(error: sqlite3.DatabaseError) -> bool:
    """Whether there was no room."""
    return getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL
