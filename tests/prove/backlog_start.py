"""Start with a large backlog: how long until the journal of a gateway that was away for a day takes values.

Makes such a journal, opens it, and measures how long opening, the first accepted record and the first window for a
lagging sink took. Opening must not read it all.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

from gateway.core.clock import SystemClock
from gateway.core.contracts import Count
from gateway.journal import codec, tables
from gateway.journal.rows import size_of
from gateway.journal.sqlite import SqliteJournal
from gateway.journal.store import Store
from tests.prove.proof import NotPossible, Progress, Proof, Reached
from tests.support.journal_batches import TIME_NS, noisy

LIMIT_S = 3.0
BYTES, QUICK_BYTES = 2_000_000_000, 100_000_000
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


@dataclass(frozen=True, slots=True)
class Start:
    """Seconds since its beginning."""

    opened_s: float
    accepted_s: float
    window_s: float
    pending: int  # records


async def measure(directory: Path, size: int) -> Start:
    """Open it, append a record, take the oldest ones."""
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
    return Start(opened_s, accepted_s, window_s, pending)


async def prove(folder: Path, quick: bool, say: Progress) -> Reached:
    size = QUICK_BYTES if quick else BYTES
    free = shutil.disk_usage(folder).free
    if free < 2 * size:
        raise NotPossible(f"{2 * size / 1e9:.1f} GB of disk are needed, {free / 1e9:.1f} GB are free")
    say("makes the journal")
    records = await asyncio.to_thread(generate, folder, size)
    say("starts")
    found = await measure(folder, size)
    text = (
        f"a journal of {(folder / 'journal.db').stat().st_size / 1e9:.2f} GB with {records:,} records that wait: "
        f"open after {found.opened_s:.2f} s, the first new record accepted after {found.accepted_s:.2f} s, "
        f"the first window of old ones after {found.window_s:.2f} s"
    )
    return Reached(text, found.window_s <= LIMIT_S and found.pending == records + 1)


PROOF = Proof(
    "backlog-start", "start with 2 GB that no sink has got", "first new and first old record within 3 s", prove
)
