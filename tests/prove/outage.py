"""D1: a day without network, and after it. 3.6 million readings wait in the journal; both sinks come back at once.

The backlog is an hour of 1,000 values/s, made by the journal's own code as fast as it goes; bytes on the disk are
measured and stand for 24 hours. Then the gateway starts on it: a farm of instruments gives 1,000 values/s live while
the backlog leaves. How old the live lane's values are when a subscriber has them is measured all the while.
"""

from __future__ import annotations

import asyncio
import random
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import orjson
import yaml

from gateway.core.clock import SystemClock
from gateway.core.model import Batch, Shape
from gateway.core.text import render, shortest_float32
from gateway.journal.sqlite import SqliteJournal
from tests.bench.measure import percentile
from tests.bench.scenario import PREFIX, Scenario, gateway_config, line_config
from tests.bench.servers import mosquitto, stored_values, victoria_metrics
from tests.prove.proof import Progress, Proof, Reached
from tests.support.journal_batches import source
from tests.support.mosquitto import Subscriber
from tests.support.processes import free_port, gateway_command, run_process

LIVE = Scenario("live", devices=10, tags=100, rate_hz=1, seconds=0)  # 1,000 values/s
READINGS, QUICK_READINGS = 3_600_000, 360_000
TAGS = 100
DAY_BYTES, DAY_READINGS = 2.5e9, 86_400_000
FACTOR = 20  # catch-up over live
LIVE_S = 2.0


async def fill(directory: Path, readings: int, say: Progress) -> float:
    """A journal with so many readings that neither sink has; bytes per reading on the disk."""
    journal = SqliteJournal(directory, SystemClock(), commit_interval_s=0.01)
    await journal.open()
    for sink in ("mqtt", "influxdb"):
        journal.cursor(sink)
    await journal.flush()
    empty = journal.stats().bytes
    generator = random.Random(1)
    shapes = [Shape(source(f"outage-{i}", TAGS), tuple(range(TAGS))) for i in range(LIVE.devices)]
    levels = [[generator.uniform(10, 100) for _ in range(TAGS)] for _ in shapes]
    count = readings // TAGS
    begin_ns = time.time_ns() - (count // len(shapes) + 60) * 1_000_000_000
    for number in range(count):
        device, seconds = number % len(shapes), number // len(shapes)
        levels[device] = [value + generator.gauss(0, 0.1) for value in levels[device]]
        values = tuple(shortest_float32(levels[device]))
        at = begin_ns + seconds * 1_000_000_000 + device * 1_000_000
        journal.append(Batch(shapes[device], values, render(values), None, at, at + 8_000_000, seconds + 1, "0badcafe"))
        if number % 10 == 9:  # a second of the line: what one commit holds at this rate
            await journal.flush()
            say(f"filling: {number * TAGS:,} of {readings:,}")
    await journal.flush()
    size = journal.stats().bytes - empty
    await journal.close()
    return size / readings


def farm(folder: Path) -> Any:
    """1,000 values/s of instruments, as a process of its own."""
    command = ("--devices", str(LIVE.devices), "--tags", str(LIVE.tags), "--output", str(folder / "farm.json"))
    return run_process(sys.executable, "-m", "tests.bench.farm", *command, ready="^ready", name="farm", deadline_s=60)


def configure(folder: Path, ports: list[int], *, api: int, mqtt: int, influx: int) -> Path:
    (folder / "lines").mkdir()
    journal = str(folder / "journal")
    gateway = gateway_config(LIVE, journal=journal, api_port=api, mqtt_port=mqtt, influx_port=influx)
    (folder / "lines" / "farm.yaml").write_text(yaml.safe_dump(line_config(LIVE, ports)))
    (folder / "gateway.yaml").write_text(yaml.safe_dump(gateway))
    return folder / "gateway.yaml"


async def sinks_of(client: httpx.AsyncClient, api: int) -> dict[str, dict[str, int]]:
    """By sink: its account in readings."""
    status = (await client.get(f"http://127.0.0.1:{api}/api/v1/status")).raise_for_status().json()
    return {sink["sink"]: sink["readings"] for sink in status["sinks"]}


async def prove(folder: Path, quick: bool, say: Progress) -> Reached:
    readings = QUICK_READINGS if quick else READINGS
    each = await fill(folder / "journal", readings, say)
    ages: list[float] = []
    took: dict[str, float] = {}
    async with mosquitto(folder) as (_, mqtt), victoria_metrics(folder) as (_, influx), farm(folder) as farming:
        ports = [int(port) for port in (await farming.wait_for(r"^ready (.*)"))[1].split()]
        api = free_port()
        config = configure(folder, ports, api=api, mqtt=mqtt, influx=influx)
        async with Subscriber(mqtt, f"{PREFIX}/+/+/+/live") as subscriber, httpx.AsyncClient(trust_env=False) as client:
            watching = asyncio.create_task(watch(subscriber, ages))
            begin = time.monotonic()
            async with run_process(*gateway_command("serve", "--config", str(config)), ready="API listens") as gateway:
                begin = time.monotonic()
                first = await sinks_of(client, api)
                while len(took) < 2:
                    await asyncio.sleep(0.2)
                    for name, account in (await sinks_of(client, api)).items():
                        assert account["accepted"] == sum(
                            account[k] for k in ("delivered", "pending", "dropped", "dead")
                        )
                        if account["delivered"] >= readings and name not in took:
                            took[name] = time.monotonic() - begin
                        say(f"{name}: {account['delivered']:,} delivered of {account['accepted']:,}")
                    assert time.monotonic() - begin < 600, f"not caught up after 600 s: {took}"
                aged = list(ages)
                await gateway.stop()
            watching.cancel()
            await asyncio.wait([watching])
        stored = await stored_values(influx, within="1d")
    per_s = {name: (readings - first[name]["delivered"]) / seconds for name, seconds in took.items()}
    slowest, p99 = min(per_s.values()), percentile(aged, 0.99)
    day_gb = each * DAY_READINGS / 1e9
    text = (
        f"{readings:,} readings take {each:.1f} B each: {day_gb:.2f} GB a day at 1,000/s; caught up at "
        f"{', '.join(f'{rate:,.0f}/s ({name})' for name, rate in sorted(per_s.items()))} with 1,000/s live: "
        f"{slowest / LIVE.values_per_s:.0f} × live; live lane p99 {p99:.2f} s old of {len(aged)} messages; "
        f"{stored:,} points in the database"
    )
    kept = (
        each * DAY_READINGS <= DAY_BYTES
        and slowest >= FACTOR * LIVE.values_per_s
        and p99 <= LIVE_S
        and len(aged) >= LIVE.devices
        and stored >= readings
    )
    return Reached(text, kept)


async def watch(subscriber: Subscriber, ages: list[float]) -> None:
    """How old is each live message when it comes, in seconds, counted from the newest value in it?"""
    seen = 0
    while True:
        now, heard = time.time(), len(subscriber.heard)
        for message in subscriber.heard[seen:heard]:
            at = orjson.loads(message.payload).get("_time") if message.payload else None
            if at:
                ages.append(now - at / 1000)
        seen = heard
        await asyncio.sleep(0.02)


PROOF = Proof(
    "outage",
    "an outage of 3.6 M readings and the catch-up, both sinks",
    "≤ 2.5 GB for 24 h at 1,000 values/s; ≥ 20 × live rate; live p99 ≤ 2 s meanwhile",
    prove,
)
