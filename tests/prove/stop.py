"""M7: told to stop with everything waiting; and stopped with nothing waiting, nothing comes twice after the next start.

Broker and database are away, or frozen so that writes are under way and never acknowledged.
"""

from __future__ import annotations

import signal
import time
from collections import Counter
from pathlib import Path

from tests.prove.gateway_kill import unbroken
from tests.prove.proof import Progress, Proof, Reached
from tests.support.stand import TAGS, Stand, stand
from tests.support.waiting import until

STOPS, QUICK_STOPS = 10, 2
EXIT_S = 5.0
BACKLOG = 20 * TAGS  # readings that wait when it is told to stop


async def stop_with_backlog(line: Stand, *, frozen: bool) -> tuple[float, int]:
    """Seconds until the exit, and how many records had been accepted before."""
    async with line.gateway() as gateway:
        await line.answered(2)
        if frozen:
            line.broker.freeze()
            line.database.freeze()
        else:
            await line.broker.stop()
            line.database.freeze()
        for sink in ("mqtt", "influxdb"):
            await line.pending(sink, lambda readings: readings > BACKLOG)
        accepted = (await line.status())["journal"]["accepted_records"]
        told = time.monotonic()
        gateway.send(signal.SIGTERM)
        code = await gateway.wait_ended(20)
        took = time.monotonic() - told
        assert code == 0, f"exit code {code} after SIGTERM:\n{gateway.output[-2000:]}"
    line.database.thaw()
    if frozen:
        line.broker.thaw()
    else:
        await line.broker.start()
    return took, accepted


async def sent_again_after_clean_stop(line: Stand) -> int:
    """Records of the life before that come once more after a clean stop and a start."""
    async with line.gateway() as gateway:
        await line.answered(3)
        await line.drained()
        assert await gateway.stop() == 0
    before = Counter((m["device"], m["boot"], m["seq"]) for m in line.messages())
    points = sum(map(len, (await line.in_database()).values()))
    boots = {boot for _, boot, _ in before}
    async with line.gateway() as gateway:
        # the instruments stay away: each is told to be so in one record, which comes after all that is older
        await until(lambda: {m["boot"] for m in line.messages()} - boots, "a record of the new life", 30)
        await line.drained()
        assert await gateway.stop() == 0
    after = Counter((m["device"], m["boot"], m["seq"]) for m in line.messages() if m["boot"] in boots)
    again = sum((after - before).values())
    return again + sum(map(len, (await line.in_database()).values())) - points


async def prove(folder: Path, quick: bool, say: Progress) -> Reached:
    stops = QUICK_STOPS if quick else STOPS
    took, faults, accepted = [], list[str](), 0
    async with stand(folder) as line:
        for number in range(stops):
            seconds, accepted = await stop_with_backlog(line, frozen=number % 2 == 0)
            took.append(seconds)
            say(f"stop {number + 1} of {stops}")
        again = await sent_again_after_clean_stop(line)
        messages = line.messages()
        published = len({(m["device"], m["boot"], m["seq"]) for m in messages})
        faults += unbroken(messages)
        points = {key: set(rows) for key, rows in (await line.in_database()).items()}
        missing = sum(len(set(rows) - points.get(key, set())) for key, rows in line.in_mqtt().items())
    lost = max(0, accepted - published)
    text = (
        f"{stops} stops with more than {BACKLOG:,} readings waiting for each sink: exit after at most "
        f"{max(took):.1f} s, {lost} records lost, {missing} readings missing in the database; "
        f"after a clean stop and a start {again} records sent again"
    )
    return Reached("; ".join([text, *faults]), max(took) <= EXIT_S and not (lost or missing or again or faults))


PROOF = Proof(
    "stop",
    "SIGTERM with a full queue; a clean stop and a start",
    "exit ≤ 5 s, nothing accepted lost; nothing sent again",
    prove,
)
