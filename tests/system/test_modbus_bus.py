"""RTU on a pseudo-terminal and over TCP, and TLS: faults on demand, never a value that answers another question.

The rows of the table of faults are named in each test.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from drivers.modbus.driver import ModbusDriver
from drivers.modbus.simulator import ModbusSimulator
from gateway.core.clock import SystemClock
from gateway.core.errors import DriverError, NoAnswer, Refused, Unavailable
from gateway.core.model import Value
from tests.support.certificates import certificates
from tests.support.hurried import hurried
from tests.support.modbus_links import make_link

pytestmark = pytest.mark.system

TIMEOUT_S = 1.0
METER: dict[str, Any] = {"id": "meter", "address": 5, "tags": [{"name": f"r{r}", "register": r} for r in range(4)]}
OTHER: dict[str, Any] = METER | {"id": "other", "address": 6}
LONE: dict[str, Any] = {"id": "lone", "address": 7, "tags": [{"name": "r", "register": 0}]}
BUSES = ("modbus-rtu", "modbus-rtu-over-tcp")


@asynccontextmanager
async def bus(
    kind: str, folder: Path, *devices: dict[str, Any], **options: Any
) -> AsyncIterator[tuple[ModbusDriver, ModbusSimulator]]:
    """A driver, connected to a simulator."""
    devices = devices or (METER, OTHER)
    port: int | str = str(folder / "bus") if kind == "modbus-rtu" else 0
    speed: dict[str, Any] = {"baud_rate": 115_200} if kind == "modbus-rtu" else {}
    simulator = ModbusSimulator(make_link(devices, port, TIMEOUT_S, type=kind, **speed, **options))
    await simulator.start()
    link = make_link(devices, port or simulator.port, TIMEOUT_S, type=kind, **speed, **options)
    driver = ModbusDriver(link, SystemClock())
    await driver.connect()
    try:
        yield driver, simulator
        assert simulator.writes == 0
    finally:
        await driver.close()
        await simulator.close()


async def values(driver: ModbusDriver, number: int = 0) -> tuple[Value, ...]:
    return (await driver.read(driver.polled[number])).values


@pytest.mark.parametrize("kind", BUSES)
@pytest.mark.parametrize(
    ("device", "late_s"),
    [(METER, 2.5 * TIMEOUT_S), (LONE, 1.2 * TIMEOUT_S)],
    ids=["four registers", "one register"],
)
@hurried
async def test_f5_a_late_answer_is_never_taken_for_another(
    kind: str, late_s: float, device: dict[str, Any], tmp_path: Path
) -> None:
    """Every poll the registers hold another number, so that the answer to an earlier question shows."""
    number = 0
    async with bus(kind, tmp_path, device) as (driver, simulator):

        async def poll() -> bool:
            nonlocal number
            number += 1
            simulator.set(device["id"], {tag["name"]: number for tag in device["tags"]})
            try:
                scan = await driver.read(driver.polled[0])
            except NoAnswer:
                return False
            assert set(scan.values) == {number}
            return True

        for late in (1, 2, 1):
            assert await poll()
            simulator.fault("late", delay_s=late_s, times=late)
            assert not await poll()
            async with asyncio.timeout(30 * TIMEOUT_S):
                while not await poll():  # noqa: ASYNC110
                    await asyncio.sleep(TIMEOUT_S / 2)
            for _ in range(3):
                assert await poll()


@pytest.mark.parametrize("kind", BUSES)
@hurried
async def test_f5_a_unit_that_is_always_too_late_brings_no_value_and_costs_the_others_nothing_else(
    kind: str, tmp_path: Path
) -> None:
    async with bus(kind, tmp_path) as (driver, simulator):
        simulator.fault("late", "meter", delay_s=1.5 * TIMEOUT_S)
        for number in range(1, 8):
            for name in ("meter", "other"):
                simulator.set(name, {f"r{r}": number for r in range(4)})
            with pytest.raises(NoAnswer, match="meter"):
                await driver.read(driver.polled[0])
            assert await values(driver, 1) == (number,) * 4


@pytest.mark.parametrize("kind", BUSES)
@hurried
async def test_f9_noise_costs_one_more_question_and_no_value(kind: str, tmp_path: Path) -> None:
    async with bus(kind, tmp_path) as (driver, simulator):
        for number in range(1, 9):
            simulator.set("meter", {f"r{r}": number for r in range(4)})
            fault = simulator.fault("garbage", times=1)
            with suppress(NoAnswer):  # the noise looked like the beginning of something longer
                assert await values(driver) == (number,) * 4
            assert fault.used == 1
            simulator.mend()
        for number in (100, 101):
            simulator.set("meter", {f"r{r}": number for r in range(4)})
            assert await values(driver) == (number,) * 4


@pytest.mark.parametrize("kind", BUSES)
@hurried
async def test_f7_a_refused_register_on_a_bus(kind: str, tmp_path: Path) -> None:
    async with bus(kind, tmp_path) as (driver, simulator):
        simulator.set("meter", {f"r{r}": 7 for r in range(4)})
        simulator.fault("refuse", "meter", register=2)
        assert await values(driver) == (7, 7, None, 7)
        assert await values(driver, 1) == (0,) * 4


@pytest.mark.parametrize("kind", BUSES)
@hurried
async def test_f2_unplugged_and_back(kind: str, tmp_path: Path) -> None:
    async with bus(kind, tmp_path) as (driver, simulator):
        simulator.set("meter", {"r0": 1})
        assert (await values(driver))[0] == 1
        await simulator.close()
        with pytest.raises(DriverError):
            await values(driver)
        with pytest.raises(Unavailable):
            await driver.connect()
        await simulator.start()
        if kind == "modbus-rtu":
            await driver.connect()
            async with asyncio.timeout(30):
                while (await values(driver))[0] != 1:
                    pass


@hurried
async def test_settings_that_a_port_does_not_take(tmp_path: Path) -> None:
    """A pseudo-terminal knows no parity: the system says so in an error of its own kind."""
    async with bus("modbus-rtu", tmp_path):
        link = make_link([METER], str(tmp_path / "bus"), type="modbus-rtu", parity="even")
        driver = ModbusDriver(link, SystemClock())
        with pytest.raises(Unavailable, match=str(tmp_path / "bus")):
            await driver.connect()
        await driver.close()


@hurried
async def test_a_port_belongs_to_one_program(tmp_path: Path) -> None:
    async with bus("modbus-rtu", tmp_path):
        driver = ModbusDriver(make_link([METER], str(tmp_path / "bus"), type="modbus-rtu"), SystemClock())
        with pytest.raises(Unavailable, match="in use by another program"):
            await driver.connect()
        await driver.close()


@hurried
async def test_pauses_are_kept(tmp_path: Path) -> None:
    """Between an answer and the next question to the same unit, and longer before one to another unit."""
    loop = asyncio.get_running_loop()
    async with bus("modbus-rtu-over-tcp", tmp_path, pause_ms=20, turnaround_ms=60) as (driver, _):
        await values(driver)
        begin = loop.time()
        await values(driver)
        assert loop.time() - begin >= 0.02
        begin = loop.time()
        await values(driver, 1)
        assert loop.time() - begin >= 0.06


# -------------------------------------------------------------------------------------------------------------- TLS


@asynccontextmanager
async def protected(folder: Path) -> AsyncIterator[ModbusSimulator]:
    """A device that wants a certificate of ours."""
    certificates(folder)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(folder / "ca.pem"))
    context.load_cert_chain(folder / "server.pem", folder / "server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    simulator = ModbusSimulator(make_link([METER], 0, type="modbus-tls"), context)
    await simulator.start()
    try:
        yield simulator
    finally:
        await simulator.close()


def tls_driver(port: int, **tls: str) -> ModbusDriver:
    return ModbusDriver(make_link([METER], port, 3, type="modbus-tls", tls=tls), SystemClock())


@hurried
async def test_tls_with_certificates_of_both_sides(tmp_path: Path) -> None:
    async with protected(tmp_path) as simulator:
        simulator.set("meter", {"r3": 42})
        own = {"cert_file": str(tmp_path / "server.pem"), "key_file": str(tmp_path / "server.key")}
        driver = tls_driver(simulator.port, ca_file=str(tmp_path / "ca.pem"), **own)
        await driver.connect()
        assert await values(driver) == (0, 0, 0, 42)
        await driver.close()


@hurried
async def test_tls_refuses_whom_nobody_vouches_for(tmp_path: Path) -> None:
    async with protected(tmp_path) as simulator:
        driver = tls_driver(simulator.port)
        with pytest.raises(Refused, match=r"certificate of 127\.0\.0\.1:\d+ is not accepted.*tls\.ca_file"):
            await driver.connect()
        await driver.close()
        driver = tls_driver(simulator.port, ca_file=str(tmp_path / "ca.pem"), server_name="another.plant")
        with pytest.raises(Refused, match=r"is not accepted.*tls\.server_name"):
            await driver.connect()
        await driver.close()
        driver = tls_driver(simulator.port, ca_file=str(tmp_path / "nowhere.pem"))
        with pytest.raises(Refused, match=r"cannot be loaded from .*nowhere\.pem"):
            await driver.connect()
        await driver.close()
