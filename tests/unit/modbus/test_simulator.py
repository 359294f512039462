"""The simulator keeps the limits of the instruments; asked by a client that is not ours."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import yaml
from pymodbus.client import AsyncModbusTcpClient

from drivers.modbus.simulator import ModbusSimulator
from tests.support.modbus_links import make_link

TEMPLATES = Path(__file__).parents[3] / "config" / "templates"


def sdm630() -> dict[str, Any]:
    written = yaml.safe_load((TEMPLATES / "eastron-sdm630.yaml").read_text())
    return {"id": "meter", "address": 1, **{key: written[key] for key in ("function", "limits", "tags")}}


PLC: dict[str, Any] = {
    "id": "plc",
    "address": 2,
    "tags": [
        {"name": "temperature", "register": 1, "type": "int16", "scale": 0.1},
        {"name": "level", "register": 2, "type": "float32", "word_order": "little", "invalid": [0x7FC00000]},
        {"name": "open", "register": 8, "type": "bit", "bit": 1},
        {"name": "shut", "register": 8, "type": "bit", "bit": 0},
        {"name": "state", "register": 9, "type": "uint16", "invalid": [0xFFFF]},
        {"name": "batch", "register": 10, "type": "string", "length": 3, "byte_order": "little"},
        {"name": "pump", "register": 3, "function": 1},
    ],
}
PART: dict[str, Any] = {"id": "part", "address": 2, "tags": [{"name": "speed", "register": 12_000}]}


@pytest.fixture
async def simulator() -> AsyncIterator[ModbusSimulator]:
    simulator = ModbusSimulator(make_link([sdm630(), PLC, PART], 0))
    await simulator.start()
    yield simulator
    await simulator.close()


@pytest.fixture
async def client(simulator: ModbusSimulator) -> AsyncIterator[AsyncModbusTcpClient]:
    client = AsyncModbusTcpClient("127.0.0.1", port=simulator.port, reconnect_delay=0)
    assert await client.connect()
    yield client
    client.close()


async def test_a_foreign_client_reads_what_was_set(simulator: ModbusSimulator, client: AsyncModbusTcpClient) -> None:
    simulator.set("meter", {"voltage_l1": 230.1, "frequency": 50.02})
    answer = await client.read_input_registers(0, count=2, device_id=1)
    assert client.convert_from_registers(answer.registers, client.DATATYPE.FLOAT32) == pytest.approx(230.1, rel=1e-7)
    simulator.set("plc", {"temperature": -24.2, "level": 0.5, "open": True, "state": 7, "batch": "B42", "pump": True})
    simulator.set("part", {"speed": 1450})
    answer = await client.read_holding_registers(1, count=12, device_id=2)
    assert answer.registers == [65536 - 242, 0, 0x3F00, 0, 0, 0, 0, 2, 7, 0x3442, 0x0032, 0]
    assert (await client.read_holding_registers(12_000, count=1, device_id=2)).registers == [1450]
    assert (await client.read_coils(3, count=1, device_id=2)).bits[:1] == [True]


async def test_bits_of_one_register_do_not_disturb_each_other(
    simulator: ModbusSimulator, client: AsyncModbusTcpClient
) -> None:
    for values, register in (({"open": True, "shut": True}, 3), ({"open": False}, 1), ({"shut": False}, 0)):
        simulator.set("plc", values)
        assert (await client.read_holding_registers(8, count=1, device_id=2)).registers == [register]


@pytest.mark.parametrize(
    ("start", "count", "code"),
    [
        (0, 12, 0),
        (0x34, 24, 0),
        (0, 11, 3),  # odd count
        (1, 2, 3),  # odd start
        (0, 82, 3),  # more than 80 registers
        (0x20, 2, 2),  # not in the map
        (0x156, 4, 2),  # runs out of it
    ],
)
async def test_an_sdm630_has_its_limits(client: AsyncModbusTcpClient, start: int, count: int, code: int) -> None:
    answer = await client.read_input_registers(start, count=count, device_id=1)
    assert answer.exception_code == code
    assert answer.isError() == bool(code)


async def test_what_is_not_there(client: AsyncModbusTcpClient) -> None:
    assert (await client.read_holding_registers(0, count=2, device_id=1)).exception_code == 2
    assert (await client.read_input_registers(0, count=2, device_id=9)).exception_code == 11
    assert (await client.read_exception_status(device_id=1)).exception_code == 1


async def test_writes_are_refused_and_counted(simulator: ModbusSimulator, client: AsyncModbusTcpClient) -> None:
    assert (await client.write_register(1, 5, device_id=2)).exception_code == 1
    assert (await client.write_coil(3, True, device_id=2)).exception_code == 1
    assert (await client.write_registers(1, [5, 6], device_id=2)).exception_code == 1
    assert simulator.writes == 3
    assert (await client.read_holding_registers(1, count=1, device_id=2)).registers == [0]


async def test_no_value_is_what_the_map_calls_invalid(simulator: ModbusSimulator, client: AsyncModbusTcpClient) -> None:
    simulator.set("plc", {"state": None, "level": None})
    assert (await client.read_holding_registers(9, count=1, device_id=2)).registers == [0xFFFF]
    assert (await client.read_holding_registers(2, count=2, device_id=2)).registers == [0, 0x7FC0]


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"state": 1, "temperature": 4000.0}, "site/line/plc/temperature cannot be 4000.0"),
        ({"state": 1, "temperature": None}, "site/line/plc/temperature cannot be None"),
        ({"state": 1, "batch": "much too long"}, "longer than 6 bytes"),
        ({"state": 1, "batch": 5}, "a text is wanted"),
        ({"state": "on"}, "a number is wanted"),
    ],
)
async def test_what_the_registers_cannot_hold_changes_nothing(
    simulator: ModbusSimulator, client: AsyncModbusTcpClient, values: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ValueError, match=sentence):
        simulator.set("plc", values)
    assert (await client.read_holding_registers(9, count=1, device_id=2)).registers == [0]


async def test_requests_may_come_in_pieces_and_together(simulator: ModbusSimulator) -> None:
    simulator.set("plc", {"state": 7})
    question = struct.pack(">HHHBBHH", 5, 0, 6, 2, 3, 9, 1)
    answer = struct.pack(">HHHBBBH", 5, 0, 5, 2, 3, 2, 7)
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    async with asyncio.timeout(5):
        for byte in question:
            writer.write(bytes((byte,)))
            await writer.drain()
        assert await reader.readexactly(len(answer)) == answer
        writer.write(3 * question)
        assert await reader.readexactly(3 * len(answer)) == 3 * answer
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        assert await reader.read() == b""
    writer.close()
    await writer.wait_closed()


def test_a_request_without_an_address_is_refused() -> None:
    assert ModbusSimulator(make_link([PLC], 0)).answer(b"\x02\x03\x00") == b"\x02\x83\x03"


async def test_faults_on_demand(simulator: ModbusSimulator, client: AsyncModbusTcpClient) -> None:
    async def state() -> int:
        answer = await client.read_holding_registers(9, count=1, device_id=2)
        return -answer.exception_code if answer.isError() else answer.registers[0]

    simulator.set("plc", {"state": 1})
    refused = simulator.fault("refuse", "plc", register=9, code=4, times=2)
    assert [await state() for _ in range(3)] == [-4, -4, 1]
    assert refused.used == 2
    assert (await client.read_input_registers(0, count=2, device_id=1)).registers == [0, 0], "others are well"
    simulator.fault("frozen", "plc")
    simulator.set("plc", {"state": 2})
    assert await state() == 1
    simulator.mend()
    simulator.set("plc", {"state": 3})
    assert await state() == 3
    late = simulator.fault("late", delay_s=0.02, times=1)
    assert await state() == 3
    assert late.used == 1
    with pytest.raises(ValueError, match="explosion is no fault"):
        simulator.fault("explosion")


async def test_sentinels_hide_the_values_until_they_are_mended(
    simulator: ModbusSimulator, client: AsyncModbusTcpClient
) -> None:
    async def read(unit: int, start: int, count: int) -> list[int]:
        return [*(await client.read_holding_registers(start, count=count, device_id=unit)).registers]

    simulator.set("plc", {"temperature": 24.2, "state": 1, "open": True})
    simulator.fault("sentinel", "plc")
    simulator.set("plc", {"temperature": 24.3, "state": 2})
    assert await read(2, 1, 9) == [243, 0, 0x7FC0, 0, 0, 0, 0, 2, 0xFFFF], "what has no sentinel goes on"
    assert await read(2, 3, 1) == [0x7FC0], "also a part of a value"
    simulator.fault("sentinel")
    meter = await client.read_input_registers(0, count=2, device_id=1)
    assert meter.registers == [0x7FC0, 0]
    simulator.mend()
    assert await read(2, 9, 1) == [2]


async def test_silence_and_a_restart(simulator: ModbusSimulator) -> None:
    question = struct.pack(">HHHBBHH", 5, 0, 6, 2, 3, 9, 1)
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    async with asyncio.timeout(5):
        silent = simulator.fault("silence", "plc", times=1)
        writer.write(2 * question)
        assert len(await reader.readexactly(11)) == 11
        assert silent.used == 1
        simulator.restart()
        with suppress(ConnectionResetError):  # how the end of a connection looks here is up to the system
            assert await reader.read() == b""
    writer.close()
    reader, writer = await asyncio.open_connection("127.0.0.1", simulator.port)
    writer.write(question)
    assert len(await reader.readexactly(11)) == 11
    writer.close()
    await writer.wait_closed()
