"""M1 and M2 without chance: a journal's life is ended at each of the calls by which it changes the disk, one by one."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.prove.proof import NotPossible, Progress, Proof, Reached
from tests.support.journal_kill import look, readable, record
from tests.support.journal_life import GROUPS, RECORDS
from tests.support.strace import NotAllowed, run_killed_at, write_calls

QUICK_POINTS = 6
AT_ONCE = 2


@dataclass(slots=True)
class Found:
    """What the lives left behind."""

    points: int = 0
    kills: int = 0
    accepted: int = 0
    lost: int = 0  # accepted, but missing or wrong
    skipped: int = 0  # passed by the stored cursor, though never delivered
    faults: int = 0  # journals that reported damage, or could not go on


async def prove(folder: Path, quick: bool, say: Progress) -> Reached:
    try:
        calls = await write_calls(folder / "trace", *_life(folder / "unharmed"))
        points = [(call, number) for call, most in sorted(calls.items()) for number in range(1, most + 1)]
        if quick:
            points = points[:: max(1, len(points) // QUICK_POINTS)]
        found = await kill_at(folder / "sound", points, say)
        control = await kill_at(folder / "control", [("pwrite64", n) for n in range(20, 50, 7)], say, "--early")
    except NotAllowed as error:
        raise NotPossible(str(error)) from error
    return Reached(
        f"{found.kills} kills at {found.points} calls ({', '.join(f'{n} {call}' for call, n in calls.most_common())}), "
        f"{found.accepted:,} records accepted, {found.lost} lost, {found.skipped} skipped by a cursor, "
        f"{found.faults} journals that could not go on",
        not (found.lost or found.skipped or found.faults) and found.kills > len(points) // 2,
        f"accepted before the commit: {control.lost} lost in {control.kills} kills",
        control.lost > 0,
    )


async def kill_at(folder: Path, points: list[tuple[str, int]], say: Progress, *options: str) -> Found:
    """One life per point, a few at once."""
    found = Found()
    free = asyncio.Semaphore(AT_ONCE)

    async def one(call: str, number: int) -> None:
        async with free:
            directory = folder / f"{call}-{number}"
            done = await run_killed_at(call, number, *_life(directory), *options)
            _look(directory, done.stdout, found, killed=done.code != 0)
            say(f"{' '.join((*options, call))} {found.points} of {len(points)}")

    async with asyncio.TaskGroup() as tasks:
        for point in points:
            tasks.create_task(one(*point))
    return found


def _life(directory: Path) -> tuple[str, ...]:
    return (sys.executable, "-m", "tests.support.journal_life", str(directory))


def _look(directory: Path, said: str, found: Found, *, killed: bool) -> None:
    told = [line.split() for line in said.splitlines() if not line.startswith("end")]
    accepted = max((int(line[1]) for line in told if line[0] == "a"), default=0)
    delivered = max((int(line[1]) for line in told if line[0] == "d"), default=0)
    store = look(directory)
    there = readable(store, 0)
    stored = store.found["sink"].place.records if store.found else 0
    store.close()
    found.points += 1
    found.kills += killed
    found.accepted += accepted
    found.lost += sum(there.get(position) != record(position) for position in range(accepted))
    found.skipped += max(0, stored - delivered)
    again = look(directory)  # and it can be opened again
    again.close()
    found.faults += bool(store.trouble) or bool(again.trouble) or len(there) > GROUPS * RECORDS


PROOF = Proof(
    "system-calls",
    "kill -9 at every system call by which the journal changes the disk",
    "every write-class call, 0 accepted readings lost",
    prove,
)
