"""The Modbus driver keeps the contract of a Driver: every type and order, registers and bits, two units, each wire."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from drivers.modbus.driver import ModbusDriver
from drivers.modbus.simulator import ModbusSimulator
from gateway.core.clock import Clock
from gateway.core.contracts import Driver, Simulator
from gateway.core.model import Link, Value
from tests.contract.driver import DriverContract
from tests.support.certificates import certificates
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
        {"name": "current", "register": 0x90, "type": "int16", "scale_from": {"register": 0x91}},
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
        {"name": "half", "register": 60, "type": "float16"},
        {"name": "counter", "register": 61, "type": "acc32"},
        {"name": "digits", "register": 63, "type": "bcd32", "scale": 0.01},
        {"name": "mode", "register": 65, "enum": {0: "idle", 3: "running"}},
        {"name": "warnings", "register": 66, "type": "bitfield32", "bits": {0: "hot", 17: "door open"}},
        {"name": "apart", "register": 70, "alone": True},
    ],
}


class TestModbusDriver(DriverContract):
    first: Mapping[str, Mapping[str, Value]] = {
        "meter": {"power": 1234.5, "energy": 80.4, "serial": "A-0042", "total": 2**63 - 1, "current": 12.34},
        "heater": {
            "temperature": 24.2, "alarm": True, "busy": False, "count": -5, "level": 0.1, "flow": 1 / 3,
            "valve": True, "door": False, "half": 80.4, "counter": 2**32 - 1, "digits": 123456.78, "mode": "running",
            "warnings": "hot, door open", "apart": 7,
        },
    }  # fmt: skip
    second: Mapping[str, Mapping[str, Value]] = {
        "meter": {"power": -0.25, "energy": 80.5, "serial": "", "total": 0, "current": -0.01},
        "heater": {
            "temperature": -1.5, "alarm": False, "busy": True, "count": 2**31 - 1, "level": 1e-30, "flow": -1e300,
            "valve": False, "door": True, "half": -0.5, "counter": 0, "digits": 0.01, "mode": "7", "warnings": "",
            "apart": 65535,
        },
    }  # fmt: skip

    def make_link(self, port: int) -> Link:
        return make_link([METER, HEATER], port)

    def make_driver(self, link: Link, clock: Clock) -> Driver:
        return ModbusDriver(link, clock)

    def make_simulator(self, link: Link) -> Simulator:
        return ModbusSimulator(link)


class TestModbusUdpDriver(TestModbusDriver):
    def make_link(self, port: int) -> Link:
        return make_link([METER, HEATER], port, type="modbus-udp")


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pki")
    certificates(folder)
    return folder


class TestModbusTlsDriver(TestModbusDriver):
    """The device asks for our certificate, too."""

    @pytest.fixture(autouse=True)
    def _folder(self, pki: Path) -> None:
        self._pki = pki

    def make_link(self, port: int) -> Link:
        tls = {"ca_file": "ca.pem", "cert_file": "server.pem", "key_file": "server.key"}
        files = {key: str(self._pki / name) for key, name in tls.items()}
        return make_link([METER, HEATER], port, type="modbus-tls", tls=files)

    def make_simulator(self, link: Link) -> Simulator:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=str(self._pki / "ca.pem"))
        context.load_cert_chain(self._pki / "server.pem", self._pki / "server.key")
        context.verify_mode = ssl.CERT_REQUIRED
        return ModbusSimulator(link, context)


class TestModbusRtuOverTcpDriver(TestModbusDriver):
    def make_link(self, port: int) -> Link:
        return make_link([METER, HEATER], port, type="modbus-rtu-over-tcp")


class _Numbered(ModbusSimulator):
    """On a pseudo-terminal that has a number for a name, which the contract takes for a port."""

    @property
    def port(self) -> int:
        return int(Path(str(getattr(self._options, "port", ""))).name)


class TestModbusRtuDriver(TestModbusDriver):
    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self._ports = tmp_path

    def make_link(self, port: int) -> Link:
        ports = getattr(self, "_ports", Path("/nowhere"))
        return make_link([METER, HEATER], str(ports / str(port)), type="modbus-rtu", baud_rate=115_200)

    def make_simulator(self, link: Link) -> Simulator:
        return _Numbered(link)
