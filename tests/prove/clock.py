"""T1: the wall clock steps by an hour and to 1970 while the gateway reads; the schedule stays and nothing is lost.

The clock is that of tests/support/wall_clock.c, which leaves the monotonic clock alone. The control lets that one step
too: polls must stop. Not libfaketime: it also replaces timed waits, and so the interpreter lock, for which threads then
wait ten times as long.
"""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from tests.prove.gateway_kill import unbroken
from tests.prove.proof import NotPossible, Progress, Proof, Reached
from tests.support.stand import PERIOD_S, Stand, stand

HOUR = 3600
SOURCE = Path(__file__).parents[1] / "support" / "wall_clock.c"
GAP_S = 1.0  # the longest pause between two polls of 0.1 s that counts as the schedule kept, on a busy machine


def build(folder: Path) -> Path:
    """The library that goes before the C library of a process."""
    library = folder / "wall_clock.so"
    if shutil.which("cc") is None:
        raise NotPossible("no C compiler is installed (apt-get install gcc)")
    command = ["cc", "-Wall", "-Wextra", "-Werror", "-O1", "-shared", "-fPIC", "-o", str(library), str(SOURCE), "-ldl"]
    built = subprocess.run(command, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return library


def environment(library: Path, clock: Path, *, monotonic_too: bool = False) -> dict[str, str]:
    more = {"WALL_CLOCK_MONOTONIC_TOO": "1"} if monotonic_too else {}
    return {"LD_PRELOAD": str(library), "WALL_CLOCK": str(clock), **more}


def turn(clock: Path, offset_s: int) -> None:
    """The clock is off by so much from now on; written in place, for it is read where it lies."""
    with clock.open("r+b" if clock.exists() else "wb", buffering=0) as file:
        file.write(offset_s.to_bytes(8, sys.byteorder, signed=True))


def longest_gap(line: Stand, since: float) -> float:
    """Between two polls of one unit, in seconds."""
    gaps = [
        after - before
        for times in line.modbus.times_s.values()
        for before, after in pairwise([time for time in times if time >= since])
    ]
    return max(gaps, default=float("inf"))


async def steps(line: Stand, library: Path, offsets: Sequence[int], hold_s: float) -> tuple[float, float]:
    """Longest pause between two polls before the steps, and from the first step on."""
    clock = line.folder / "clock"
    turn(clock, 0)
    async with line.gateway(env=environment(library, clock)) as gateway:
        await line.answered(10)
        begin = time.monotonic()
        await line.answered(int(hold_s / PERIOD_S))
        before, begin = longest_gap(line, begin), time.monotonic()
        for offset in offsets:
            turn(clock, offset)
            await line.answered(int(hold_s / PERIOD_S))
        gap = longest_gap(line, begin)
        await line.drained()
        assert await gateway.stop() == 0, gateway.output[-2000:]
    return before, gap


async def polls_with_monotonic_stepping(line: Stand, library: Path) -> int:
    """Polls within two seconds of a step back of both clocks."""
    clock = line.folder / "clock"
    turn(clock, 0)
    async with line.gateway(env=environment(library, clock, monotonic_too=True)) as gateway:
        await line.answered(3)
        turn(clock, -HOUR)
        await asyncio.sleep(1)  # until what was already due is done
        before = sum(line.modbus.answers.values())
        await asyncio.sleep(2)
        await gateway.kill()
    return sum(line.modbus.answers.values()) - before


async def prove(folder: Path, quick: bool, say: Progress) -> Reached:
    library = await asyncio.to_thread(build, folder)
    sound, broken = folder / "sound", folder / "control"
    sound.mkdir()
    broken.mkdir()
    offsets = [
        HOUR,
        0,
        -HOUR,
        5 - int(time.time()),
        0,
        *([] if quick else [-HOUR, HOUR, 5 - int(time.time()), HOUR, 0]),
    ]
    async with stand(sound) as line:
        say(f"{len(offsets)} steps")
        before, gap = await steps(line, library, offsets, 2.5 if quick else 4.0)
        messages = line.messages()
        faults = unbroken(messages)
        points = {key: set(rows) for key, rows in (await line.in_database()).items()}
        missing = sum(len(set(rows) - points.get(key, set())) for key, rows in line.in_mqtt().items())
        times = [message["time"] for message in messages]
        saw = max(times) - min(times) > 1000 * time.time() / 2  # 1970 was really there
    async with stand(broken) as line:
        say("control")
        polls = await polls_with_monotonic_stepping(line, library)
    text = (
        f"{len(offsets)} steps of the wall clock (±1 h, 1970): longest pause between two polls {gap:.2f} s "
        f"({before:.2f} s without steps, the period is {PERIOD_S:g} s), {missing} readings missing, "
        f"{len(faults)} gaps in the sequence" + ("" if saw else "; the faked clock was not seen")
    )
    kept = gap <= GAP_S and not missing and not faults and saw
    return Reached("; ".join([text, *faults[:3]]), kept, f"monotonic clock steps too: {polls} polls in 2 s", polls == 0)


PROOF = Proof("clock", "wall clock steps by ±1 h and to 1970", "the schedule stays, nothing lost", prove)
