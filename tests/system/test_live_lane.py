"""While a long outage is caught up, dashboards still see what is now: the live lane is not held up."""

from __future__ import annotations

import asyncio
import contextlib
import time
from pathlib import Path
from typing import Any

import orjson
import pytest
from paho.mqtt.client import Client, MQTTMessage

from gateway.core.clock import SystemClock
from gateway.core.model import Scan
from gateway.journal.sqlite import SqliteJournal
from gateway.normalise import Normaliser
from tests.support.devices import device, tag
from tests.support.mosquitto import Subscriber
from tests.support.stand import Stand, stand

pytestmark = pytest.mark.system

RECORDS, TAGS = 5_000, 100
P99_S = 2.0


class Dashboard(Subscriber):
    """Remembers how old each live message was when it came. Hears nothing else, so as not to fall behind itself."""

    def __init__(self, port: int) -> None:
        super().__init__(port, "pilot/v1/wuxi/pl1/+/live")
        self.ages_s: list[float] = []

    def _on_message(self, client: Client, userdata: Any, message: MQTTMessage) -> None:
        if (newest_ms := orjson.loads(message.payload)["_time"]) is not None:  # before the first value there is none
            self.ages_s.append(time.time() - newest_ms / 1000)


async def _fill(folder: Path) -> None:
    """A journal as an outage of both sinks leaves it: half a million readings."""
    journal = SqliteJournal(folder, SystemClock(), 1 << 30)
    await journal.open()
    past = device(*(tag(f"t{i}") for i in range(TAGS)), id="past")
    normaliser, index = Normaliser(past, "0ld0ld00"), tuple(range(TAGS))
    began = time.time_ns() - 3_600_000_000_000
    for number in range(RECORDS):
        at = began + number * 100_000_000
        batch = normaliser(Scan(past, index, tuple(number + i / 64 for i in range(TAGS)), None, at, at))
        assert batch
        journal.append(batch)
        if number % 100 == 99:
            await journal.flush()
    await journal.close()


async def _caught_up(line: Stand) -> None:
    """Return when both sinks have all but the last window."""
    async with asyncio.timeout(100):
        while True:
            status = await line.status()
            if all(sink["readings"]["delivered"] >= RECORDS * TAGS - 5_000 for sink in status["sinks"]):
                return
            await asyncio.sleep(0.2)  # it is another process


async def test_the_live_lane_stays_within_two_seconds_during_catch_up(tmp_path: Path) -> None:
    await _fill(tmp_path / "journal")
    async with stand(tmp_path) as line, contextlib.AsyncExitStack() as stack:
        dashboard = Dashboard(line.broker.port)
        await stack.enter_async_context(dashboard)
        gateway = await stack.enter_async_context(line.gateway())
        await gateway.wait_for("the API listens")
        began = time.monotonic()
        await _caught_up(line)
        took_s, ages = time.monotonic() - began, sorted(dashboard.ages_s)
        assert await gateway.stop() == 0
    print(f"{RECORDS * TAGS} readings caught up in {took_s:.1f} s, {len(ages)} live messages, oldest {ages[-1]:.2f} s")  # noqa: T201
    assert len(ages) >= 2 * took_s, "three devices, one message a second each"
    assert ages[int(0.99 * len(ages))] <= P99_S
