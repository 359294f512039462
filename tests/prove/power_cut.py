"""M2: the power is cut while the journal writes; an ext4 image that is shut down stands for the disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.prove.harness import run_harness
from tests.prove.proof import NotPossible, Progress, Proof, Reached

CYCLES, QUICK_CYCLES = 200, 10
CONTROL_CYCLES = 20


async def prove(folder: Path, quick: bool, say: Progress) -> Reached:
    async def cut(mode: str, cycles: int) -> dict[str, Any]:
        arguments = (str(folder / mode), "--cycles", str(cycles), "--mode", mode)
        result = await run_harness("tests.support.power_cut", *arguments, say=say, what=f"{mode}: ")
        if result["reason"]:
            raise NotPossible(result["reason"])
        return result

    sound = await cut("sound", QUICK_CYCLES if quick else CYCLES)
    weak = await cut("normal", CONTROL_CYCLES)
    return Reached(
        f"{sound['cycles']} power cuts, {sound['accepted']:,} records accepted before them, {sound['lost']} lost, "
        f"{sound['trouble']} journals damaged",
        sound["lost"] == sound["trouble"] == 0 < sound["accepted"],
        f"synchronous=NORMAL: {weak['lost']:,} of {weak['accepted']:,} records lost in "
        f"{weak['cuts_with_loss']} of {weak['cycles']} cuts",
        weak["lost"] > 0,
    )


PROOF = Proof("power-cut", "power cuts", "200 cuts, 0 accepted readings lost; the control must fail", prove)
