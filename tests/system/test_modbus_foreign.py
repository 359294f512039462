"""Our driver reads servers that are not ours, every type and order: libmodbus (C) and modbus-serial (JavaScript)."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from drivers.modbus.driver import ModbusDriver
from gateway.core.clock import SystemClock
from gateway.core.errors import NoAnswer
from gateway.core.model import Scan, Value
from gateway.core.quality import GOOD, Status
from tests.support import modbus_libmodbus, modbus_node
from tests.support.modbus_libmodbus import compile_server, serving_rtu
from tests.support.modbus_links import make_link
from tests.support.node_packages import install

pytestmark = pytest.mark.system

Serve: TypeAlias = Callable[..., AbstractContextManager[int]]

EVERY_TYPE: Mapping[str, tuple[Mapping[str, Any], Value]] = {
    "u16": ({"register": 0, "type": "uint16"}, 65535),
    "i16": ({"register": 1, "type": "int16"}, -32768),
    "i32": ({"register": 2, "type": "int32"}, -123456789),
    "u32": ({"register": 4, "type": "uint32"}, 4_000_000_000),
    "i64": ({"register": 6, "type": "int64"}, -1234567890123456789),
    "u64": ({"register": 10, "type": "uint64"}, 2**63 - 1),
    "abcd": ({"register": 14, "type": "float32"}, 80.4),
    "dcba": ({"register": 16, "type": "float32", "byte_order": "little", "word_order": "little"}, 80.4),
    "badc": ({"register": 18, "type": "float32", "byte_order": "little"}, 80.4),
    "cdab": ({"register": 20, "type": "float32", "word_order": "little"}, 80.4),
    "f64": ({"register": 22, "type": "float64"}, 1 / 3),
    "bit0": ({"register": 26, "type": "bit", "bit": 0}, True),
    "bit1": ({"register": 26, "type": "bit", "bit": 1}, False),
    "bit15": ({"register": 26, "type": "bit", "bit": 15}, True),
    "text": ({"register": 27, "type": "string", "length": 5}, "R-101 ok"),
    "coil0": ({"register": 0, "function": 1}, True),
    "coil1": ({"register": 1, "function": 1}, False),
    "coil39": ({"register": 39, "function": 1}, True),
    "input7": ({"register": 7, "function": 2}, True),
    "input8": ({"register": 8, "function": 2}, False),
}

NO_VALUE: Mapping[str, tuple[Mapping[str, Any], Status]] = {
    "nan": ({"register": 32, "type": "float32"}, Status.BAD_SENSOR_FAILURE),
    "inf": ({"register": 34, "type": "float32"}, Status.BAD_SENSOR_FAILURE),
    "invalid": ({"register": 36, "type": "int16", "invalid": [0x8000]}, Status.BAD_SENSOR_FAILURE),
    "too-big": ({"register": 37, "type": "uint64"}, Status.BAD_TYPE_MISMATCH),
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_server(tmp_path_factory.mktemp("libmodbus"))


@pytest.fixture(scope="module", params=["libmodbus", "modbus-serial"])
def serve(request: pytest.FixtureRequest) -> Serve:
    """``with serve(…) as port``: one foreign server after the other."""
    if request.param == "libmodbus":
        return partial(modbus_libmodbus.serving, request.getfixturevalue("program"))
    asyncio.run(install(modbus_node.HOME, modbus_node.PACKAGE))
    return modbus_node.serving


@asynccontextmanager
async def connected(port: int, tags: list[dict[str, Any]], **device: Any) -> AsyncIterator[ModbusDriver]:
    driver = ModbusDriver(make_link([{"id": "plc", "tags": tags, **device}], port, timeout_s=5), SystemClock())
    await driver.connect()
    yield driver
    await driver.close()


async def read(driver: ModbusDriver) -> tuple[dict[str, Value], dict[str, int]]:
    """(values, statuses) by tag."""
    scan: Scan = await driver.read(driver.polled[0])
    names = [scan.device.tags[i].name for i in scan.index]
    status = scan.status or (GOOD,) * len(names)
    return dict(zip(names, scan.values, strict=True)), dict(zip(names, status, strict=True))


async def test_every_type_and_order(serve: Serve) -> None:
    tags = [{"name": name, **tag} for name, (tag, _) in EVERY_TYPE.items()]
    with serve() as port:
        async with connected(port, tags) as driver:
            values, status = await read(driver)
    assert values == {name: value for name, (_, value) in EVERY_TYPE.items()}
    assert [type(values[name]) for name in EVERY_TYPE] == [type(value) for _, value in EVERY_TYPE.values()]
    assert set(status.values()) == {GOOD}


async def test_no_value_is_none_and_says_why(serve: Serve) -> None:
    """F11, F12."""
    tags = [{"name": name, **tag} for name, (tag, _) in NO_VALUE.items()]
    with serve() as port:
        async with connected(port, [*tags, {"name": "fine", "register": 14, "type": "float32"}]) as driver:
            values, status = await read(driver)
    assert values == {**dict.fromkeys(NO_VALUE), "fine": 80.4}
    assert status == {**{name: wanted for name, (_, wanted) in NO_VALUE.items()}, "fine": GOOD}


async def test_two_hundred_values_in_four_requests(serve: Serve) -> None:
    tags = [{"name": f"t{i}", "register": 2 * i, "type": "float32"} for i in range(200)]
    with serve() as port:
        async with connected(port, tags, function=4) as driver:
            for _ in range(3):
                values, _ = await read(driver)
                assert [f"{value:.6g}" for value in values.values()] == [f"{i + 0.1:.6g}" for i in range(200)]


@pytest.mark.parametrize(
    ("code", "status"),
    [(2, Status.BAD_CONFIGURATION_ERROR), (4, Status.BAD_DEVICE_FAILURE), (6, Status.BAD_RESOURCE_UNAVAILABLE)],
)
async def test_a_refused_block_leaves_the_others(serve: Serve, code: int, status: Status) -> None:
    """F7: without a reconnect; libmodbus takes one connection at a time and would not answer another."""
    tags = [{"name": "refused", "register": 900}, {"name": "fine", "register": 0}]
    with serve(str(code)) as port:
        async with connected(port, tags) as driver:
            for _ in range(3):
                assert await read(driver) == ({"refused": None, "fine": 65535}, {"refused": status, "fine": GOOD})


async def test_an_address_beyond_its_map(serve: Serve) -> None:
    """F7: the servers themselves say exception 2."""
    tags = [{"name": "absent", "register": 5000}, {"name": "fine", "register": 0}]
    with serve() as port:
        async with connected(port, tags) as driver:
            values, status = await read(driver)
    assert values == {"absent": None, "fine": 65535}
    assert status == {"absent": Status.BAD_CONFIGURATION_ERROR, "fine": GOOD}


async def test_a_unit_that_a_gateway_has_no_way_to(serve: Serve) -> None:
    """F7: exception 10 is about one device, its neighbours go on. libmodbus answers for every unit."""
    with serve() as port:
        tags = [{"name": "u16", "register": 0}]
        devices: list[dict[str, Any]] = [{"id": "there", "tags": tags}, {"id": "gone", "address": 9, "tags": tags}]
        driver = ModbusDriver(make_link(devices, port, timeout_s=5), SystemClock())
        await driver.connect()
        there, gone = driver.polled
        if serve is modbus_node.serving:
            with pytest.raises(NoAnswer, match=r"gone .*has no way to it \(exception 10"):
                await driver.read(gone)
        else:
            assert (await driver.read(gone)).values == (65535,)
        assert (await driver.read(there)).values == (65535,)
        await driver.close()


# ------------------------------------------------------------------------------------------------ over a serial cable


@contextmanager
def wired(folder: Path) -> Iterator[tuple[str, str]]:
    """Two serial ports with a cable between them."""
    ends = str(folder / "a"), str(folder / "b")
    with subprocess.Popen(["socat", *(f"pty,raw,echo=0,link={end}" for end in ends)]) as socat:
        try:
            yield ends
        finally:
            socat.terminate()


async def test_a_serial_cable(program: Path, tmp_path: Path) -> None:
    tags = [
        {"name": "u16", "register": 0},
        {"name": "i32", "register": 2, "type": "int32"},
        {"name": "cdab", "register": 20, "type": "float32", "word_order": "little"},
        {"name": "f16", "register": 41, "type": "float16"},
        {"name": "bcd", "register": 42, "type": "bcd16"},
        {"name": "power", "register": 43, "type": "int16", "scale_from": {"register": 44}},
        {"name": "coil", "register": 39, "function": 1},
        {"name": "absent", "register": 5000},
    ]
    with wired(tmp_path) as (ours, theirs):
        async with asyncio.timeout(10):
            while not (Path(ours).exists() and Path(theirs).exists()):  # noqa: ASYNC110, ASYNC240
                await asyncio.sleep(0.01)
        with serving_rtu(program, theirs):
            link = make_link([{"id": "plc", "address": 1, "tags": tags}], ours, 3, type="modbus-rtu", baud_rate=19_200)
            driver = ModbusDriver(link, SystemClock())
            await driver.connect()
            for _ in range(5):
                scan = await driver.read(driver.polled[0])
                assert scan.values == (65535, -123456789, 80.4, 80.4, 1234, 12.34, True, None)
                assert [status == GOOD for status in scan.status or ()] == [True] * 7 + [False]
            await driver.close()
