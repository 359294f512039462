"""M5 and M6: flipped bits, wiped pages and cut-off files of a journal; what is delivered is right, whatever is left."""

from __future__ import annotations

from pathlib import Path

from tests.prove.harness import run_harness
from tests.prove.proof import Progress, Proof, Reached
from tests.support.journal_damage import RECORDS

DAMAGES, QUICK_DAMAGES = 300, 60
CONTROL_DAMAGES = 300


async def prove(folder: Path, quick: bool, say: Progress) -> Reached:
    harness, damages = "tests.support.journal_damage", QUICK_DAMAGES if quick else DAMAGES
    found = await run_harness(harness, str(folder / "found"), "--damages", str(damages), say=say)
    blind = ("--blind", "--damages", str(CONTROL_DAMAGES))
    control = await run_harness(harness, str(folder / "blind"), *blind, say=say, what="blind: ")
    kinds = ", ".join(f"{count} × {kind}" for kind, count in sorted(found["kinds"].items()))
    text = (
        f"{found['damages']} damages ({kinds}): {found['wrong']} wrong records read, {found['missing']:,} of "
        f"{found['damages'] * RECORDS:,} unreadable, {len(found['silent'])} times without a word; "
        f"{len(found['refused'])} journals did not go on, {len(found['crashed'])} crashed or hung"
    )
    faults = [*found["silent"], *found["refused"], *found["crashed"]]
    return Reached(
        "; ".join([text, *faults[:8]]),
        not (found["wrong"] or faults),
        f"checksums not looked at: {control['wrong']} wrong records read in {control['damages']} damages",
        control["wrong"] > 0,
    )


PROOF = Proof(
    "damage",
    "bit flips, wiped pages and truncations of the journal's files",
    "0 wrong values delivered, every start succeeds, nothing missing in silence",
    prove,
)
