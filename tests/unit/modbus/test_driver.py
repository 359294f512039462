from __future__ import annotations

import pytest

from drivers.modbus.driver import ModbusDriver
from gateway.core.clock import SystemClock
from gateway.core.errors import Unavailable
from gateway.core.model import Link
from tests.support.modbus_links import make_link
from tests.support.modbus_scripted import scripted

DEVICE = {"id": "meter", "tags": [{"name": "a", "register": 0}, {"name": "b", "register": 500}]}


class Steps:
    """A clock: the monotonic one goes on by 1 s with every look at it, the other was set back meanwhile."""

    def __init__(self) -> None:
        self.looks = 0

    def time_ns(self) -> int:
        return 1_000_000_000_000 - 3_600_000_000_000

    def monotonic_ns(self) -> int:
        self.looks += 1
        return self.looks * 1_000_000_000

    async def sleep_until(self, monotonic_ns: int) -> None:
        raise AssertionError("a driver does not sleep")


async def test_t1_the_time_is_the_middle_of_the_scan_even_when_the_clock_steps() -> None:
    async with scripted() as server:
        driver = ModbusDriver(make_link([DEVICE], server.port), Steps())
        await driver.connect()
        scan = await driver.read(driver.polled[0])
        assert len(server.questions) == 2
        assert scan.received_ns - scan.time_ns == 500_000_000
        await driver.close()


def test_a_device_that_is_switched_off_is_not_asked() -> None:
    driver = ModbusDriver(make_link([DEVICE, DEVICE | {"id": "off", "enabled": False}], 1), SystemClock())
    assert [group.device.id for group in driver.polled] == ["meter"]


async def test_a_host_that_is_no_name_at_all() -> None:
    driver = ModbusDriver(make_link([DEVICE], 502, host="a" * 70 + ".plant"), SystemClock())
    with pytest.raises(Unavailable):
        await driver.connect()


def test_a_slower_group_is_read_in_parts_so_that_the_fast_one_gets_its_turn() -> None:
    far = [{"name": f"far{i}", "register": 500 * i, "period_s": 10} for i in range(1, 4)]
    fast = [{"name": f"fast{i}", "register": 50 * i} for i in range(3)]
    driver = ModbusDriver(make_link([DEVICE | {"tags": [*far, *fast]}], 1), SystemClock())
    groups = [(group.period_ns // 10**9, [tag.name for tag in group.tags]) for group in driver.polled]
    assert groups == [(1, ["fast0", "fast1", "fast2"]), (10, ["far1"]), (10, ["far2"]), (10, ["far3"])]


def test_a_link_of_another_protocol_is_a_bug() -> None:
    with pytest.raises(TypeError, match="plc is no Modbus link"):
        ModbusDriver(Link("plc", "opcua", ()), SystemClock())
