"""The Modbus driver keeps the contract of a Driver: every type, every order, registers and bits, two units."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from drivers.modbus.driver import ModbusDriver
from drivers.modbus.simulator import ModbusSimulator
from gateway.core.clock import Clock
from gateway.core.contracts import Driver, Simulator
from gateway.core.model import Link, Value
from tests.contract.driver import DriverContract
from tests.support.modbus_links import make_link

METER: Mapping[str, Any] = {
    "id": "meter",
    "address": 1,
    "function": 4,
    "limits": {"max_registers": 8, "even_start": True, "even_count": True},
    "tags": [
        {"name": "power", "register": 0x34, "type": "float32", "unit": "W"},
        {"name": "energy", "register": 0x48, "type": "float32", "unit": "kW.h", "period_s": 2},
        {"name": "serial", "register": 0x60, "type": "string", "length": 4},
        {"name": "total", "register": 0x80, "type": "uint64"},
    ],
}
HEATER: Mapping[str, Any] = {
    "id": "heater",
    "address": 7,
    "tags": [
        {"name": "temperature", "register": 1, "type": "int16", "scale": 0.1, "unit": "Cel"},
        {"name": "alarm", "register": 39, "type": "bit", "bit": 3},
        {"name": "busy", "register": 39, "type": "bit", "bit": 15},
        {"name": "count", "register": 40, "type": "int32", "word_order": "little"},
        {"name": "level", "register": 42, "type": "float32", "byte_order": "little"},
        {"name": "flow", "register": 44, "type": "float64", "byte_order": "little", "word_order": "little"},
        {"name": "valve", "register": 5, "function": 1},
        {"name": "door", "register": 2, "function": 2},
    ],
}


class TestModbusDriver(DriverContract):
    first: Mapping[str, Mapping[str, Value]] = {
        "meter": {"power": 1234.5, "energy": 80.4, "serial": "A-0042", "total": 2**63 - 1},
        "heater": {
            "temperature": 24.2, "alarm": True, "busy": False, "count": -5, "level": 0.1, "flow": 1 / 3,
            "valve": True, "door": False,
        },
    }  # fmt: skip
    second: Mapping[str, Mapping[str, Value]] = {
        "meter": {"power": -0.25, "energy": 80.5, "serial": "", "total": 0},
        "heater": {
            "temperature": -1.5, "alarm": False, "busy": True, "count": 2**31 - 1, "level": 1e-30, "flow": -1e300,
            "valve": False, "door": True,
        },
    }  # fmt: skip

    def make_link(self, port: int) -> Link:
        return make_link([METER, HEATER], port)

    def make_driver(self, link: Link, clock: Clock) -> Driver:
        return ModbusDriver(link, clock)

    def make_simulator(self, link: Link) -> Simulator:
        return ModbusSimulator(link)
