"""The Modbus links of the pilot line that ships with the gateway: its templates served and read over real TCP."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from drivers import DRIVERS
from drivers.modbus.options import ModbusTcp
from gateway.core.clock import SystemClock
from gateway.core.model import Device, Kind, Link, Value
from gateway.settings.load import load_line_file

pytestmark = pytest.mark.system

ROOT = Path(__file__).parents[2]


def plausible(device: Device) -> Mapping[str, Value]:
    """One value for each tag, in the middle of its range, and no two alike."""
    return {tag.name: round((tag.low or 0) * 0.4 + (tag.high or 50) * 0.4) + i for i, tag in enumerate(device.tags)}


def at_port(link: Link, port: int) -> Link:
    assert isinstance(link.options, ModbusTcp)
    return replace(link, options=link.options.model_copy(update={"host": "127.0.0.1", "port": port}))


async def test_every_device_of_the_reactor_skid_says_what_it_was_told() -> None:
    line = load_line_file(ROOT / "config" / "lines" / "reactor-skid.yaml", site="plant")
    links = [link for link in line.links if link.type in DRIVERS and DRIVERS[link.type].name == "modbus"]
    assert {device.template for link in links for device in link.devices} >= {
        "eastron-sdm630",
        "eurotherm-3216",
        "siemens-fc310",
    }
    for link in links:
        protocol = DRIVERS[link.type]
        simulator = protocol.make_simulator(at_port(link, 0))
        await simulator.start()
        driver = protocol.make_driver(at_port(link, simulator.port), SystemClock())
        await driver.connect()
        for device in link.devices:
            simulator.set(device.id, plausible(device))
        seen: dict[str, int] = {}
        for group in driver.polled:
            wanted = plausible(group.device)
            scan = await driver.read(group)
            assert scan.status is None
            for tag, value in zip(group.tags, scan.values, strict=True):
                assert isinstance(value, (int, float))
                engineering = value * tag.scale + tag.offset if tag.kind is Kind.FLOAT else value
                assert engineering == pytest.approx(wanted[tag.name]), f"{group.device.id}/{tag.name}"
                seen[group.device.id] = seen.get(group.device.id, 0) + 1
        assert seen == {device.id: len(device.tags) for device in link.devices}
        assert simulator.writes == 0
        await driver.close()
        await simulator.close()
