"""The whole way from an OPC UA server: node-opcua counts, the gateway subscribes, every count has to arrive once.

Every item is a counter that rises by one with each change, so what is missing or comes twice shows in the numbers
themselves, whatever the messages look like.
"""

from __future__ import annotations

import asyncio
import json
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.harness import count_messages, everything_arrives, first_values, gateway_metrics, write_config
from tests.bench.measure import Usage, calibration_ns, percentile, usage
from tests.bench.scenario import LINE, Scenario, gateway_config
from tests.bench.servers import mosquitto, stored_values, victoria_metrics
from tests.support.opcua_foreign import URI, foreign_server
from tests.support.processes import free_port, gateway_command, run_process

DEVICE = "plc"
WARM_UP_S = 5.0


@dataclass(frozen=True, slots=True)
class OpcUaResult:
    """What one run gave."""

    items: int
    interval_s: float
    window_s: float
    heard: int  # values within the window
    arrived: int  # of the whole run
    stored: int
    missing: int  # counts between the first and the last of an item that never came
    twice: int
    bad: int
    overflows: float  # the server's own queue was too short
    used: Usage
    latency_ms: tuple[float, float]  # p50, p99, from the source's time to the subscriber
    first_value_s: float
    calibration_ns: float

    @property
    def us_per_value(self) -> float:
        return self.used.cpu_s / self.heard * 1e6 if self.heard else float("nan")

    def __str__(self) -> str:
        turns = self.us_per_value * 1000 / self.calibration_ns
        rows = [
            ("scenario", f"opcua: {self.items} counters @ {1 / self.interval_s:g} Hz, subscribed → mqtt + influxdb"),
            ("values/s", f"{self.heard / self.window_s:,.0f} of {self.items / self.interval_s:,.0f} asked for"),
            ("arrived / stored", f"{self.arrived:,} / {self.stored:,}"),
            ("missing / twice", f"{self.missing:,} / {self.twice:,}"),
            ("bad / overflows", f"{self.bad:,} / {self.overflows:.0f}"),
            ("CPU per value", f"{self.us_per_value:.2f} µs = {turns:.1f} turns of the calibration loop"),
            ("CPU", f"{self.used.cpu_s / self.window_s:.3f} core"),
            ("memory", f"{self.used.rss_mb:.0f} MB"),
            ("latency p50/p99", f"{self.latency_ms[0]:.1f}/{self.latency_ms[1]:.1f} ms from the source's time"),
            ("first value", f"{self.first_value_s:.2f} s after the start"),
            ("calibration", f"{self.calibration_ns:.0f} ns a turn"),
        ]
        return "\n".join(f"{name:<18}  {text}" for name, text in rows)


async def measure(items: int, interval_s: float, seconds: float, directory: Path) -> OpcUaResult:
    """Run it once; files and journal go to the directory."""
    calibration = calibration_ns()
    async with AsyncExitStack() as stack:
        broker, mqtt_port = await stack.enter_async_context(mosquitto(directory))
        _, influx_port = await stack.enter_async_context(victoria_metrics(directory))
        server = await stack.enter_async_context(foreign_server(counters=items, counterMs=round(interval_s * 1000)))
        listener = await stack.enter_async_context(count_messages(mqtt_port, directory))
        api_port = free_port()
        work = Scenario("opcua", devices=1, tags=items, rate_hz=1 / interval_s, seconds=seconds)
        where = {"api_port": api_port, "mqtt_port": mqtt_port, "influx_port": influx_port}
        gateway_yaml = gateway_config(work, journal=str(directory / "journal"), **where)
        config = write_config(directory, gateway_yaml, _line(items, interval_s, server.port))
        begin = time.time()
        gateway = await stack.enter_async_context(
            run_process(*gateway_command("serve", "--config", str(config)), name="gateway")
        )
        await first_values(listener, gateway)
        await asyncio.sleep(WARM_UP_S)
        start, started = time.time(), time.monotonic()
        before = usage(gateway.pid)
        await asyncio.sleep(seconds)
        used, window_s = usage(gateway.pid).since(before), time.monotonic() - started
        metrics = await gateway_metrics(api_port)
        await server.process.stop()
        await everything_arrives(listener, gateway, broker)
        await gateway.stop()
        stored = await stored_values(influx_port, "reading_value_int")
        await listener.stop()
    said: dict[str, Any] = json.loads((directory / "subscriber.json").read_text())
    inside = [i for i, at in enumerate(said["arrived_s"]) if start <= at <= start + seconds]
    ages = [said["age_ms"][i] for i in inside]
    return OpcUaResult(
        items=items,
        interval_s=interval_s,
        window_s=window_s,
        heard=sum(said["sizes"][i] for i in inside),
        arrived=said["values"],
        stored=stored,
        missing=said["missing"],
        twice=said["repeated"],
        bad=said["bad"],
        overflows=metrics.get("overflows", 0.0),
        used=used,
        latency_ms=(percentile(ages, 0.5), percentile(ages, 0.99)),
        first_value_s=min(said["first_s"].values()) - begin,
        calibration_ns=min(calibration, calibration_ns()),
    )


def _line(items: int, interval_s: float, port: int) -> dict[str, Any]:
    """lines/farm.yaml. Sampled twice as often as the counters count, so that none is skipped by the server itself."""
    tags = [{"name": f"counter{n}", "node": f"nsu={URI};s=Counter{n}", "kind": "int"} for n in range(items)]
    device = {"id": DEVICE, "period_s": interval_s / 2, "tags": tags}
    link = {
        "id": "plc",
        "type": "opcua",
        "endpoint": f"opc.tcp://127.0.0.1:{port}/foreign",
        "security": {"policy": "None"},
        "devices": [device],
    }
    return {"line": LINE, "links": [link]}
