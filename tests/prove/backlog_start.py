"""Start with a large backlog: how long until the journal of a gateway that was away for a day takes values.

``python -m tests.prove.backlog_start DIRECTORY --gigabytes 2`` makes such a journal, opens it, and prints as JSON
how long opening, the first accepted record and the first window for a lagging sink took. Opening must not read it all:
the limit is 3 s for all of it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from pathlib import Path

from gateway.core.clock import SystemClock
from gateway.core.contracts import Count
from gateway.journal import codec, tables
from gateway.journal.rows import size_of
from gateway.journal.sqlite import SqliteJournal
from gateway.journal.store import Store
from tests.support.journal_batches import TIME_NS, noisy

LIMIT_S = 3.0
_GROUP = 50


def generate(directory: Path, size: int) -> int:
    """A journal of about ``size`` bytes in which nothing is delivered; how many records are in it."""
    store = Store(directory, SystemClock(), max_bytes=4 * size, history_s=0)
    store.open()
    db = store._connection()  # rows are written without fsync, or it would take minutes
    db.execute("PRAGMA synchronous = OFF")
    batches = noisy(_GROUP, 50)
    sources = codec.Sources()
    blob = codec.encode(batches, sources)
    place, written = Count(), 0
    while written < size:
        db.execute("BEGIN")
        if not written:
            tables.write_sources(db, sources.unsaved)
        for _ in range(500):
            tables.write_row(db, place, size_of(batches), (TIME_NS, TIME_NS, TIME_NS), blob)
            place += size_of(batches)
            written += len(blob) + 100
        db.execute("COMMIT")
    store.close()
    return place.records


async def measure(directory: Path, size: int) -> dict[str, float]:
    """Seconds since the beginning of the start."""
    begun = time.monotonic()
    journal = SqliteJournal(directory, SystemClock(), 4 * size)
    await journal.open()
    opened_s = time.monotonic() - begun
    cursor = journal.cursor("sink")
    journal.append(noisy(1, 50)[0])
    await journal.flush()
    accepted_s = time.monotonic() - begun
    await cursor.take(100, 50_000)
    window_s = time.monotonic() - begun
    pending = cursor.pending
    await journal.close()
    return {"opened_s": opened_s, "accepted_s": accepted_s, "window_s": window_s, "pending": pending}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--gigabytes", type=float, default=2.0)
    options = parser.parse_args()
    size = round(options.gigabytes * 1e9)
    records = generate(options.directory, size)
    found = asyncio.run(measure(options.directory, size))
    bytes_ = (options.directory / "journal.db").stat().st_size
    sys.stdout.write(json.dumps({"bytes": bytes_, "records": records, **found}) + "\n")
    return 0 if found["window_s"] <= LIMIT_S and found["pending"] == records + 1 else 1


if __name__ == "__main__":
    sys.exit(main())
