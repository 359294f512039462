"""F15, F18, F19 over OPC UA: how soon values come again; see opcua_faults."""

from __future__ import annotations

from pathlib import Path

from tests.prove.opcua_faults import BACK_S, RUNS, measure
from tests.prove.proof import Progress, Proof, Reached

QUICK_RUNS = 1


async def prove(folder: Path, quick: bool, say: Progress) -> Reached:
    runs = QUICK_RUNS if quick else RUNS
    took = await measure(folder, runs, say)
    worst = ", ".join(f"{name.replace('_', ' ')} {max(seconds):.1f} s" for name, seconds in took.items())
    text = f"{runs} of each, values back after at most: {worst}"
    return Reached(text, all(each <= BACK_S for seconds in took.values() for each in seconds))


PROOF = Proof(
    "recovery-opcua",
    "OPC UA server killed, frozen, cut off, with another certificate, its session or subscription deleted",
    "values again ≤ 10 s after the fault ends, no restart",
    prove,
)
