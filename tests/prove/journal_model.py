"""The journal against a list, fifty thousand steps: see tests/support/journal_machine.py."""

from __future__ import annotations

import asyncio
import traceback
from pathlib import Path

from tests.prove.proof import Progress, Proof, Reached
from tests.support.journal_machine import MUTANTS, STEPS, JournalMachine, found, run_machine

TOTAL, QUICK_TOTAL = 50_000, 500
EXAMPLES = 20  # of one round
CONTROL_EXAMPLES = 300


async def prove(folder: Path, quick: bool, say: Progress) -> Reached:
    steps = 0
    while steps < (QUICK_TOTAL if quick else TOTAL):
        try:
            steps += await asyncio.to_thread(run_machine, EXAMPLES, shrink=False)
        except Exception as error:  # noqa: BLE001 - whatever it is, the journal is not what it promises to be
            story = "".join([*traceback.format_exception(error)[-4:], *getattr(error, "__notes__", [])])
            return Reached(f"failed after {steps + JournalMachine.steps:,} steps: {story}", kept=False)
        say(f"{steps:,} steps")
    missed, after = [], []
    for name in MUTANTS:
        say(f"control: {name}")
        if await asyncio.to_thread(found, name, CONTROL_EXAMPLES):
            after.append(f"{name}: found after {JournalMachine.steps:,} steps")
        else:
            missed.append(name)
    return Reached(
        f"{steps:,} steps, in sequences of at most {STEPS}: each account and each record as in the list",
        True,
        "; ".join([*after, *(f"{name}: NOT FOUND" for name in missed)]),
        not missed,
    )


PROOF = Proof(
    "journal-model",
    "the journal against a list: append, deliver, dead letters, crash, power cut, rot, full, restart in any order",
    "≥ 50,000 steps without a difference",
    prove,
)
