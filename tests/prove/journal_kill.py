"""M1 at the level of the journal: the process that appends is killed at random moments, a thousand times."""

from __future__ import annotations

from pathlib import Path

from tests.prove.harness import run_harness
from tests.prove.proof import Progress, Proof, Reached

CYCLES, QUICK_CYCLES = 1_000, 30


async def prove(folder: Path, quick: bool, say: Progress) -> Reached:
    async def kill(mode: str, cycles: int) -> dict[str, int]:
        arguments = (str(folder / mode), "--cycles", str(cycles), "--mode", mode)
        return await run_harness("tests.support.journal_kill", *arguments, say=say, what=f"{mode}: ")

    sound = await kill("sound", QUICK_CYCLES if quick else CYCLES)
    early = await kill("early", 200)
    first = await kill("cursor-first", 200)
    return Reached(
        f"{sound['cycles']:,} kills, {sound['accepted']:,} records accepted, {sound['lost']} lost; "
        f"{sound['delivered']:,} delivered, {sound['skipped']} skipped by a cursor, {sound['repeated']} sent again",
        sound["lost"] == sound["skipped"] == 0 < sound["accepted"],
        f"accepted before the commit: {early['lost']} lost in {early['cycles']} kills; "
        f"cursor before the delivery: {first['skipped']} skipped in {first['cycles']}",
        early["lost"] > 0 and first["skipped"] > 0,
    )


PROOF = Proof("journal-kill", "kill -9 of the journal", "1,000 cycles, 0 accepted readings lost", prove)
