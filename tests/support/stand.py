"""A whole gateway on a test stand: instruments that remember what they said, real broker and database, real process."""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import orjson
import yaml

from tests.support.counting_modbus import CountingModbus, answer_values
from tests.support.mosquitto import Mosquitto, Subscriber, mosquitto
from tests.support.processes import Process, free_port, run_process
from tests.support.victoria_metrics import VictoriaMetrics, victoria_metrics
from tests.support.waiting import until

TAGS = 20
UNITS = (1, 2, 3)
PERIOD_S = 0.1
SETTLE_S = 1.2

Seen = dict[tuple[str, str], list[tuple[int, float]]]
"""(device, tag) → (time in ms, value) of every reading."""


@dataclass(slots=True)
class Stand:
    """Everything around the gateway; the gateway itself is started by the test."""

    folder: Path
    modbus: CountingModbus
    broker: Mosquitto
    database: VictoriaMetrics
    subscriber: Subscriber
    client: httpx.AsyncClient
    api_port: int = field(default_factory=free_port)
    links: list[dict[str, Any]] = field(default_factory=list)
    through: dict[str, int] = field(default_factory=dict)  # modbus, mqtt, influxdb → the port of a proxy before it
    timeout_s: float = 20  # of the instruments: an answer that a busy machine delays must not count as none
    journal: dict[str, Any] = field(default_factory=lambda: {"max_size_mb": 64})

    def write_configuration(self) -> Path:
        """The files of a gateway that reads the stand."""
        tags = [{"name": f"t{i}", "register": 2 * i, "type": "float32"} for i in range(TAGS)]
        devices = [{"id": f"unit{u}", "address": u, "period_s": PERIOD_S, "tags": tags} for u in UNITS]
        modbus: dict[str, Any] = {"id": "bus", "type": "modbus-tcp", "host": "127.0.0.1", "devices": devices}
        modbus |= {"port": self.through.get("modbus", self.modbus.port), "timeout_s": self.timeout_s}
        lines = self.folder / "lines"
        lines.mkdir(exist_ok=True)
        (lines / "pl1.yaml").write_text(yaml.safe_dump({"line": "pl1", "links": [modbus, *self.links]}))
        gateway = {
            "gateway": "gw1",
            "site": "wuxi",
            "journal": {"directory": str(self.folder / "journal"), **self.journal},
            "sinks": {
                "mqtt": {"host": "127.0.0.1", "port": self.through.get("mqtt", self.broker.port)},
                "influxdb": {
                    "url": f"http://127.0.0.1:{self.through.get('influxdb', self.database.port)}",
                    "bucket": "pilot",
                },
            },
            "api": {"port": self.api_port},
        }
        file = self.folder / "gateway.yaml"
        file.write_text(yaml.safe_dump(gateway))
        return file

    def gateway(
        self,
        *,
        module: str = "gateway",
        env: Mapping[str, str] | None = None,
        ready: str | None = "ready$",
    ) -> contextlib.AbstractAsyncContextManager[Process]:
        """``pilot-gateway serve`` with that configuration, ready; ``module`` is another program that takes the same."""
        command = (sys.executable, "-m", module, "serve", "--config", str(self.write_configuration()))
        return run_process(*command, ready=ready, env=env, name="pilot-gateway")

    async def status(self) -> dict[str, Any]:
        """What the API says of links, sinks and journal."""
        answer = await self.client.get(f"http://127.0.0.1:{self.api_port}/api/v1/status")
        answer.raise_for_status()
        status: dict[str, Any] = answer.json()
        return status

    async def readings_of(self, sink: str) -> dict[str, int]:
        """The account of one sink, in readings."""
        [found] = [each for each in (await self.status())["sinks"] if each["sink"] == sink]
        readings: dict[str, int] = found["readings"]
        return readings

    async def conserved(self) -> None:
        """Every sink accounts for every record and every reading that was accepted, exactly."""
        for sink in (await self.status())["sinks"]:
            for what in ("records", "readings"):
                count = sink[what]
                parts = count["delivered"] + count["pending"] + count["dropped"] + count["dead"]
                assert count["accepted"] == parts, f"{what} of {sink['sink']} do not add up: {count}"

    async def pending(self, sink: str, enough: Callable[[int], bool], within_s: float = 60) -> None:
        """Return when so many accepted readings are not delivered."""
        async with asyncio.timeout(within_s):
            while not enough((await self.readings_of(sink))["pending"]):  # noqa: ASYNC110 - it is another process
                await asyncio.sleep(0.05)

    async def drained(self) -> None:
        """Fall silent, and return when both sinks have everything."""
        await self.modbus.stop()
        for sink in ("mqtt", "influxdb"):
            await self.pending(sink, lambda readings: readings == 0)
        await self.conserved()

    async def answered(self, count: int) -> None:
        """Return when every unit has answered so often more."""
        wanted = {unit: self.modbus.answers.get(unit, 0) + count for unit in UNITS}
        await until(
            lambda: all(self.modbus.answers.get(unit, 0) >= number for unit, number in wanted.items()),
            f"{count} more answers of every unit",
            30,
        )

    # ------------------------------------------------------------------------------------------- what arrived

    def messages(self) -> list[dict[str, Any]]:
        """Every ``data`` message, as it came, with its device."""
        return [
            {"device": message.topic.split("/")[-2], **orjson.loads(message.payload)}
            for message in self.subscriber.of("/data")
        ]

    def in_mqtt(self) -> Seen:
        """Every reading with a value that came over MQTT, repeats by (boot, seq) left out."""
        seen: Seen = {}
        known = set()
        for message in self.messages():
            key = message["device"], message["boot"], message["seq"]
            if key not in known:
                known.add(key)
                for name, value in message["values"].items():
                    time = message.get("times", {}).get(name, message["time"])
                    seen.setdefault((message["device"], name), []).append((time, value))
        return {key: sorted(rows) for key, rows in seen.items()}

    async def in_database(self) -> Seen:
        """Every reading with a value that the database stored.

        What was written a moment ago takes up to a second to show, also after a flush: so two looks have to agree.
        """
        before, now = None, await self._look_in_database()
        while now != before:
            await asyncio.sleep(SETTLE_S)
            before, now = now, await self._look_in_database()
        return now

    async def _look_in_database(self) -> Seen:
        return {
            (series.labels["device"], series.labels["signal"]): sorted(zip(series.times_ms, series.values, strict=True))
            for series in await self.database.export('{__name__="reading_value"}')
        }

    def said(self, unit: int) -> Iterator[tuple[float, ...]]:
        """Every answer of a unit, (TAGS,) each."""
        return (answer_values(number, TAGS) for number in range(1, self.modbus.answers[unit] + 1))


@contextlib.asynccontextmanager
async def stand(folder: Path) -> AsyncIterator[Stand]:
    """A stand that is up, without its gateway."""
    async with contextlib.AsyncExitStack() as stack:
        modbus = CountingModbus()
        await modbus.start()
        stack.push_async_callback(modbus.stop)
        broker = await stack.enter_async_context(mosquitto(folder))
        database = await stack.enter_async_context(victoria_metrics(folder))
        subscriber = await stack.enter_async_context(Subscriber(broker.port))
        client = await stack.enter_async_context(httpx.AsyncClient(timeout=10, trust_env=False))
        yield Stand(folder, modbus, broker, database, subscriber, client)
