"""T1: the wall clock steps by an hour and to 1970 while the gateway reads; the schedule stays and nothing is lost.

The clock is libfaketime's, which leaves the monotonic clock alone. The control lets that one step too: polls must stop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from tests.prove.gateway_kill import unbroken
from tests.prove.proof import NotPossible, Progress, Proof, Reached
from tests.support.stand import PERIOD_S, Stand, stand

HOUR = 3600
CACHE_S = 1  # how long libfaketime takes to notice a step
GAP_S = 2.0  # the longest pause between two polls of 0.1 s that counts as the schedule kept, on a busy machine


def preload() -> Path:
    """libfaketime; the package is faketime."""
    for folder in Path("/usr/lib").glob("*-linux-gnu/faketime"):
        if (folder / "libfaketimeMT.so.1").exists():
            return folder / "libfaketimeMT.so.1"
    raise NotPossible("libfaketime is not installed (apt-get install faketime)")


def environment(clock: Path, *, monotonic_too: bool = False) -> dict[str, str]:
    return {
        "LD_PRELOAD": str(preload()),
        "FAKETIME_TIMESTAMP_FILE": str(clock),
        "FAKETIME_CACHE_DURATION": str(CACHE_S),
        "FAKETIME_DONT_FAKE_MONOTONIC": "0" if monotonic_too else "1",
    }


def turn(clock: Path, offset_s: int) -> None:
    """The wall clock is off by so much from now on."""
    new = clock.with_suffix(".new")
    new.write_text(f"{offset_s:+d}\n")
    new.replace(clock)


def longest_gap(line: Stand, since: float) -> float:
    """Between two polls of one unit, in seconds."""
    gaps = [
        after - before
        for times in line.modbus.times_s.values()
        for before, after in pairwise([time for time in times if time >= since])
    ]
    return max(gaps, default=float("inf"))


async def steady(line: Stand) -> None:
    """Return when polls come in time: libfaketime makes the first half minute of a process slow, steps or not."""
    for _ in range(20):
        begin = time.monotonic()
        await line.answered(10)
        if time.monotonic() - begin < 20 * PERIOD_S:
            return
    raise AssertionError("the polls never came in time, before any step")


async def steps(line: Stand, offsets: Sequence[int], hold_s: float) -> tuple[float, float]:
    """Longest pause between two polls before the steps, and from the first step on."""
    clock = line.folder / "clock"
    turn(clock, 0)
    async with line.gateway(env=environment(clock)) as gateway:
        await steady(line)
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


async def polls_with_monotonic_stepping(line: Stand) -> int:
    """Polls within two seconds of a step back of both clocks."""
    clock = line.folder / "clock"
    turn(clock, HOUR)
    async with line.gateway(env=environment(clock, monotonic_too=True)) as gateway:
        await line.answered(3)
        turn(clock, 0)
        await asyncio.sleep(CACHE_S + 1)  # until it is noticed, and what was already due is done
        before = sum(line.modbus.answers.values())
        await asyncio.sleep(2)
        await gateway.kill()
    return sum(line.modbus.answers.values()) - before


async def prove(folder: Path, quick: bool, say: Progress) -> Reached:
    preload()
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
        before, gap = await steps(line, offsets, 2.5 if quick else 4.0)
        messages = line.messages()
        faults = unbroken(messages)
        points = {key: set(rows) for key, rows in (await line.in_database()).items()}
        missing = sum(len(set(rows) - points.get(key, set())) for key, rows in line.in_mqtt().items())
        times = [message["time"] for message in messages]
        saw = max(times) - min(times) > 1000 * time.time() / 2  # 1970 was really there
    async with stand(broken) as line:
        say("control")
        polls = await polls_with_monotonic_stepping(line)
    text = (
        f"{len(offsets)} steps of the wall clock (±1 h, 1970): longest pause between two polls {gap:.2f} s "
        f"({before:.2f} s without steps, the period is {PERIOD_S:g} s), {missing} readings missing, "
        f"{len(faults)} gaps in the sequence" + ("" if saw else "; the faked clock was not seen")
    )
    kept = gap <= max(GAP_S, 3 * before) and not missing and not faults and saw
    return Reached("; ".join([text, *faults[:3]]), kept, f"monotonic clock steps too: {polls} polls in 2 s", polls == 0)


PROOF = Proof("clock", "wall clock steps by ±1 h and to 1970", "the schedule stays, nothing lost", prove)
