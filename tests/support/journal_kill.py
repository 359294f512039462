"""Kill -9 at any moment: a process appends, flushes and tells what was accepted; it is killed; is everything there?

``python -m tests.support.journal_kill DIRECTORY --cycles 1000 --mode sound`` prints a summary as JSON and exits with 1
when something is missing. Two modes must fail, or the harness proves nothing: ``early`` calls a record accepted when
it is appended, ``cursor-first`` moves the cursor before it delivers.

One process forks the victims, so a cycle costs milliseconds. Every record's seq is its position, and its values
follow from that, so a wrong, missing, repeated or misplaced record is seen.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import select
import signal
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from gateway.core.clock import SystemClock
from gateway.core.model import Batch
from gateway.journal.sqlite import SqliteJournal
from gateway.journal.store import Store
from tests.support.journal_batches import batch

MODES = ("sound", "early", "cursor-first")
_HISTORY_S = 1e9  # rows stay, so that they can be looked at


@dataclass
class Result:
    cycles: int = 0
    accepted: int = 0  # records that a victim called accepted
    lost: int = 0  # of these: missing or wrong after the kill
    delivered: int = 0
    skipped: int = 0  # records that a stored cursor has passed although they were not delivered
    repeated: int = 0  # delivered, but the stored cursor had not passed them: harmless


def record(position: int) -> Batch:
    values = (position / 8, float(position % 97), None if position % 5 == 0 else 1.5)
    return batch(position, values, run="pl1-001" if position % 3 == 0 else "")


async def victim(directory: Path, mode: str, tell: int, seed: int) -> None:
    """Append, flush, take, commit, for ever; say so on a pipe: ``a`` n or ``d`` n, all before n."""
    generator = random.Random(seed)
    journal = SqliteJournal(directory, SystemClock(), commit_interval_s=0.005, history_s=_HISTORY_S)
    await journal.open()
    cursor = journal.cursor("sink")
    position = journal.stats().accepted_records

    async def deliver() -> None:
        while True:
            window = await cursor.take(generator.randint(1, 30), 10**9)
            if mode == "cursor-first":
                cursor.commit(len(window))
                await asyncio.sleep(0.02)
            os.write(tell, b"d %d\n" % (window[-1].seq + 1))
            if mode != "cursor-first":
                cursor.commit(len(window))

    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(deliver())
        while True:
            for _ in range(generator.randint(1, 20)):
                journal.append(record(position))
                position += 1
            if mode == "early":
                os.write(tell, b"a %d\n" % position)
            await journal.flush()
            os.write(tell, b"a %d\n" % position)


def cycle(directory: Path, mode: str, generator: random.Random, result: Result) -> None:
    """One life of a victim, and a look at what it left behind."""
    before = look(directory)
    first, place = before.head.records, before.found["sink"].place.records if before.found else 0
    before.close()
    listen, tell = os.pipe()
    seed = generator.randrange(2**32)
    child = os.fork()
    if child == 0:
        try:
            asyncio.run(victim(directory, mode, tell, seed))
        finally:
            os._exit(1)
    os.close(tell)
    if generator.random() < 0.8:
        select.select([listen], [], [], 10)  # it works; else: kill it while it opens
    time.sleep(generator.uniform(0, 0.04))
    os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    if not os.WIFSIGNALED(status):
        raise RuntimeError("the victim ended by itself")
    accepted, delivered = first, place
    with os.fdopen(listen, "rb") as told:
        for line in told.read().splitlines():
            number = int(line[2:])
            accepted, delivered = (number, delivered) if line[:1] == b"a" else (accepted, number)
    store = look(directory)
    there = readable(store, first)
    stored = store.found["sink"].place.records if store.found else 0
    store.close()
    result.cycles += 1
    result.accepted += accepted - first
    result.lost += sum(there.get(position) != record(position) for position in range(first, accepted))
    result.delivered += delivered - place
    result.skipped += max(0, stored - delivered)
    result.repeated += max(0, delivered - stored)
    if store.trouble:
        raise RuntimeError(store.trouble)


def look(directory: Path) -> Store:
    store = Store(directory, SystemClock(), max_bytes=2_000_000_000, history_s=_HISTORY_S)
    store.open()
    return store


def readable(store: Store, first: int) -> dict[int, Batch]:
    """Every record from ``first`` on, by position."""
    found: dict[int, Batch] = {}
    while first < store.head.records:
        piece = store.read(first)
        found.update(enumerate(piece.batches, piece.start.records))
        first = piece.end.records
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--cycles", type=int, default=1000)
    parser.add_argument("--mode", choices=MODES, default="sound")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    generator = random.Random(options.seed)
    result = Result()
    for number in range(options.cycles):
        cycle(options.directory, options.mode, generator, result)
        if number % 10 == 9:
            sys.stderr.write(f"cycle {number + 1} of {options.cycles}\n")
            sys.stderr.flush()
        if options.mode != "sound" and result.lost + result.skipped:
            break  # the control has shown what it is for
    sys.stdout.write(json.dumps(asdict(result)) + "\n")
    return 1 if result.lost + result.skipped else 0


if __name__ == "__main__":
    sys.exit(main())
