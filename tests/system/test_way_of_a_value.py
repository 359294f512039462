"""The main promise, on real servers and a real process: what an instrument said arrives, equal and once, everywhere."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.opcua_lines import PLANT, make_link
from tests.support.opcua_simulator import QuickSimulator
from tests.support.stand import TAGS, UNITS, Seen, Stand, stand

pytestmark = pytest.mark.system


@pytest.fixture
async def line(tmp_path: Path) -> AsyncIterator[Stand]:
    async with stand(tmp_path) as up:
        yield up


class Plc:
    """An OPC UA server whose tags count, and what they said."""

    tags = tuple(f"v{i}" for i in range(5))

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._nodes = [{"name": tag, "node": f"nsu={PLANT};s={tag}"} for tag in self.tags]
        self._simulator = QuickSimulator(make_link(0, {"plc": self._nodes}, pki=folder / "server-pki"))
        self.said = 0

    async def start(self) -> dict[str, Any]:
        """Its link, as a line file says it."""
        await self._simulator.start()
        self.say()
        return {
            "id": "plc",
            "type": "opcua",
            "endpoint": f"opc.tcp://127.0.0.1:{self._simulator.port}",
            "security": {"policy": "None"},
            "pki": str(self._folder / "pki"),
            "devices": [{"id": "plc", "period_s": 0.05, "tags": self._nodes}],
        }

    def say(self) -> None:
        """The next values: n + i/64 for tag i."""
        self.said += 1
        self._simulator.set("plc", {tag: self.said + i / 64 for i, tag in enumerate(self.tags)})

    async def stop(self) -> None:
        assert self._simulator.writes == 0
        await self._simulator.close()


def check_modbus(line: Stand, seen: Seen, *, missing_at_end: int) -> None:
    """Every answer of every unit is there, under its tag, once per time; the last ones may not have been accepted."""
    for unit in UNITS:
        said = list(line.said(unit))
        for i in range(TAGS):
            rows = seen[f"unit{unit}", f"t{i}"]
            times, values = [time for time, _ in rows], [value for _, value in rows]
            expected = [answer[i] for answer in said]
            assert values == expected[: len(values)], f"unit{unit}/t{i}"
            assert len(values) >= len(expected) - missing_at_end
            assert len(set(times)) == len(times)


async def test_every_value_is_found_equal_and_once_in_mqtt_and_in_the_database(line: Stand) -> None:
    plc = Plc(line.folder)
    line.links.append(await plc.start())
    async with contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(plc.stop)
        async with line.gateway() as gateway:
            for number in range(10):
                await line.answered(2)
                await line.subscriber.hear("/plc/data", 1 + number, 20)
                plc.say()
            await line.subscriber.hear("/plc/data", 11)
            await line.drained()
            assert await gateway.stop() == 0

    published, stored = line.in_mqtt(), await line.in_database()
    assert published == stored
    check_modbus(line, stored, missing_at_end=1)
    for i, tag in enumerate(plc.tags):
        assert [value for _, value in stored["plc", tag]] == [n + i / 64 for n in range(1, plc.said + 1)]
    sent = Counter((m["device"], m["boot"], m["seq"]) for m in line.messages())
    assert set(sent.values()) == {1}
    assert line.modbus.writes == 0


async def test_with_the_broker_away_and_the_gateway_killed_every_accepted_value_arrives(line: Stand) -> None:
    async with line.gateway() as gateway:
        await line.answered(5)
        await line.broker.stop()
        await line.pending("mqtt", lambda readings: readings > 60 * TAGS)
        accepted = (await line.readings_of("mqtt"))["accepted"]
        await gateway.kill()
    await line.broker.start()
    async with line.gateway() as gateway:
        await line.answered(5)
        await line.drained()
        assert await gateway.stop() == 0

    # sent again after the kill: InfluxDB would overwrite the point with itself, this database keeps both
    stored = {key: sorted(set(rows)) for key, rows in (await line.in_database()).items()}
    published = line.in_mqtt()
    assert published == stored
    boots = list(dict.fromkeys(message["boot"] for message in line.messages()))
    assert len(boots) == 2
    by_device: dict[tuple[str, str], set[int]] = {}
    for message in line.messages():
        by_device.setdefault((message["device"], message["boot"]), set()).add(message["seq"])
    for (device, boot), numbers in by_device.items():
        assert numbers == set(range(1, len(numbers) + 1)), f"{device} misses some of boot {boot}"
    first = sum(len(numbers) for (_, boot), numbers in by_device.items() if boot == boots[0])
    assert first * TAGS >= accepted
