"""One short life of a journal, always the same: made, appended to, delivered from, closed. To be killed anywhere in it.

``python -m tests.support.journal_life DIRECTORY`` writes ``a n`` (all before n are accepted) and ``d n`` (delivered) to
standard output, unbuffered, and ``end``. ``--early`` calls records accepted when they are appended: the control.
"""

from __future__ import annotations

import argparse
import asyncio
import os
from pathlib import Path

from gateway.core.clock import SystemClock
from gateway.journal.sqlite import SqliteJournal
from tests.support.journal_kill import record

GROUPS, RECORDS = 4, 3


def tell(what: str) -> None:
    os.write(1, f"{what}\n".encode())


async def live(directory: Path, early: bool) -> None:
    journal = SqliteJournal(directory, SystemClock(), commit_interval_s=0.005, history_s=1e9)
    await journal.open()
    cursor = journal.cursor("sink")
    position = journal.stats().accepted_records
    for _ in range(GROUPS):
        for _ in range(RECORDS):
            journal.append(record(position))
            position += 1
        if early:
            tell(f"a {position}")
        await journal.flush()
        tell(f"a {position}")
        while cursor.pending:
            window = await cursor.take(2, 10**9)
            tell(f"d {window[-1].seq + 1}")
            cursor.commit(len(window))
    await journal.close()
    tell("end")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--early", action="store_true")
    options = parser.parse_args()
    asyncio.run(live(options.directory, options.early))
