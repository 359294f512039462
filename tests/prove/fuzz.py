"""Wrong answers of Modbus instruments, by the million: see modbus_fuzz."""

from __future__ import annotations

import asyncio
from pathlib import Path

from tests.prove import modbus_fuzz
from tests.prove.proof import Progress, Proof, Reached

ANSWERS, QUICK_ANSWERS = 1_000_000, 20_000
GROWTH_KB = 2048


async def prove(folder: Path, quick: bool, say: Progress) -> Reached:
    result = await asyncio.to_thread(modbus_fuzz.run, QUICK_ANSWERS if quick else ANSWERS)
    text = (
        f"{result.answers:,} answers in {result.seconds:.0f} s: {result.right:,} right, {result.refused:,} refused, "
        f"{result.collided} RTU checksums right by chance, {len(result.wrong)} wrong values; "
        f"memory grew by {result.grown_kb:,} kB"
    )
    by_chance = result.collided <= 3 + result.answers // 65_536
    kept = not result.wrong and by_chance and result.grown_kb <= GROWTH_KB and result.right > 0
    return Reached("; ".join([text, *result.wrong[:3]]), kept)


PROOF = Proof("fuzz-modbus", "answers of Modbus instruments that are wrong in every way", "1 M, 0 wrong values", prove)
