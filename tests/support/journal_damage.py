"""Bit rot: a journal's files are damaged in one place; is what can still be read right, and does it go on?

``python -m tests.support.journal_damage DIRECTORY --damages 300`` prints a summary as JSON. The journal is copied while
it is open, so that database and WAL both hold records. Each record's values follow from its position, so a wrong value
is recognised. Each damage is looked at by a process of its own, which may crash or hang without harm to the others.
``--blind`` does not look at checksums: it must read wrong values, or the harness proves nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import random
import select
import shutil
import signal
import sys
import traceback
from dataclasses import asdict, dataclass, field
from pathlib import Path

from gateway.core.clock import SystemClock
from gateway.core.errors import JournalError
from gateway.journal import tables
from gateway.journal.sqlite import SqliteJournal
from tests.support.journal_kill import look, readable, record

FILES = ("journal.db", "journal.db", "journal.db-wal", "journal.db-wal", "high-water")
RECORDS = 600
DEADLINE_S = 8.0


@dataclass(slots=True)
class Verdict:
    """What came of one damage."""

    kind: str
    wrong: int = 0  # records that were read and are not what was written
    missing: int = 0  # records that could not be read any more
    said: bool = False  # the journal reported damage
    refused: str = ""  # why it could not be opened, or did not go on
    crashed: str = ""  # by what, where; or that it hangs


@dataclass(slots=True)
class Result:
    """What came of all of them."""

    damages: int = 0
    kinds: dict[str, int] = field(default_factory=dict)
    wrong: int = 0
    missing: int = 0
    silent: list[str] = field(default_factory=list)  # damages that cost records without a word
    refused: list[str] = field(default_factory=list)
    crashed: list[str] = field(default_factory=list)

    @property
    def kept(self) -> bool:
        return not (self.wrong or self.silent or self.refused or self.crashed)

    def take(self, verdict: Verdict) -> None:
        self.damages += 1
        kind = verdict.kind.split()[0]
        self.kinds[kind] = self.kinds.get(kind, 0) + 1
        self.wrong += verdict.wrong
        self.missing += verdict.missing
        if verdict.missing and not verdict.said:
            self.silent.append(verdict.kind)
        self.refused += filter(None, [verdict.refused])
        self.crashed += filter(None, [verdict.crashed])


async def make(directory: Path, copy: Path) -> None:
    """A journal with records in the database and in its WAL, as kill -9 leaves it."""
    journal = SqliteJournal(directory, SystemClock(), commit_interval_s=0.001, history_s=1e9)
    await journal.open()
    journal.cursor("sink")
    for position in range(RECORDS):
        journal.append(record(position))
        if position % 3 == 2:
            await journal.flush()
    await journal.flush()
    await asyncio.to_thread(shutil.copytree, directory, copy)
    await journal.close()


def spoil(path: Path, generator: random.Random) -> str:
    """Damage one file; says how."""
    data = bytearray(path.read_bytes())
    kind = generator.choice(("flip", "flip", "flip", "flips", "wipe", "cut", "shuffle"))
    if kind == "flip":
        data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    elif kind == "flips":
        for _ in range(20):
            data[generator.randrange(len(data))] ^= 1 << generator.randrange(8)
    elif kind == "wipe":
        start = generator.randrange(len(data)) & ~4095
        data[start : start + 4096] = bytes(len(data[start : start + 4096]))
    elif kind == "cut":
        del data[generator.randrange(len(data)) :]
    elif len(data) > 8192:  # two pages change places
        one, two = (generator.randrange(len(data) // 4096) * 4096 for _ in range(2))
        data[one : one + 4096], data[two : two + 4096] = data[two : two + 4096], data[one : one + 4096]
    path.write_bytes(data)
    return f"{kind} {path.name}"


def judge(directory: Path, kind: str) -> Verdict:
    """Open, read everything, compare; then let a gateway's journal go on from there, twice."""
    verdict = Verdict(kind)
    try:
        store = look(directory)
        there = readable(store, 0)
        verdict.said = bool(store.trouble)
        store.close()
    except (JournalError, OSError) as error:
        verdict.refused = f"{kind}: {error}"
        return verdict
    verdict.wrong = sum(batch != record(position) for position, batch in there.items())
    verdict.missing = sum(position not in there for position in range(RECORDS))
    for _ in range(2):
        if not verdict.refused and (why := asyncio.run(goes_on(directory))):
            verdict.refused = f"{kind}: {why}"
    return verdict


async def goes_on(directory: Path) -> str:
    """A gateway's journal starts on it, takes a record and gives it back; else why not."""
    journal = SqliteJournal(directory, SystemClock(), commit_interval_s=0.001, history_s=1e9)
    try:
        await journal.open()
    except JournalError as error:
        return str(error)
    try:
        cursor = journal.cursor("new")
        position = journal.stats().accepted_records
        journal.append(record(position))
        async with asyncio.timeout(5):
            await journal.flush()
            newest = None
            while newest is None or newest.seq != position:
                window = await cursor.take(1000, 10**9)
                newest = window[-1]
                cursor.commit(len(window))
        return "" if newest == record(position) else f"record {position} came back wrong"
    except TimeoutError:
        return "it does not go on"
    finally:
        await journal.close()


def judge_apart(directory: Path, kind: str) -> Verdict:
    """In a process of its own, with a deadline."""
    listen, tell = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.close(listen)
            os.write(tell, json.dumps(asdict(judge(directory, kind))).encode())
        except BaseException as error:  # noqa: BLE001 - what is wrong with it is the result
            where = traceback.extract_tb(error.__traceback__)[-1]
            crashed = Verdict(kind, crashed=f"{kind}: {error!r} at {Path(where.filename).name}:{where.lineno}")
            os.write(tell, json.dumps(asdict(crashed)).encode())
        finally:
            os._exit(0)
    os.close(tell)
    with os.fdopen(listen, "rb") as told:
        said = told.read() if select.select([told], [], [], DEADLINE_S)[0] else b""
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return Verdict(**json.loads(said)) if said else Verdict(kind, crashed=f"{kind}: it hangs")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("directory", type=Path)
    parser.add_argument("--damages", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--blind", action="store_true")
    options = parser.parse_args()
    logging.getLogger("gateway.journal").setLevel(logging.CRITICAL)
    options.directory.mkdir(parents=True, exist_ok=True)
    sound = options.directory / "sound"
    asyncio.run(make(options.directory / "journal", sound))
    if options.blind:
        tables.Row.sound = True  # type: ignore[assignment, method-assign]
        tables.blob_crc = lambda row, blob: row.blob_crc
    result = Result()
    for number in range(options.damages):
        generator = random.Random(options.seed * 1_000_000 + number)
        directory = options.directory / "damaged"
        shutil.copytree(sound, directory)
        kind = spoil(directory / generator.choice(("journal.db",) if options.blind else FILES), generator)
        result.take(judge_apart(directory, f"{kind} (number {number})"))
        shutil.rmtree(directory)
        if number % 10 == 9:
            sys.stderr.write(f"cycle {number + 1} of {options.damages}\n")
            sys.stderr.flush()
        if options.blind and result.wrong >= 3:
            break  # the control has shown what it is for
    sys.stdout.write(json.dumps(asdict(result)) + "\n")
    return 0 if result.kept else 1


if __name__ == "__main__":
    sys.exit(main())
