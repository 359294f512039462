"""What becomes of values that mean something else than a number, from the registers to what is published.

The rows of the table of faults are named in each test.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import orjson
import pytest

from drivers.modbus.driver import ModbusDriver
from drivers.modbus.options import ModbusTcp
from drivers.modbus.simulator import ModbusSimulator
from gateway.core.clock import SystemClock
from gateway.core.model import Batch, Device
from gateway.core.quality import Status
from gateway.normalise import Normaliser
from gateway.settings import load_line_file
from gateway.sinks import mqtt_payload

pytestmark = pytest.mark.system

OUTSIDE = Status.UNCERTAIN_ENGINEERING_UNITS_EXCEEDED
LINE = """
line: pl1
site: s
links:
  - id: bus
    type: modbus-tcp
    host: 127.0.0.1
    port: 0
    devices:
      - id: meter
        tags:
"""


@dataclass
class Stand:
    """One simulated device, and what the gateway makes of it."""

    simulator: ModbusSimulator
    driver: ModbusDriver
    device: Device
    normaliser: Normaliser

    async def poll(self) -> Batch:
        (group,) = self.driver.polled
        batch = self.normaliser(await self.driver.read(group))
        assert batch is not None
        return batch


@asynccontextmanager
async def stand(folder: Path, tags: Sequence[str]) -> AsyncIterator[Stand]:
    file = folder / "line.yaml"
    file.write_text(LINE + "".join(f"          - {tag}\n" for tag in tags))
    (link,) = load_line_file(file).links
    simulator = ModbusSimulator(link)
    await simulator.start()
    assert isinstance(link.options, ModbusTcp)
    driver = ModbusDriver(
        replace(link, options=link.options.model_copy(update={"port": simulator.port, "timeout_s": 10})), SystemClock()
    )
    await driver.connect()
    (device,) = link.devices
    try:
        yield Stand(simulator, driver, device, Normaliser(device, "b00t"))
    finally:
        await driver.close()
        await simulator.close()
    assert simulator.writes == 0


async def test_f12_a_counter_that_rolls_over(tmp_path: Path) -> None:
    """What the instrument said is published as it is, also after the roll-over; meta says where that happens."""
    tags = (
        "{name: fed, register: 0, type: uint32, scale: 0.1, unit: kg, wrap: 1000}",
        "{name: pulses, register: 2, type: acc16}",
        "{name: energy, register: 4, type: float32, unit: kW.h}",
    )
    async with stand(tmp_path, tags) as there:
        said = []
        for step in (0.0, 0.2):
            there.simulator.set("meter", {"fed": 999.9 + step, "pulses": 65_535 + 10 * step, "energy": 1e5 + step})
            batch = await there.poll()
            assert batch.status is None
            said.append(batch.values[:2])
        assert said == [(999.9, 65_535), (0.1, 1)]
        meta = orjson.loads(mqtt_payload.meta("gw1", there.device))["tags"]
        assert [meta[name].get("wrap") for name in ("fed", "pulses", "energy")] == [1000, 65_536, None]
        assert (meta["fed"]["range"], "range" in meta["pulses"]) == ([0, 1000], False)


async def test_f12_a_counter_beyond_the_end_that_was_declared_is_uncertain(tmp_path: Path) -> None:
    """The declaration is wrong, or the order of the words: somebody has to look."""
    async with stand(
        tmp_path, ["{name: fed, register: 0, type: uint32, wrap: 100000}", "{name: low, register: 1}"]
    ) as it:
        it.simulator.set("meter", {"low": 7})
        assert (await it.poll()).values == (7, 7)
        it.simulator._units[1]._images[3][0:2] = b"\x01\x00"  # as if the words were swapped
        batch = await it.poll()
        assert (batch.values, batch.status) == ((0x0100_0007, 7), (OUTSIDE, 0))


async def test_f11_no_value_has_no_number_and_says_why_and_names_are_published(tmp_path: Path) -> None:
    tags = (
        "{name: level, register: 0, type: float32}",
        "{name: flow, register: 2, type: int16, invalid: [0x8000]}",
        "{name: mode, register: 3, enum: {10: run, 0: idle}, invalid: [0xFFFF]}",
        "{name: alarms, register: 4, type: bitfield16, bits: {4: door open, 0: hot}}",
        "{name: count, register: 5}",
    )
    async with stand(tmp_path, tags) as there:
        there.simulator.set("meter", {"level": 1.5, "flow": -3, "mode": "run", "alarms": "hot, door open", "count": 4})
        assert (await there.poll()).values == (1.5, -3, "run", "hot, door open", 4)
        there.simulator.fault("sentinel")
        batch = await there.poll()
        assert batch.values == (None, None, None, "hot, door open", 4)
        assert batch.status == (*[Status.BAD_SENSOR_FAILURE] * 3, 0, 0)
        there.simulator.mend()
        assert (await there.poll()).values == (1.5, -3, "run", "hot, door open", 4)
        meta = orjson.loads(mqtt_payload.meta("gw1", there.device))["tags"]
        assert meta["mode"]["enum"] == {"0": "idle", "10": "run"}
        assert meta["alarms"]["bits"] == {"0": "hot", "4": "door open"}
        assert "labels" not in meta["mode"]["address"]
