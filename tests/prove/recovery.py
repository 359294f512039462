"""F2, F3, D1, D2: each connection refused, silent, reset or cut for a while, one after the other; how soon is it back?

A TCP proxy stands before the instruments, the broker and the database each. Recovered means for a sink: everything
that was accepted when the fault ended is delivered; for the instruments: every unit has answered again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

from tests.prove.gateway_kill import unbroken
from tests.prove.proof import Progress, Proof, Reached
from tests.support.proxy import Proxy
from tests.support.stand import Stand, stand

HOLD_S, QUICK_HOLD_S = 14.0, 4.0
RECOVERED_S = 10.0
TIMEOUT_S = 2.0  # of the instruments

Fault = Callable[[Proxy, float], Awaitable[None]]


async def refused(proxy: Proxy, hold_s: float) -> None:
    await proxy.refuse()
    await asyncio.sleep(hold_s)
    await proxy.accept()


async def silent(proxy: Proxy, hold_s: float) -> None:
    proxy.blackhole()
    await asyncio.sleep(hold_s)
    proxy.reset()  # as when the way comes back with nobody who knows the old connections
    proxy.pass_on()


async def reset(proxy: Proxy, hold_s: float) -> None:
    end = time.monotonic() + hold_s
    while time.monotonic() < end:
        proxy.reset()
        await asyncio.sleep(0.2)


async def cut(proxy: Proxy, hold_s: float) -> None:
    end = time.monotonic() + hold_s
    while time.monotonic() < end:
        proxy.cut_after(100)
        await asyncio.sleep(0.5)
    proxy.pass_on()


FAULTS: tuple[Fault, ...] = (refused, silent, reset, cut)


async def recovered(line: Stand, where: str) -> float:
    """Seconds until it is."""
    begin = time.monotonic()
    if where == "modbus":
        await line.answered(1)
    else:
        wanted = (await line.readings_of(where))["accepted"]
        while (await line.readings_of(where))["delivered"] < wanted:
            assert time.monotonic() - begin < 60, f"{where} is not back after 60 s"
            await asyncio.sleep(0.05)
    return time.monotonic() - begin


async def prove(folder: Path, quick: bool, say: Progress) -> Reached:
    worst: dict[str, float] = {}
    async with AsyncExitStack() as stack:
        line = await stack.enter_async_context(stand(folder))
        line.timeout_s = TIMEOUT_S
        proxies = {
            "modbus": Proxy(line.modbus.port),
            "mqtt": Proxy(line.broker.port),
            "influxdb": Proxy(line.database.port),
        }
        for where, proxy in proxies.items():
            await proxy.accept()
            stack.push_async_callback(proxy.close)
            line.through[where] = proxy.port
        async with line.gateway() as gateway:
            await line.answered(3)
            for where, proxy in proxies.items():
                for fault in FAULTS:
                    say(f"{where} {fault.__name__}")
                    await fault(proxy, QUICK_HOLD_S if quick else HOLD_S)
                    worst[f"{where} {fault.__name__}"] = await recovered(line, where)
            await line.drained()
            starts = len({message["boot"] for message in line.messages()})
            journal = (await line.status())["journal"]
            assert await gateway.stop() == 0
        messages = line.messages()
        published = len({(m["device"], m["boot"], m["seq"]) for m in messages})
        points = {key: set(rows) for key, rows in (await line.in_database()).items()}
        missing = sum(len(set(rows) - points.get(key, set())) for key, rows in line.in_mqtt().items())
        # what an instrument said while its connection was cut never came: only the numbers of messages are unbroken
        faults = [each for each in unbroken(messages) if "answers left out" not in each]
    slowest = max(worst, key=lambda name: worst[name])
    lost = journal["accepted_records"] - published
    text = (
        f"{len(worst)} faults of {QUICK_HOLD_S if quick else HOLD_S:g} s ({', '.join(f.__name__ for f in FAULTS)}; "
        f"{', '.join(proxies)}): back after at most {worst[slowest]:.1f} s ({slowest}), {starts} start, "
        f"{lost} records lost, {missing} readings missing in the database"
    )
    kept = worst[slowest] <= RECOVERED_S and starts == 1 and not (lost or missing or faults)
    return Reached("; ".join([text, *faults[:3]]), kept)


PROOF = Proof(
    "recovery",
    "connections to instruments, broker and database refused, silent, reset, cut",
    "back ≤ 10 s after the fault ends, no restart, nothing accepted lost",
    prove,
)
