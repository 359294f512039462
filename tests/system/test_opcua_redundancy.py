"""Two servers of one plant: whichever is there and healthy is talked to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from drivers.opcua import session
from drivers.opcua.driver import OpcUaDriver
from gateway.core.clock import SystemClock
from gateway.core.errors import Refused, Unavailable
from tests.support.opcua_lines import PLANT, make_link
from tests.support.opcua_listening import Heard, ends, listening
from tests.support.opcua_simulator import QuickSimulator
from tests.support.processes import free_port

pytestmark = pytest.mark.system

DEVICES = {"reactor": [{"name": "pressure", "node": f"nsu={PLANT};s=Pressure"}]}


@asynccontextmanager
async def server(says: float, port: int = 0, level: int = 255, **options: Any) -> AsyncIterator[QuickSimulator]:
    simulator = QuickSimulator(make_link(port, DEVICES, **options))
    await simulator.start()
    try:
        await simulator.say_service_level(level)
        simulator.set("reactor", {"pressure": says})
        yield simulator
    finally:
        await simulator.close()


@asynccontextmanager
async def driver_of(*ports: int, **options: Any) -> AsyncIterator[OpcUaDriver]:
    also = tuple(f"opc.tcp://127.0.0.1:{port}" for port in ports[1:])
    driver = OpcUaDriver(make_link(ports[0], DEVICES, also=also, **options), SystemClock())
    try:
        yield driver
    finally:
        await driver.close()


async def heard_from(driver: OpcUaDriver, value: float) -> None:
    async with listening(driver) as heard:
        await heard.until_newest("pressure", value)


async def test_one_that_is_lost_is_followed_by_the_other_and_back_again() -> None:
    port = free_port()
    async with server(2.0) as second, driver_of(port, second.port) as driver:
        async with server(1.0, port):
            await driver.connect()
            async with listening(driver) as heard:
                await heard.until_newest("pressure", 1.0)
                first = await _lost(driver, heard)
        assert isinstance(first, Unavailable)
        await driver.connect()
        await heard_from(driver, 2.0)
        async with server(3.0, port):
            await second.close()
            await driver.connect()
            await heard_from(driver, 3.0)


async def _lost(driver: OpcUaDriver, heard: Heard) -> Exception:
    """As when the server is switched off."""
    assert driver._session is not None
    driver._session._client.uaclient.protocol.transport.abort()
    return await ends(heard, within_s=30)


async def test_a_server_that_is_not_healthy_is_only_taken_where_there_is_none_better() -> None:
    async with server(1.0, level=100) as poor, server(2.0, level=199) as fair, server(3.0) as healthy:
        async with driver_of(poor.port, fair.port, healthy.port) as driver:
            await driver.connect()
            await heard_from(driver, 3.0)
        for ports in ((poor.port, fair.port), (fair.port, poor.port)):
            async with driver_of(*ports) as driver:
                await driver.connect()
                await heard_from(driver, 2.0)


async def test_a_server_that_falls_ill_is_left_for_the_other_but_stays_where_it_is_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(session, "CHANNEL_S", 100.0)
    monkeypatch.setattr(session, "RENEW_AFTER", 0.01)  # and so a probe six times a second
    async with server(1.0) as first, server(2.0) as second:
        async with driver_of(first.port, second.port) as driver:
            await driver.connect()
            async with listening(driver) as heard:
                await heard.until_newest("pressure", 1.0)
                await first.say_service_level(10)
                error = await ends(heard, within_s=30)
            assert "no longer healthy (service level 10)" in str(error)
            await driver.connect()
            await heard_from(driver, 2.0)
        async with driver_of(first.port) as driver:
            await first.say_service_level(255)
            await driver.connect()
            assert driver._session is not None
            async with listening(driver) as heard:
                await first.say_service_level(10)
                await heard.until(lambda _: driver._session.service_level == 10, "the probe")  # type: ignore[union-attr]
                first.set("reactor", {"pressure": 4.0})
                await heard.until_newest("pressure", 4.0)


async def test_what_all_of_them_say_is_told() -> None:
    ports = free_port(), free_port()
    async with driver_of(*ports) as driver:
        with pytest.raises(Unavailable) as caught:
            await driver.connect()
        assert not isinstance(caught.value, Refused)
        assert all(f"nothing listens at opc.tcp://127.0.0.1:{port}" in str(caught.value) for port in ports)
